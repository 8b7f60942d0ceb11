"""The admin client: the yard's verbs on a control process, over its REST API.

One rule: every verb is one request, and its answer is a value of ``admin_values``; what the server refuses is
the same error as if the yard were opened here.
"""

from __future__ import annotations

import http.client
import os
import ssl
import tempfile
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from modelyard.artifact.tarball import export_bundle
from modelyard.client.address import parse_address
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
from modelyard.client.errors import BadReply, Unreachable, http_error
from modelyard.client.http_blocking import unreachable
from modelyard.core.errors import BadInput, Conflict, DeadlineExceeded, MissingFile, ModelyardError
from modelyard.core.ref import check_name, parse_ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from modelyard.artifact.bundle import Bundle

T = TypeVar("T")

TAR = "application/x-tar"
_STEP = 1 << 20
_MOST_ANSWER = 256 << 20


class AdminClient:
    """The yard's verbs on a control process; safe to share between threads.

    Args:
        url: of its console port, as ``http://127.0.0.1:8002``.
        who: in whose name it is written down.
        timeout_s: for every step of one request, the long ones (``fsck``, ``gc``) excepted.
    """

    def __init__(self, url: str, who: str = "", timeout_s: float = 60.0) -> None:
        self._address = parse_address(url)
        if self._address.is_grpc:
            raise BadInput(f"the admin API is REST; write http://{self._address.host}:8002")
        self._who = who
        self._timeout_s = timeout_s

    def close(self) -> None:
        """Nothing is kept open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # what is there

    def models(self, after: str = "", limit: int = 100) -> tuple[ModelRow, ...]:
        """A page of models in the order of their names; ``after`` is the last name of the page before."""
        return self._get("/v1/models", tuple[ModelRow, ...], after=after or None, limit=limit)

    def model(self, name: str, limit: int = 20) -> ModelPage:
        """One model with its newest versions."""
        return self._get(_model(name), ModelPage, limit=limit)

    def versions(self, name: str, before: int | None = None, limit: int = 100) -> tuple[VersionRow, ...]:
        """A page of a model's versions, newest first; ``before`` is the last number of the page before."""
        return self._get(f"{_model(name)}/versions", tuple[VersionRow, ...], before=before, limit=limit)

    def version(self, ref: str) -> VersionPage:
        """One version with what its manifest says; the newest when the reference has no number."""
        return self._get(self._version(ref), VersionPage)

    def diff(self, a: str, b: str) -> tuple[DiffLine, ...]:
        """Two versions side by side, fact by fact."""
        parse_ref(a), parse_ref(b)
        return self._get("/v1/diff", tuple[DiffLine, ...], a=a, b=b)

    # what is in force

    def released(self, name: str) -> ReleaseRow:
        """What is in force now."""
        return self._get(f"{_model(name)}/release", ReleaseRow)

    def history(self, name: str, before: int | None = None, limit: int = 100) -> tuple[ReleaseRow, ...]:
        """A page of what was in force, newest first."""
        return self._get(f"{_model(name)}/history", tuple[ReleaseRow, ...], before=before, limit=limit)

    def history_at(self, name: str, moment: datetime) -> ReleaseRow:
        """What was in force at a moment."""
        found = self._get(f"{_model(name)}/history", tuple[ReleaseRow, ...], at=moment.isoformat())
        return found[0]

    def order(self, name: str, asked: OrderRequest) -> OutcomeRow:
        """Carry an order out.

        Raises:
            BadInput: an unknown verb, or words that do not belong to it.
            Conflict: somebody else was first; it says who and when.
            IllegalMove: the order may not follow what is in force.
        """
        return self._post(f"{_model(name)}/orders", OutcomeRow, asked, wait_s=asked.wait_s)

    def settled(self, name: str, revision: int, wait_s: float) -> bool:
        """Wait until this host serves what a revision of a model says; False when it did not in time."""
        return self._get(
            f"{_model(name)}/settled",
            bool,
            timeout_s=wait_s + self._timeout_s,
            revision=revision,
            wait_s=wait_s,
        )

    # in and out

    def push(
        self, bundle: Bundle, name: str, note: str, on_progress: Callable[[int], None] = lambda _: None
    ) -> VersionRow:
        """Register a bundle of this machine as the model's next version."""
        with tempfile.TemporaryFile(prefix="modelyard-") as spool:
            export_bundle(bundle, spool)
            spool.seek(0)
            return self.import_(spool, name, note, bundle.digest, on_progress)

    def import_(
        self,
        source: BinaryIO,
        name: str,
        note: str,
        expected: str | None = None,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> VersionRow:
        """Register a bundle that comes as a tar."""
        headers = {"content-type": TAR, "transfer-encoding": "chunked"}
        path = _path(f"{_model(name)}/versions", note=note or None, digest=expected)
        with self._answer("POST", path, _steps(source, on_progress), headers) as answer:
            return _decode(answer, VersionRow)

    def export(self, ref: str, path: Path) -> str:
        """Write a version's bundle as a tar, which is there whole or not at all; its digest."""
        aside = path.with_name(f".{path.name}.part")
        try:
            with self._answer("GET", f"{self._version(ref)}/bundle") as answer:
                with _writing(path):
                    target = aside.open("wb")
                with target:
                    self._receive(answer, target, path)
                digest = answer.headers.get("x-modelyard-digest", "")
            with _writing(path):
                os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)
        return digest

    def _receive(self, answer: http.client.HTTPResponse, target: BinaryIO, path: Path) -> None:
        left = int(answer.headers.get("content-length", "0"))
        while left:
            step = answer.read(min(_STEP, left))
            if not step:
                raise Unreachable(f"{self._address.url} broke off in the middle of its answer")
            with _writing(path):
                target.write(step)
            left -= len(step)
        with _writing(path):
            target.flush()
            os.fsync(target.fileno())

    # upkeep

    def gc(self, grace_s: float, dry_run: bool) -> GcReport:
        """Give up the bundles of retired versions and delete what nothing needs, after a grace."""
        return self._post("/v1/gc", GcReport, GcRequest(grace_s, dry_run), wait_s=3600.0)

    def fsck(self) -> FsckReport:
        """Hash every byte and check every row; nothing is changed."""
        return self._post("/v1/fsck", FsckReport, {}, wait_s=24 * 3600.0)

    def audit(self, after: int = 0, limit: int = 100, subject: str | None = None) -> tuple[AuditLine, ...]:
        """A page of the audit log in its order; ``after`` is the last ``seq`` of the page before."""
        return self._get("/v1/audit", tuple[AuditLine, ...], after=after, limit=limit, subject=subject)

    def verify_audit(self) -> AuditReport:
        """Walk the whole audit log."""
        return self._post("/v1/audit/verify", AuditReport, {}, wait_s=3600.0)

    # what runs

    def health(self) -> Health:
        """Whether the registry answers, and what is wrong on this host."""
        with self._answer("GET", "/health", fine=(200, 503)) as answer:
            return _decode(answer, Health)

    def hosts(self) -> tuple[HostRow, ...]:
        """The hosts, their workers, and what those hold."""
        return self._get("/v1/hosts", tuple[HostRow, ...])

    def workers(self) -> tuple[WorkerRow, ...]:
        """The workers."""
        return self._get("/v1/workers", tuple[WorkerRow, ...])

    def copies(self) -> tuple[CopyRow, ...]:
        """Which versions every worker holds."""
        return self._get("/v1/copies", tuple[CopyRow, ...])

    # requests

    def _version(self, ref: str) -> str:
        found = parse_ref(ref)
        return f"{_model(found.name)}/versions/{found.version or 'newest'}"

    def _get(self, path: str, kind: type[T], timeout_s: float | None = None, **query: Any) -> T:
        with self._answer("GET", _path(path, **query), timeout_s=timeout_s) as answer:
            return _decode(answer, kind)

    def _post(self, path: str, kind: type[T], value: object, wait_s: float = 0.0) -> T:
        body, headers = msgspec.json.encode(value), {"content-type": "application/json"}
        with self._answer("POST", path, body, headers, self._timeout_s + wait_s) as answer:
            return _decode(answer, kind)

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        fine: tuple[int, ...] = (200, 201),
    ) -> Iterator[http.client.HTTPResponse]:
        """One exchange on a connection of its own; what the server refuses is raised."""
        address, wait_s = self._address, timeout_s or self._timeout_s
        link: http.client.HTTPConnection
        if address.secure:
            tls = ssl.create_default_context()
            link = http.client.HTTPSConnection(address.host, address.port, timeout=wait_s, context=tls)
        else:
            link = http.client.HTTPConnection(address.host, address.port, timeout=wait_s)
        head = {"x-modelyard-who": quote(self._who, safe="@.-_ "), **(headers or {})}
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                # A server that refuses a body early has answered already: its answer is read.
                link.request(
                    method, address.prefix + path, body, head, encode_chunked="transfer-encoding" in head
                )
            answer = link.getresponse()
            if answer.status not in fine:
                raise _refusal(answer.status, answer.read(_STEP))
            yield answer
        except TimeoutError:
            raise DeadlineExceeded(f"{address.url} gave no answer within {wait_s:.3g} s") from None
        except http.client.HTTPException as error:
            raise BadReply(
                f"something answers at {address.url}, but not as HTTP does: {type(error).__name__}"
            ) from error
        except OSError as error:
            raise Unreachable(unreachable(address, error)) from error
        finally:
            link.close()


def _model(name: str) -> str:
    return f"/v1/models/{quote(check_name(name), safe='')}"


def _path(path: str, **query: Any) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MissingFile(f"{path} cannot be written: {error.strerror}") from error


def _steps(source: BinaryIO, on_progress: Callable[[int], None]) -> Iterator[bytes]:
    sent = 0
    while step := source.read(_STEP):
        yield step
        sent += len(step)
        on_progress(sent)


def _decode(answer: http.client.HTTPResponse, kind: type[T]) -> T:
    data = answer.read(_MOST_ANSWER)
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadReply(f"something answers there, but not as the admin API does: {error}") from error


def _refusal(status: int, data: bytes) -> ModelyardError:
    try:
        body = msgspec.json.decode(data, type=dict[str, Any])
        message, code = str(body["error"]), str(body["code"])
        if code == Conflict.code:
            at = datetime.fromisoformat(body["at"]) if body.get("at") else None
            return Conflict(message, int(body.get("revision", 0)), str(body.get("who", "")), at)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
        return BadReply(f"something answers there with status {status}, but it is not the admin API")
    return http_error(status, message, code)
