"""A canary that grows by itself: steps, hold times, and the way back.

Rule: the whole state is a value with the time at which its step began, so that a control process that was
killed goes on where it stood; a restart can only make a step longer, never shorter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from modelyard.core.errors import BadInput
from modelyard.deploy.guard import BAD, UNSURE, Rules, Verdict, Window, judge
from modelyard.deploy.plan import Order
from modelyard.deploy.release import parse_weight, show_weight

MOST_STEPS = 100
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Rollout(Struct, frozen=True):
    """A canary on its way.

    Args:
        version: the canary.
        steps: its shares, growing, in hundredths of a percent.
        hold_s: how long each step lasts at least, the last one too.
        at: the step in force.
        since_s: when that step began, in seconds of the epoch.
        baseline: what the live version did in the last step in which it had enough requests to compare with.
    """

    version: int
    steps: tuple[int, ...]
    hold_s: float
    at: int = 0
    since_s: float = 0.0
    baseline: Window | None = None

    @property
    def weight(self) -> int:
        """The share in force."""
        return self.steps[self.at]

    def to_json(self) -> dict[str, Any]:
        """A plain form for the registry's rows."""
        return {
            "version": self.version,
            "steps": list(self.steps),
            "hold_s": self.hold_s,
            "at": self.at,
            "since_s": self.since_s,
            "baseline": None if self.baseline is None else self.baseline.to_json(),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Rollout:
        """Read what ``to_json`` wrote."""
        baseline = None if row["baseline"] is None else Window.from_json(row["baseline"])
        steps = tuple(int(step) for step in row["steps"])
        return cls(int(row["version"]), steps, row["hold_s"], int(row["at"]), row["since_s"], baseline)


class Evidence(Struct, frozen=True):
    """What both versions did since the step began."""

    canary: Window
    live: Window


class Stay(Struct, frozen=True):
    """Nothing moves; look again after ``wait_s`` at the latest."""

    rollout: Rollout
    reason: str
    wait_s: float


class Step(Struct, frozen=True):
    """The canary grows."""

    rollout: Rollout
    reason: str


class Finish(Struct, frozen=True):
    """The canary becomes the live version."""

    rollout: Rollout
    reason: str


class RollBack(Struct, frozen=True):
    """The canary is turned back; ``figures`` are the evidence."""

    rollout: Rollout
    reason: str
    figures: Mapping[str, float]


Next: TypeAlias = Stay | Step | Finish | RollBack


def parse_steps(text: str) -> tuple[int, ...]:
    """Read ``--steps``.

    >>> parse_steps("1%,10%,50%,100%")
    (100, 1000, 5000, 10000)

    Raises:
        BadInput: something is not a share, or the shares do not grow.
    """
    steps = tuple(parse_weight(part.strip()) for part in text[:4096].split(","))
    if len(steps) > MOST_STEPS or any(a >= b for a, b in pairwise(steps)):
        raise BadInput(
            f"the steps {text[:80]!r} must grow, and be at most {MOST_STEPS}; write 1%,10%,50%,100%"
        )
    return steps


def parse_hold(text: str) -> float:
    """Read ``--hold``, in seconds.

    >>> parse_hold("1h30m")
    5400.0

    Raises:
        BadInput: not a time such as 60s, 5m or 1h30m, or longer than 366 days.
    """
    parts = re.findall(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd])", text[:80], re.ASCII)
    seconds = sum(float(count) * _UNITS_S[unit] for count, unit in parts)
    if "".join(count + unit for count, unit in parts) != text or not text or seconds > 366 * 86400:
        raise BadInput(f"{text[:80]!r} is not a time; write it as 60s, 5m or 1h30m, up to 366d")
    return seconds


def begin(version: int, steps: tuple[int, ...], hold_s: float, now_s: float) -> Rollout:
    """A rollout in its first step."""
    return Rollout(version, steps, hold_s, 0, now_s)


def next_move(rollout: Rollout, now_s: float, seen: Evidence, rules: Rules | None) -> Next:
    """What to do now.

    Args:
        rollout: where it stands.
        now_s: seconds of the epoch. If the clock went back, the step begins anew.
        seen: what both versions did since the step began.
        rules: the guard's; None lets time alone decide.
    """
    if now_s < rollout.since_s:
        again = replace(rollout, since_s=now_s)
        return Stay(again, "the clock went back; the step begins anew", rollout.hold_s)
    verdict = _verdict(rollout, seen, rules)
    if verdict is not None and verdict.kind == BAD:
        return RollBack(rollout, verdict.sentence, verdict.figures)
    left = rollout.since_s + rollout.hold_s - now_s
    share = show_weight(rollout.weight)
    if left > 0:
        return Stay(rollout, f"{share} holds for {left:.0f} s more", left)
    if verdict is not None and verdict.kind == UNSURE:
        return Stay(
            rollout, f"{share} held long enough, but too little was seen: {verdict.sentence}", rollout.hold_s
        )
    if rollout.at + 1 == len(rollout.steps):
        return Finish(rollout, f"every step held, the last with {share}")
    enough = rules is not None and seen.live.requests >= rules.min_requests
    baseline = seen.live if enough else rollout.baseline
    after = replace(rollout, at=rollout.at + 1, since_s=now_s, baseline=baseline)
    return Step(after, f"{share} held; now {show_weight(after.weight)}")


def _verdict(rollout: Rollout, seen: Evidence, rules: Rules | None) -> Verdict | None:
    if rules is None:
        return None
    # With 100% for the canary the live version answers nobody: it is compared with what it did before.
    enough = seen.live.requests >= rules.min_requests
    live = seen.live if enough or rollout.baseline is None else rollout.baseline
    return judge(seen.canary, live, rules)


def order_of(move: Next) -> Order | None:
    """The release order that carries a move out; None when nothing moves."""
    version = move.rollout.version
    if isinstance(move, Step):
        return Order("canary", version, move.rollout.weight)
    if isinstance(move, Finish):
        return Order("promote", version)
    return Order("rollback") if isinstance(move, RollBack) else None
