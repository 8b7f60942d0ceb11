"""From counters to values, and from the values of many processes to one.

One rule: ``merge`` is associative and commutative, so it does not matter who merges what in which order.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import zip_longest
from time import monotonic, time
from typing import TYPE_CHECKING

from modelyard.monitor.histogram import LATENCY_BOUNDS_S, ROWS_BOUNDS
from modelyard.monitor.observations import ModelSums, Observations, Sums
from modelyard.monitor.shadow import Differences

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from modelyard.monitor.counters import ModelCounters
    from modelyard.monitor.histogram import Histogram

_NOTHING = Differences()


def observe(counters: ModelCounters, waiting: int, ready: bool) -> ModelSums:
    """What one model version counted, as a value; the same value as long as nothing happens.

    Args:
        counters: of the version.
        waiting: requests in its queue now.
        ready: whether it takes requests now.
    """
    shadow = counters.shadow
    moments: tuple[float, ...] = (
        counters.last_at,
        counters.run.total,
        counters.batch_rows.total,
        shadow.requests + shadow.failed,
        counters.dropped,
        counters.copies,
        waiting,
        ready,
    )
    if counters.known is not None and counters.known[0] == moments:
        return counters.known[1]
    last = counters.last_at
    seen = ModelSums(
        counters.model,
        counters.version,
        [(surface, code, count) for (surface, code), count in sorted(counters.requests.items())],
        counters.rows,
        {surface: _sums(each) for surface, each in counters.seconds.items()},
        _sums(counters.batch_rows),
        _sums(counters.queue),
        _sums(counters.run),
        None if shadow == _NOTHING else shadow.to_json(),
        waiting,
        int(ready),
        time() - (monotonic() - last) if last else 0.0,
        counters.failed_s,
        list(counters.run_s),
        counters.dropped,
        counters.copies,
    )
    counters.known = (moments, seen)
    return seen


def untouched(model: str, version: str) -> ModelSums:
    """The sums of a version that was never asked."""
    latency = Sums([0] * (len(LATENCY_BOUNDS_S) + 1), 0.0)
    rows = Sums([0] * (len(ROWS_BOUNDS) + 1), 0.0)
    return ModelSums(model, version, [], 0, {}, rows, latency, latency)


def merge(one: Observations, other: Observations) -> Observations:
    """The sums of both; neither is changed."""
    models = {(each.model, each.version): each for each in one.models}
    for each in other.models:
        known = models.get((each.model, each.version))
        models[each.model, each.version] = each if known is None else _both(known, each)
    return Observations(
        [models[key] for key in sorted(models)],
        _counts(one.refused, other.refused),
        one.connections + other.connections,
        one.bodies_bytes + other.bodies_bytes,
        one.resident_bytes + other.resident_bytes,
        one.cpu_s + other.cpu_s,
        one.processes + other.processes,
        min(one.started_s or other.started_s, other.started_s or one.started_s),
        one.open_fds + other.open_fds,
        one.parked + other.parked,
        one.parked_total + other.parked_total,
    )


def nothing() -> Observations:
    """The sums of no process: merged with any others it changes nothing."""
    return Observations([], [], processes=0)


def _both(one: ModelSums, other: ModelSums) -> ModelSums:
    return ModelSums(
        one.model,
        one.version,
        _counts(one.requests, other.requests),
        one.rows + other.rows,
        _by_surface(one.seconds, other.seconds),
        _add(one.batch_rows, other.batch_rows),
        _add(one.queue, other.queue),
        _add(one.run, other.run),
        _differences(one.shadow, other.shadow),
        one.waiting + other.waiting,
        one.ready + other.ready,
        max(one.last_s, other.last_s),
        one.failed_s + other.failed_s,
        [a + b for a, b in zip_longest(one.run_s, other.run_s, fillvalue=0.0)],
        one.dropped + other.dropped,
        one.copies + other.copies,
    )


def _sums(seen: Histogram) -> Sums:
    return Sums(list(seen.counts), seen.total)


def _add(one: Sums, other: Sums) -> Sums:
    # Two releases of the product may run side by side, with other buckets: what both have is the start.
    counts = [a + b for a, b in zip_longest(one.counts, other.counts, fillvalue=0)]
    return Sums(counts, one.total + other.total)


def _by_surface(one: Mapping[str, Sums], other: Mapping[str, Sums]) -> dict[str, Sums]:
    return {
        surface: _add(one[surface], other[surface])
        if surface in one and surface in other
        else one.get(surface) or other[surface]
        for surface in sorted({*one, *other})
    }


def _counts(
    one: Iterable[tuple[str, str, int]], other: Iterable[tuple[str, str, int]]
) -> list[tuple[str, str, int]]:
    total: dict[tuple[str, str], int] = defaultdict(int)
    for rows in (one, other):
        for surface, code, count in rows:
            total[surface, code] += count
    return [(*key, total[key]) for key in sorted(total)]


def _differences(one: dict[str, object] | None, other: dict[str, object] | None) -> dict[str, object] | None:
    if one is None or other is None:
        return other if one is None else one
    return (Differences.from_json(one) + Differences.from_json(other)).to_json()
