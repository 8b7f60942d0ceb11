"""Whether a canary is worse than the live version: a test that may be looked at after every request.

Rule: compare both over the same window of time, and turn back only on evidence that noise gives at most
with the stated chance, however often one looks.

**The test.** Let n_c and n_l be the requests that the canary and the live version answered, and x and y the
bad ones among them. If both versions are equally bad, each bad request fell on the canary with the chance p
= n_c / (n_c + n_l), whatever the rate: so given x + y, x is a count of coin tosses, and no assumption about
the rate itself is needed (Przyborowski and Wilenski, Biometrika 31, 1940). Against this stand canaries
whose odds are g times as bad. The likelihood ratio of one of them is

    L_g = g**x / (1 - p + p * g)**(x + y)

and the evidence is the mean of L_g over the grid ``ODDS``: a mixture sequential probability ratio test
(Wald 1945; Robbins, Annals of Mathematical Statistics 41, 1970; for canaries that are watched all the time:
Johari, Koomen, Pekelis and Walsh, "Always valid inference", Operations Research 70, 2022). By Ville's
inequality an equal or better canary ever reaches 1 / alarm with a chance of at most ``alarm``. It is one-
sided: every g is above 1.

**Errors.** Bad is a request whose code is in ``FAULTS``. A significant difference must also be worth a
rollback: the canary's share must exceed the live one's by ``error_floor``.

**p99.** Latencies come in fixed buckets. A request is slow when it took longer than t, the first bucket
bound at or above ``p99_ratio`` times the live version's p99 (interpolated within its bucket on the
logarithm of both axes). The canary's p99 is too high when more than 1% of its requests are slow and the
same test says so against the live version's slow ones. Requests of one batch are slow together, so counts
are divided by how many requests a batch held, or by ``cluster`` where that is more (Kish's design effect).
Nothing finer than the bucket bounds can be seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, inf, log
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from modelyard.monitor.histogram import LATENCY_BOUNDS_S, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable

FAULTS = frozenset(
    {"model-failed", "host-died", "internal", "unavailable", "overloaded", "deadline-exceeded", "bad-input"}
)
"""Codes that count against a version. ``bad-input`` is one: a version that takes other inputs refuses all.
Callers who are at fault themselves are shared out like all others; only one who sends a key that falls on
the canary, and much nonsense, can turn a canary back. What ends before a version is chosen, or by the
caller's will, is not counted at all."""

COUNTED = FAULTS | {"ok"}
ODDS = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 1000.0)
GOOD, BAD, UNSURE = "good", "bad", "unsure"
_NO_COUNTS = (0,) * (len(LATENCY_BOUNDS_S) + 1)


class Window(Struct, frozen=True):
    """Sums over the requests that one version answered in one stretch of time; they merge exactly.

    Args:
        requests: those that count.
        faults: the failed ones among them.
        batches: the runs that they took.
        seconds: how many fell into each bucket of ``LATENCY_BOUNDS_S``.
    """

    requests: int = 0
    faults: int = 0
    batches: int = 0
    seconds: tuple[int, ...] = _NO_COUNTS

    @classmethod
    def of(cls, codes: Mapping[tuple[str, str], int], seconds: Iterable[Histogram], batches: int) -> Window:
        """From the counters of ``monitor.counters``: (surface, code) -> requests, latencies, runs."""
        counted = [(code, count) for (_, code), count in codes.items() if code in COUNTED]
        columns = zip(*(seen.counts for seen in seconds), strict=True)
        return cls(
            sum(count for _, count in counted),
            sum(count for code, count in counted if code in FAULTS),
            batches,
            tuple(sum(column) for column in columns) or _NO_COUNTS,
        )

    def __add__(self, other: Window) -> Window:
        both = zip(self.seconds, other.seconds, strict=True)
        return Window(
            self.requests + other.requests,
            self.faults + other.faults,
            self.batches + other.batches,
            tuple(a + b for a, b in both),
        )

    def since(self, earlier: Window) -> Window:
        """What came after an earlier reading of the same sums; a counter that began anew counts from 0."""
        if self.requests < earlier.requests:
            return self
        both = zip(self.seconds, earlier.seconds, strict=True)
        return Window(
            self.requests - earlier.requests,
            max(self.faults - earlier.faults, 0),
            max(self.batches - earlier.batches, 0),
            tuple(max(a - b, 0) for a, b in both),
        )

    def p99(self) -> float:
        """The 99th percentile in seconds; 0 without requests, infinity past the last bound.

        Within its bucket the share of slower requests is taken to fall as a power of the time, as tails do:
        a straight line would put the percentile of a falling tail much too high.
        """
        total = sum(self.seconds)
        want, slower = 0.01 * total, total
        for at, (high, count) in enumerate(zip(LATENCY_BOUNDS_S, self.seconds, strict=False)):
            if slower - count <= want:
                if not count or not at:
                    return high if total else 0.0
                low, rest = LATENCY_BOUNDS_S[at - 1], max(slower - count, 0.5)
                return float(low * (high / low) ** min(log(slower / want) / log(slower / rest), 1.0))
            slower -= count
        return inf

    def slower(self, bound_s: float) -> int:
        """How many took longer than a bound of ``LATENCY_BOUNDS_S``."""
        return sum(self.seconds[LATENCY_BOUNDS_S.index(bound_s) + 1 :])

    def to_json(self) -> list[Any]:
        """A plain form."""
        return [self.requests, self.faults, self.batches, list(self.seconds)]

    @classmethod
    def from_json(cls, row: list[Any]) -> Window:
        """Read what ``to_json`` wrote."""
        return cls(int(row[0]), int(row[1]), int(row[2]), tuple(int(count) for count in row[3]))


class Rules(Struct, frozen=True):
    """When a canary is turned back.

    Args:
        min_requests: of each version, before anything is said.
        error_floor: a difference of error shares below this is not worth a rollback.
        p99_ratio: how many times the live version's p99 is too slow.
        alarm: the chance that a canary as good as the live version is ever turned back, a rule and step.
        cluster: requests that are slow together, at least; they count as one.
    """

    min_requests: int = 100
    error_floor: float = 0.001
    p99_ratio: float = 1.5
    alarm: float = 0.001
    cluster: float = 4.0


class Verdict(Struct, frozen=True):
    """What the guard says: "good", "bad" or "unsure", a sentence, and the figures behind it."""

    kind: str
    sentence: str
    figures: Mapping[str, float]


def evidence(canary_bad: float, live_bad: float, canary_share: float) -> float:
    """The natural logarithm of the evidence that the canary is worse; see the module's text.

    >>> evidence(0, 9, 0.1) < 0 < evidence(4, 5, 0.1)
    True
    """
    total = canary_bad + live_bad
    rows = [canary_bad * log(odds) - total * log(1 + canary_share * (odds - 1)) for odds in ODDS]
    top = max(rows)
    return top + log(sum(exp(row - top) for row in rows) / len(rows))


def judge(canary: Window, live: Window, rules: Rules) -> Verdict:
    """Compare the canary with the live version over one window."""
    least = min(canary.requests, live.requests)
    figures: dict[str, float] = {"canary_requests": canary.requests, "live_requests": live.requests}
    if least < rules.min_requests:
        return Verdict(UNSURE, f"{least} of {rules.min_requests} requests seen", figures)
    share = canary.requests / (canary.requests + live.requests)
    needed = -log(rules.alarm)
    errors, live_errors = canary.faults / canary.requests, live.faults / live.requests
    figures |= {"canary_errors": errors, "live_errors": live_errors}
    if errors - live_errors >= rules.error_floor and evidence(canary.faults, live.faults, share) >= needed:
        said = f"{errors:.2%} of the canary's requests failed, {live_errors:.2%} of the live version's"
        return Verdict(BAD, said, figures)
    live_p99 = live.p99()
    bound = next((bound for bound in LATENCY_BOUNDS_S if bound >= rules.p99_ratio * live_p99), None)
    figures |= {"canary_p99_s": canary.p99(), "live_p99_s": live_p99}
    if bound is not None:
        slow, live_slow = canary.slower(bound), live.slower(bound)
        strong = evidence(slow / _cluster(canary, rules), live_slow / _cluster(live, rules), share) >= needed
        if slow > 0.01 * canary.requests and strong:
            ms = (bound * 1000, live_p99 * 1000)
            said = f"the canary's p99 is above {ms[0]:g} ms, the live version's is {ms[1]:.3g} ms"
            return Verdict(BAD, said, figures)
    return Verdict(GOOD, "the canary is no worse than the live version", figures)


def _cluster(window: Window, rules: Rules) -> float:
    return max(rules.cluster, window.requests / window.batches if window.batches else 0.0)
