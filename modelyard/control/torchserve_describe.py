"""Models and versions as TorchServe describes them: functions of a yard and of what its workers say."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from modelyard.client.admin_values import CopyRow, WorkerRow
from modelyard.control.torchserve_words import pretty, show_version, url_of
from modelyard.core.errors import FileError, ModelNotFound, VersionNotFound
from modelyard.core.ref import ModelRef
from modelyard.engine.limits import QueueLimits
from modelyard.monitor.observations import ModelSums

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelyard.deploy.yard import Yard
    from modelyard.store.rows import Version

_PAGE = 100
_STATES = {"serving": "READY", "cold": "READY", "draining": "UNLOADING", "unloading": "UNLOADING"}
"""TorchServe has two words, and says UNLOADING for what is loading too; here that is LOADING."""


class Seen(Struct, frozen=True):
    """What this host's processes say.

    Args:
        workers: the host's.
        copies: what they hold.
        sums: what they counted.
        queue: how they queue.
        request_s: the longest that a request may take.
        at_startup: models that were loaded when control began.
    """

    workers: tuple[WorkerRow, ...]
    copies: tuple[CopyRow, ...]
    sums: tuple[ModelSums, ...]
    queue: QueueLimits
    request_s: float
    at_startup: frozenset[str]


def list_models(yard: Yard, limit: int, begin: int) -> str:
    """A page of ``GET /models``. The token counts the registry's models, so a page may hold fewer."""
    at, name, found = 0, "", []
    last = begin + limit
    while at < last:
        page = yard.models(name, _PAGE)
        for model, current in page:
            at += 1
            if begin < at <= last:
                row = _default(yard, model.name, current.release.live)
                if row is not None:
                    url = url_of(row.model, row.number, row.note)
                    found.append({"modelName": row.model, "modelUrl": url})
            name = model.name
        if len(page) < _PAGE:
            break
    more = {"nextPageToken": str(last)} if at > last or (at == last and yard.models(name, 1)) else {}
    return pretty({**more, "models": found})


def _default(yard: Yard, name: str, live: int | None) -> Version | None:
    """The version that answers, else the newest that may; None when all are retired."""
    if live is not None:
        return yard.version(ModelRef(name, live))
    before: int | None = None
    while page := yard.versions(name, before, _PAGE):
        for row in page:
            if row.state == "ready" and not row.gone:
                return row
        before = page[-1].number
    return None


def ready_versions(yard: Yard, name: str) -> dict[int, Version]:
    """The versions that may be served, by number; none when there is no such model."""
    found: dict[int, Version] = {}
    before: int | None = None
    try:
        while page := yard.versions(name, before, _PAGE):
            found |= {row.number: row for row in page if row.state == "ready" and not row.gone}
            before = page[-1].number
    except ModelNotFound:
        return {}
    return found


def describe(yard: Yard, rows: Sequence[Version], seen: Seen) -> str:
    """The array of ``GET /models/NAME``."""
    return pretty([_describe(yard, row, seen) for row in rows])


def _describe(yard: Yard, row: Version, seen: Seen) -> dict[str, Any]:
    facts = _facts(yard, row)
    engine = facts.get("engine") or {}
    batched = bool(facts.get("signature", {}).get("batched", True))
    copies = [copy for copy in seen.copies if (copy.model, copy.version) == (row.model, row.number)]
    pids = {worker.name: worker.pid for worker in seen.workers}
    waiting = sum(
        one.waiting for one in seen.sums if (one.model, one.version) == (row.model, str(row.number))
    )
    return {
        "modelName": row.model,
        "modelVersion": show_version(row.number),
        "modelUrl": url_of(row.model, row.number, row.note),
        "engine": "onnxruntime" if facts.get("graph") else str(facts.get("format", "unknown")),
        "runtime": "onnxruntime" if facts.get("graph") else "python",
        "minWorkers": len(copies),
        "maxWorkers": len(copies),
        "batchSize": int(engine.get("max_batch_rows", seen.queue.max_batch_rows)) if batched else 1,
        "maxBatchDelay": round(1000 * float(engine.get("max_wait_s", seen.queue.max_wait_s))),
        "responseTimeout": round(seen.request_s),
        "loadedAtStartup": row.model in seen.at_startup,
        "workers": [_worker(copy, pids.get(copy.worker, 0)) for copy in copies],
        "jobQueueStatus": {
            "remainingCapacity": max(seen.queue.max_waiting * len(copies) - waiting, 0),
            "pendingRequests": waiting,
        },
    }


def _facts(yard: Yard, row: Version) -> Mapping[str, Any]:
    try:
        return yard.manifest(ModelRef(row.model, row.number)).facts
    except (VersionNotFound, FileError):
        return {}


def _worker(copy: CopyRow, pid: int) -> dict[str, Any]:
    return {
        "id": copy.worker,
        "startTime": _started(pid),
        "status": _STATES.get(copy.state, "FAILED" if copy.state == "failed" else "LOADING"),
        "memoryUsage": copy.size_bytes,
        "pid": pid,
        "gpu": False,
        "gpuUsage": "",
    }


def _started(pid: int) -> str | None:
    """When a process of this machine began, UTC, as ``2026-11-28T10:00:00.000Z``."""
    try:
        ticks = float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        lines = Path("/proc/stat").read_text().splitlines()
        boot = next(float(line.split()[1]) for line in lines if line.startswith("btime "))
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    moment = datetime.fromtimestamp(boot + ticks / os.sysconf("SC_CLK_TCK"), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
