"""Load on a server, and what it made of it.

One rule: the clock starts when a request was *meant* to be sent. In a closed loop that is when its connection
is free; in an open loop it is the arrival drawn beforehand, so a server that stalls is charged for all who
had to wait meanwhile (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import resource
from array import array
from collections import Counter, deque
from time import monotonic
from typing import TYPE_CHECKING, Protocol

import numpy as np
from msgspec import Struct, field

from modelyard.core.errors import ModelyardError, Unavailable
from modelyard.core.tensor import Array

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelyard.client.call import Answer

GRACE_S = 5.0
"""How long answers are waited for after the last request."""
KEPT_ANSWERS = 256
"""Answers whose contents are checked after the run; the status of every one is checked at once."""
BUSY_SHARE = 0.9
"""CPU share of one core from which the generator counts as the bottleneck."""


TIMER_SLACK_S = 0.002
"""Event loops wake up to this late; where a connection was free, that is not the server's time."""


class Plan(Struct, frozen=True):
    """One run.

    Args:
        connections: that carry requests at once (HTTP), or calls in flight (gRPC).
        duration_s: of sending, after the warm-up.
        rate: arrivals per second (Poisson); None is a closed loop: each connection asks again at once.
        warmup_s: sent but not counted.
        seed: of the arrivals.
    """

    connections: int
    duration_s: float
    rate: float | None = None
    warmup_s: float = 0.5
    seed: int = 0


class Result(Struct):
    """What one run found.

    Args:
        plan: that was run.
        seconds: over which answers were counted: the plan's, and what an open loop needed beyond.
        arrived_rate: requests per second that an open loop sent or queued; 0 in a closed one.
        latencies_s: of the requests that were answered well, sorted.
        errors: finding -> how often.
        unanswered: requests that were due but had no answer when the grace was over.
        cpu_share: of one core, used by this process while it ran.
    """

    plan: Plan
    seconds: float = 0.0
    arrived_rate: float = 0.0
    latencies_s: Array = field(default_factory=lambda: np.empty(0))
    errors: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    cpu_share: float = 0.0

    @property
    def rate(self) -> float:
        """Good answers per second."""
        return len(self.latencies_s) / self.seconds if self.seconds else 0.0

    @property
    def failed(self) -> int:
        """Requests without a good answer."""
        return sum(self.errors.values()) + self.unanswered

    @property
    def overloaded(self) -> bool:
        """Whether an open loop brought more than was answered."""
        return self.rate < 0.95 * self.arrived_rate

    @property
    def bottleneck(self) -> bool:
        """Whether this generator, not the server, set the pace."""
        return self.cpu_share >= BUSY_SHARE

    def quantile_s(self, share: float) -> float:
        """The latency that ``share`` of the good answers had at most; NaN without any."""
        if not len(self.latencies_s):
            return float("nan")
        return float(np.quantile(self.latencies_s, share, method="inverted_cdf"))


class User(Protocol):
    """One connection: sends a request and later calls ``done`` with the answer, or with what went wrong."""

    def send(self, number: int, done: Callable[[Answer | ModelyardError], None]) -> None:
        """Send request ``number`` of the prepared ones."""
        ...

    def close(self) -> None:
        """Drop the connection."""
        ...


class Run:
    """Drives users through a plan.

    The clock is the system's: uvloop's own counts in whole milliseconds.

    Args:
        plan: what to do.
        users: one a connection.
        check: reads an answer in full and raises when it is wrong.
    """

    def __init__(self, plan: Plan, users: Sequence[User], check: Callable[[Answer], object]) -> None:
        self._plan = plan
        self._check = check
        self._free: deque[User] = deque(users)
        self._due: deque[float] = deque()
        self._latencies = array("d")
        self._kept: list[Answer] = []
        self._errors: Counter[str] = Counter()
        self._in_flight = 0
        self._sent = 0
        self._arrived = 0
        self._from_s = self._until_s = self._last_s = 0.0
        self._idle = asyncio.Event()

    async def go(self) -> Result:
        """Run it."""
        plan = self._plan
        self._from_s = monotonic() + plan.warmup_s
        self._until_s = self._from_s + plan.duration_s
        arrivals = asyncio.create_task(self._arrive()) if plan.rate is not None else None
        if arrivals is None:
            while self._free:
                self._start(self._free.popleft(), monotonic())
        await asyncio.sleep(max(self._from_s - monotonic(), 0))
        cpu_s, wall_s = _cpu_s(), monotonic()
        await asyncio.sleep(max(self._until_s - monotonic(), 0))
        cpu_share = (_cpu_s() - cpu_s) / max(monotonic() - wall_s, 1e-9)
        if arrivals is not None:
            await arrivals
        await self._settle()
        seconds = max(plan.duration_s, self._last_s - self._from_s)
        result = Result(plan, seconds, self._arrived / plan.duration_s, np.sort(np.array(self._latencies)))
        result.errors = self._errors
        result.unanswered = self._in_flight + sum(at_s >= self._from_s for at_s in self._due)
        result.cpu_share = cpu_share
        for answer in self._kept:
            try:
                self._check(answer)
            except ModelyardError as error:
                self._errors[error.message] += 1
        return result

    async def _arrive(self) -> None:
        """Poisson arrivals: gaps drawn ahead, so that nothing the server does can move them."""
        draw = np.random.default_rng(self._plan.seed)
        rate = self._plan.rate or 1.0
        at_s = monotonic()
        while True:
            for gap_s in draw.exponential(1 / rate, 1024).tolist():
                at_s += gap_s
                if at_s >= self._until_s:
                    return
                wait_s = at_s - monotonic()
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
                elif not len(self._due) % 64:
                    await asyncio.sleep(0)
                now = monotonic()
                self._arrived += at_s >= self._from_s
                if self._free:
                    self._start(self._free.popleft(), now if now - at_s < TIMER_SLACK_S else at_s)
                else:
                    self._due.append(min(at_s, now))

    async def _settle(self) -> None:
        """Wait for what is under way, for a while."""
        until = monotonic() + GRACE_S
        while (self._in_flight or self._due) and (left := until - monotonic()) > 0:
            self._idle.clear()
            try:
                await asyncio.wait_for(self._idle.wait(), left)
            except TimeoutError:
                return

    def _start(self, user: User, at_s: float) -> None:
        self._in_flight += 1
        number = self._sent
        self._sent += 1
        user.send(number, lambda answer: self._done(user, at_s, answer))

    def _done(self, user: User, at_s: float, answer: Answer | ModelyardError) -> None:
        self._in_flight -= 1
        now = monotonic()
        closed = self._plan.rate is None
        # A closed loop counts what ended in the window; an open one counts every arrival of the window.
        if self._from_s <= (now if closed else at_s) and (not closed or now <= self._until_s):
            self._last_s = now
            self._count(now - at_s, answer)
        if self._due:
            self._start(user, self._due.popleft())
        elif closed and now < self._until_s:
            self._again(user, now, failed=isinstance(answer, ModelyardError))
        else:
            self._free.append(user)
            if not self._in_flight:
                self._idle.set()

    def _again(self, user: User, now: float, failed: bool) -> None:
        if not failed:
            self._start(user, now)
            return
        # A server that refuses at once must not be hammered at the speed of this loop.
        self._in_flight += 1
        asyncio.get_running_loop().call_later(0.01, self._resume, user)

    def _resume(self, user: User) -> None:
        self._in_flight -= 1
        self._start(user, monotonic())

    def _count(self, latency_s: float, answer: Answer | ModelyardError) -> None:
        if isinstance(answer, ModelyardError):
            self._errors[answer.message] += 1
            return
        if len(self._kept) < KEPT_ANSWERS or len(self._latencies) % 997 == 0:
            self._keep(answer)
        self._latencies.append(latency_s)

    def _keep(self, answer: Answer) -> None:
        if len(self._kept) >= KEPT_ANSWERS:
            self._kept[len(self._latencies) // 997 % KEPT_ANSWERS] = answer
        else:
            self._kept.append(answer)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def refuse_if_dead(result: Result) -> None:
    """Raise when nothing was answered well.

    Raises:
        Unavailable: with the first finding.
    """
    if not len(result.latencies_s):
        finding = next(iter(result.errors), f"no answer within {GRACE_S:g} s of the end")
        raise Unavailable(f"not one request was answered: {finding}")
