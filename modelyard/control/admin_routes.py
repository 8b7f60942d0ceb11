"""The table of the admin API: what there is, what it takes and answers. The OpenAPI page is drawn from it.

Rule: a route is a function of a ``Call``. A plain one runs in a thread, for the registry may keep it waiting.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field, structs
from starlette.responses import Response, StreamingResponse

from modelyard.client.admin_values import (
    AuditLine,
    AuditReport,
    CopyRow,
    DiffLine,
    FsckReport,
    GcReport,
    GcRequest,
    Health,
    HostRow,
    ModelPage,
    ModelRow,
    OrderRequest,
    OutcomeRow,
    ReleaseRow,
    VersionPage,
    VersionRow,
    WorkerRow,
)
from modelyard.control.admin_call import Call
from modelyard.control.desk import parse_moment
from modelyard.control.shadows import shadow_rows
from modelyard.core.errors import BadInput, CorruptFile, FileError, NotConvertible, Unavailable, UnsafeFile
from modelyard.monitor.exposition import CONTENT_TYPE, Exposition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelyard.control.live import Live

MOST_WAIT_S = 3600.0


class Row(Struct, frozen=True):
    """One route.

    Args:
        method: of HTTP.
        path: with its words in braces.
        summary: one sentence.
        run: what answers.
        answers: the type of the answer.
        takes: the type of the body; ``bytes`` is a tar, None is no body.
        query: word -> what it means.
        status: when all is well.
        kind: the answer's media type.
    """

    method: str
    path: str
    summary: str
    run: Callable[[Call], Any]
    answers: Any
    takes: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    kind: str = "application/json"

    def status_of(self, done: Any) -> int:
        """The status of an answer: health that is none says so to whoever reads only the status."""
        return 503 if isinstance(done, Health) and not done.ok else self.status


_PAGE = {"limit": "How many at most, up to 1000."}
_MODEL = "/v1/models/{model}"
_VERSION = _MODEL + "/versions/{version}"


def _models(call: Call) -> tuple[ModelRow, ...]:
    return call.desk.models(call.text("after"), call.count("limit", 100))


def _model(call: Call) -> ModelPage:
    page = call.desk.model(call.path("model"), call.count("limit", 20))
    if call.live is None or all(entry.role != "shadow" for entry in page.model.release.entries):
        return page
    return structs.replace(page, shadows=shadow_rows(page.model.release, call.live.observations()))


def _versions(call: Call) -> tuple[VersionRow, ...]:
    return call.desk.versions(call.path("model"), call.number("before"), call.count("limit", 100))


def _version(call: Call) -> VersionPage:
    return call.desk.version(call.ref)


def _diff(call: Call) -> tuple[DiffLine, ...]:
    return call.desk.diff(call.text("a"), call.text("b"))


def _released(call: Call) -> ReleaseRow:
    return call.desk.released(call.path("model"))


def _history(call: Call) -> tuple[ReleaseRow, ...]:
    if moment := call.text("at"):
        return (call.desk.history_at(call.path("model"), parse_moment(moment)),)
    return call.desk.history(call.path("model"), call.number("before"), call.count("limit", 100))


def _push(call: Call) -> VersionRow:
    try:
        return call.desk.import_(
            call.body, call.path("model"), call.text("note"), call.text("digest") or None, call.place.limits
        )
    except (CorruptFile, NotConvertible, UnsafeFile) as error:
        # It is the caller's file, not this machine's: its message names what the caller sent.
        raise BadInput(error.message) from error


async def _order(call: Call) -> OutcomeRow:
    name, asked = call.path("model"), call.body
    if not 0 <= asked.wait_s <= MOST_WAIT_S:
        raise BadInput(f"wait_s is a number of seconds from 0 to {MOST_WAIT_S:g}")
    done: OutcomeRow = await asyncio.to_thread(call.desk.order, name, asked)
    if not asked.wait_s or call.live is None:
        return done
    settled = await call.live.settle(name, done.release.revision, asked.wait_s)
    return structs.replace(done, settled=settled)


async def _settled(call: Call) -> bool:
    revision = call.count("revision", 0)
    return await _live(call).settle(call.path("model"), revision, call.seconds("wait_s", MOST_WAIT_S))


def _export(call: Call) -> Response:
    """The tar, written aside first: whether all of it is sound is known before the first byte is sent."""
    uploads = call.place.uploads
    uploads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=uploads) as folder:
        path = Path(folder) / "bundle.tar"
        digest = call.desk.export(call.ref, path)
        stream, size = path.open("rb"), path.stat().st_size

    def steps() -> Iterator[bytes]:
        with stream:  # its name is gone already, its bytes go with it
            while step := stream.read(1 << 20):
                yield step

    name = call.ref.replace(":", "-")
    head = {
        "content-length": str(size),
        "x-modelyard-digest": digest,
        "content-disposition": f'attachment; filename="{name}.tar"',
    }
    return StreamingResponse(steps(), 200, head, "application/x-tar")


def _metrics(call: Call) -> Response:
    page = Exposition()
    for _ in page.observed(_live(call).observations()):
        pass  # it comes in steps, for those who must not be held up; this thread may be
    return Response(page.text(), 200, media_type=CONTENT_TYPE.decode())


def _gc(call: Call) -> GcReport:
    return call.desk.gc(call.body.grace_s, call.body.dry_run)


def _fsck(call: Call) -> FsckReport:
    return call.desk.fsck()


def _audit(call: Call) -> tuple[AuditLine, ...]:
    return call.desk.audit(call.count("after", 0), call.count("limit", 100), call.text("subject") or None)


def _verify_audit(call: Call) -> AuditReport:
    return call.desk.verify_audit()


def _health(call: Call) -> Health:
    problems = tuple(call.live.problems()) if call.live is not None else ()
    try:
        call.place.yard.index.change()
    except (Unavailable, FileError):
        return Health(False, False, (*problems, "the registry's database does not answer"))
    return Health(True, True, problems)


def _hosts(call: Call) -> tuple[HostRow, ...]:
    workers, copies = _live(call).workers(), _live(call).copies()
    names = dict.fromkeys(worker.host for worker in workers)
    return tuple(
        HostRow(
            name,
            max(worker.seen_s for worker in workers if worker.host == name),
            tuple(worker for worker in workers if worker.host == name),
            tuple(copy for copy in copies if copy.host == name),
        )
        for name in names
    )


def _workers(call: Call) -> tuple[WorkerRow, ...]:
    return tuple(_live(call).workers())


def _copies(call: Call) -> tuple[CopyRow, ...]:
    return tuple(_live(call).copies())


def _live(call: Call) -> Live:
    if call.live is None:
        raise Unavailable("no worker runs here; run: modelyard up")
    return call.live


ROWS: tuple[Row, ...] = (
    Row("GET", "/health", "Whether the registry answers, and what is wrong on this host.", _health, Health),
    Row(
        "GET", "/v1/models", "Models in the order of their names, with what is in force.", _models,
        tuple[ModelRow, ...], query={"after": "The last name of the page before.", **_PAGE},
    ),
    Row("GET", _MODEL, "One model with its newest versions.", _model, ModelPage, query=_PAGE),
    Row("GET", f"{_MODEL}/release", "What is in force.", _released, ReleaseRow),
    Row(
        "GET", f"{_MODEL}/history", "What was in force, newest first; or at one moment.", _history,
        tuple[ReleaseRow, ...],
        query={
            "at": "A moment in ISO 8601 with its time zone.",
            "before": "The last revision of the page before.",
            **_PAGE,
        },
    ),
    Row(
        "GET", f"{_MODEL}/versions", "A model's versions, newest first.", _versions, tuple[VersionRow, ...],
        query={"before": "The last number of the page before.", **_PAGE},
    ),
    Row(
        "POST", f"{_MODEL}/versions", "Push a bundle as the model's next version.", _push, VersionRow, bytes,
        {"note": "What its maker says.", "digest": "The digest that the bundle must have."}, 201,
    ),
    Row("GET", _VERSION, "One version and its manifest; `newest` is a version.", _version, VersionPage),
    Row(
        "GET", "/v1/diff", "Two versions side by side.", _diff, tuple[DiffLine, ...],
        query={"a": "A reference such as iris:1.", "b": "Another."},
    ),
    Row("POST", "/v1/gc", "Delete what nothing needs, after a grace.", _gc, GcReport, GcRequest),
    Row("POST", "/v1/fsck", "Hash every byte and check every row.", _fsck, FsckReport, dict),
    Row(
        "GET", "/v1/audit", "The audit log in its order.", _audit, tuple[AuditLine, ...],
        query={"after": "The last seq of the page before.", "subject": "As iris or iris:2.", **_PAGE},
    ),
    Row("POST", "/v1/audit/verify", "Walk the audit log's chain.", _verify_audit, AuditReport, dict),
    Row(
        "POST", f"{_MODEL}/orders", "Release, try, promote, roll back, retire ...", _order, OutcomeRow,
        OrderRequest,
    ),
    Row(
        "GET", f"{_MODEL}/settled", "Wait until this host serves a revision.", _settled, bool,
        query={"revision": "Of the release.", "wait_s": "How long to wait, in seconds."},
    ),
    Row(
        "GET", f"{_VERSION}/bundle", "A version's bundle as a tar.", _export, bytes,
        kind="application/x-tar",
    ),
    Row("GET", "/metrics", "What the workers saw, for Prometheus.", _metrics, bytes, kind="text/plain"),
    Row("GET", "/v1/hosts", "Hosts, their workers, and what those hold.", _hosts, tuple[HostRow, ...]),
    Row("GET", "/v1/workers", "The workers.", _workers, tuple[WorkerRow, ...]),
    Row("GET", "/v1/copies", "Which versions every worker holds.", _copies, tuple[CopyRow, ...]),
)  # fmt: skip
"""Every route, in the order of the documentation."""
