"""Canaries that are tried: what both versions did since the step began, and what follows from it.

One rule: no clock, no registry and no process here. ``Trials.look`` is told the time, what is in force and
what every host has counted, and answers with orders; whoever carries them out compares and swaps, so that of
many hosts that see the same one acts.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from modelyard.deploy.guard import BAD, Rules, Window, judge
from modelyard.deploy.plan import Order
from modelyard.deploy.rollout import Evidence, Finish, RollBack, Rollout, Stay, next_move, order_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from modelyard.deploy.current import Current
    from modelyard.deploy.release import Entry

Key: TypeAlias = tuple[str, str]
"""A model's name and a version's number, as the sums have it."""

Counted: TypeAlias = "Mapping[str, Mapping[Key, Window]]"
"""Host -> version -> what it counted since its beginning."""


class Deed(Struct, frozen=True):
    """What should be ordered.

    Args:
        model: of which.
        order: the order.
        why: in words.
        evidence: what it was decided on.
        expected: the revision that this follows; another one in force means that somebody was first.
        rollout: how the canary goes on by itself.
        rules: the guard's.
    """

    model: str
    order: Order
    why: str
    evidence: Mapping[str, Any]
    expected: int
    rollout: Rollout | None = None
    rules: Rules | None = None


class _Trial(Struct):
    """One step of one canary: where every host's counters stood when it was first looked at."""

    step: tuple[object, ...]
    began_s: float | None = None
    base: dict[tuple[str, Key], Window] = field(default_factory=dict)
    rollout: Rollout | None = None


class Trials:
    """The canaries of all models."""

    def __init__(self) -> None:
        self._trials: dict[str, _Trial] = {}
        self.said: dict[str, str] = {}

    def keys(self, currents: Iterable[Current]) -> set[Key]:
        """The versions whose sums every host must tell the others."""
        return {
            (current.release.model, str(version))
            for current in currents
            if (canary := current.release.canary) is not None
            for version in (canary.version, current.release.live)
        }

    def look(
        self,
        currents: Iterable[Current],
        counted: Counted,
        serves: Callable[[str, int], bool],
        now_s: float,
    ) -> list[Deed]:
        """What to order now.

        Args:
            currents: what is in force, of the models that have a canary at least.
            counted: by this host and the others.
            serves: whether a model serves a revision on this host; until then a step has not begun.
            now_s: seconds of the epoch.
        """
        tried = {one.release.model: one for one in currents if one.release.canary is not None}
        for gone in self._trials.keys() - tried.keys():
            del self._trials[gone]
            self.said.pop(gone, None)
        deeds = [self._one(current, counted, serves, now_s) for current in tried.values()]
        return [deed for deed in deeds if deed is not None]

    def _one(
        self, current: Current, counted: Counted, serves: Callable[[str, int], bool], now_s: float
    ) -> Deed | None:
        model, canary = current.release.model, current.release.canary
        assert canary is not None  # noqa: S101 - only such ones are looked at
        trial = self._trial(current, canary)
        if trial.began_s is None:
            if not serves(model, current.revision):
                self.said[model] = f"version {canary.version} of {model} does not serve here yet"
                return None
            trial.began_s = now_s
        seen = Evidence(*(self._since(trial, counted, (model, str(one))) for one in _pair(current, canary)))
        if trial.rollout is not None:
            return self._go_on(current, trial, seen, counted, now_s)
        if current.rules is None:
            return None
        verdict = judge(seen.canary, seen.live, current.rules)
        self.said[model] = verdict.sentence
        if verdict.kind != BAD:
            return None
        evidence = _evidence(seen, verdict.figures, counted)
        return Deed(model, Order("rollback"), verdict.sentence, evidence, current.revision)

    def _go_on(
        self, current: Current, trial: _Trial, seen: Evidence, counted: Counted, now_s: float
    ) -> Deed | None:
        rollout = trial.rollout
        assert rollout is not None  # noqa: S101 - the caller looked
        # Time counts from when this host serves the step: a slow load makes it longer, never shorter.
        began_s = max(rollout.since_s, trial.began_s or now_s) if now_s >= rollout.since_s else now_s + 1
        move = next_move(replace(rollout, since_s=began_s), now_s, seen, current.rules)
        self.said[current.release.model] = move.reason
        order = order_of(move)
        if isinstance(move, Stay) or order is None:
            trial.rollout = move.rollout
            trial.began_s = min(trial.began_s or now_s, now_s)
            return None
        figures = move.figures if isinstance(move, RollBack) else {}
        after = None if isinstance(move, Finish | RollBack) else move.rollout
        evidence = _evidence(seen, figures, counted)
        rules = None if after is None else current.rules
        return Deed(current.release.model, order, move.reason, evidence, current.revision, after, rules)

    def _trial(self, current: Current, canary: Entry) -> _Trial:
        rollout = current.rollout
        since_s = None if rollout is None else (rollout.at, rollout.since_s)
        step = (current.release.live, canary.version, canary.weight, since_s)
        trial = self._trials.get(current.release.model)
        if trial is None or trial.step != step:
            trial = self._trials[current.release.model] = _Trial(step, rollout=rollout)
        return trial

    def _since(self, trial: _Trial, counted: Counted, key: Key) -> Window:
        total = Window()
        for host, sums in counted.items():
            now = sums.get(key)
            if now is not None:
                base = trial.base.setdefault((host, key), now)
                total += now.since(base)
        return total


def _pair(current: Current, canary: Entry) -> tuple[int, int]:
    live = current.release.live
    assert live is not None  # noqa: S101 - a canary is tried against a live version
    return canary.version, live


def _evidence(seen: Evidence, figures: Mapping[str, float], counted: Counted) -> dict[str, Any]:
    """Plain JSON; infinity, which it does not know, is null: past the last bucket."""
    return {
        "by": "guard" if figures else "rollout",
        "hosts": sorted(host for host, sums in counted.items() if sums),
        "canary": _figures(seen.canary),
        "live": _figures(seen.live),
        "figures": {name: value if isfinite(value) else None for name, value in figures.items()},
    }


def _figures(window: Window) -> dict[str, float | None]:
    p99 = window.p99()
    return {
        "requests": window.requests,
        "faults": window.faults,
        "p99_s": round(p99, 6) if isfinite(p99) else None,
    }
