"""What a process saw, as values that merge exactly across workers, hosts and windows of time."""

from __future__ import annotations

import msgspec


class Sums(msgspec.Struct, array_like=True):
    """A ``Histogram`` as a value: ``counts`` per bucket (the last is above every bound) and their total."""

    counts: list[int]
    total: float


class ModelSums(msgspec.Struct):
    """The sums of one model version since its process began. Values: nobody changes one that was made.

    Args:
        model: its name.
        version: its number, as text.
        requests: (surface, code, how many).
        rows: answered ones.
        seconds: surface -> request latencies.
        batch_rows: rows of each batch.
        queue: seconds that the oldest request of each batch waited.
        run: seconds that each batch ran.
        shadow: ``Differences.to_json`` of what this version would have answered as a shadow.
        waiting: requests in the queue now.
        ready: how many processes have it ready now.
        last_s: when a request last ended, seconds of the epoch; 0 is never.
        failed_s: of ``seconds``, what went into requests that were not answered "ok".
        run_s: of ``run``, what went into batches of each bucket of ``batch_rows``.
        dropped: copies for this version as a shadow that were not run, for want of room.
        copies: those under way now.
    """

    model: str
    version: str
    requests: list[tuple[str, str, int]]
    rows: int
    seconds: dict[str, Sums]
    batch_rows: Sums
    queue: Sums
    run: Sums
    shadow: dict[str, object] | None = None
    waiting: int = 0
    ready: int = 0
    last_s: float = 0.0
    failed_s: float = 0.0
    run_s: list[float] = []
    dropped: int = 0
    copies: int = 0


class Observations(msgspec.Struct):
    """The sums of one process, or of many.

    Args:
        models: one for each model version.
        refused: (surface, code, how many) of requests that reached no model.
        connections: open HTTP connections.
        bodies_bytes: of request bodies in flight.
        resident_bytes: memory.
        cpu_s: processor time.
        processes: how many processes these are the sums of.
        started_s: when the first of them began, seconds of the epoch; 0 is unknown.
        open_fds: open file descriptors.
        parked: requests that wait now for a model to be loaded.
        parked_total: how many ever waited.
    """

    models: list[ModelSums]
    refused: list[tuple[str, str, int]]
    connections: int = 0
    bodies_bytes: int = 0
    resident_bytes: int = 0
    cpu_s: float = 0.0
    processes: int = 1
    started_s: float = 0.0
    open_fds: int = 0
    parked: int = 0
    parked_total: int = 0
