"""Lifecycles as data, and the one that workers and control share: of a version's copy in a worker.

Rule: what may follow what is a row in a table; code asks the table and the documentation is drawn from it.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from modelyard.core.errors import IllegalMove


class Lifecycle(Struct, frozen=True):
    """One transition table.

    Args:
        what: the noun of its messages.
        start: the state in which everything begins.
        moves: (state, verb) -> next state.
    """

    what: str
    start: str
    moves: Mapping[tuple[str, str], str]

    def next(self, state: str, verb: str, name: str = "") -> str:
        """The state that the verb leads to.

        >>> RESIDENCE.next("serving", "withdraw")
        'draining'

        Raises:
            IllegalMove: the table has no such row; the message names the verbs that are allowed.
        """
        try:
            return self.moves[state, verb]
        except KeyError:
            allowed = self.allowed(state)
            way = f"allowed: {', '.join(allowed)}" if allowed else "nothing may follow"
            who = f"{self.what} {name}".rstrip()
            raise IllegalMove(f"cannot {verb} {who}: it is {state}; {way}") from None

    def allowed(self, state: str) -> tuple[str, ...]:
        """The verbs that may follow a state, in the order of the table."""
        return tuple(verb for before, verb in self.moves if before == state)

    def states(self) -> tuple[str, ...]:
        """Every state, from the start on, in the order of the table."""
        return tuple(dict.fromkeys((self.start, *(state for state, _ in self.moves), *self.moves.values())))

    def mermaid(self) -> str:
        """The table as a Mermaid state diagram."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.start}"]
        lines += [f"    {state} --> {then}: {verb}" for (state, verb), then in self.moves.items()]
        return "\n".join(lines)


RESIDENCE = Lifecycle(
    "copy",
    "absent",
    {
        ("absent", "load"): "loading",
        ("loading", "loaded"): "proving",
        ("loading", "fail"): "failed",
        ("loading", "withdraw"): "unloading",
        ("proving", "proved"): "warming",
        ("proving", "fail"): "failed",
        ("proving", "withdraw"): "unloading",
        ("warming", "warmed"): "serving",
        ("warming", "fail"): "failed",
        ("warming", "withdraw"): "unloading",
        ("serving", "withdraw"): "draining",
        ("serving", "fail"): "failed",
        ("draining", "want"): "serving",
        ("draining", "drained"): "unloading",
        ("unloading", "unloaded"): "absent",
        ("failed", "load"): "loading",
        ("failed", "unload"): "unloading",
    },
)
"""A version in one worker: it takes traffic only after its sample rows gave the original's answers."""
