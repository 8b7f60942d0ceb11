"""TorchServe's management API in words: what is asked, what is answered, and how errors are called.

Sources: pytorch/serve docs/management_api.md, and ``ApiUtils``, ``DescribeModelResponse`` and
``HttpRequestHandler`` of its frontend.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from modelyard.core.errors import BadRequest, FileError, ModelNotFound, VersionNotFound
from modelyard.serve.status import public_message, status_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelyard.core.errors import ModelyardError

STATUS, DOCUMENT = "status", "document"
"""Forms of an answer that is none of the exceptions: one sentence, or JSON."""

UPDATING = "Processing worker updates..."
NO_METHOD = "Requested method is not allowed, please refer to API document."
NO_PATH = "Requested resource is not found, please refer to API document."
MOST_WORKERS = 1 << 16
_KINDS = {
    "bad-request": (400, "BadRequestException"),
    "bad-input": (400, "BadRequestException"),
    "unsupported-media": (400, "BadRequestException"),
    "too-large": (413, "TooLongFrameException"),
    "model-not-found": (404, "ModelNotFoundException"),
    "version-not-found": (404, "ModelVersionNotFoundException"),
    "route-not-found": (404, "ResourceNotFoundException"),
    "method-not-allowed": (405, "MethodNotAllowedException"),
    "illegal-move": (409, "ConflictStatusException"),
    "conflict": (409, "ConflictStatusException"),
    "unsupported": (501, "NotImplementedException"),
    "deadline-exceeded": (408, "RequestTimeoutException"),
    "overloaded": (503, "ServiceUnavailableException"),
    "unavailable": (503, "ServiceUnavailableException"),
}
_VERSION = re.compile(r"([1-9][0-9]{0,17})(?:\.0)?", re.ASCII)
_NOTE = re.compile(r"registered from (\S+)")


class Said(Struct, frozen=True):
    """An answer, before it is HTTP or gRPC.

    Args:
        status: of HTTP.
        text: a sentence, or JSON.
        kind: ``STATUS``, ``DOCUMENT``, or the name of one of TorchServe's exceptions.
    """

    status: int
    text: str
    kind: str = STATUS

    def body(self) -> bytes:
        """As REST has it.

        >>> Said(404, "Model not found: x", "ModelNotFoundException").body().split()[2]
        b'404,'
        """
        if self.kind == DOCUMENT:
            return self.text.encode()
        told = (
            {"status": self.text}
            if self.kind == STATUS
            else {"code": self.status, "type": self.kind, "message": self.text}
        )
        return pretty(told).encode()


def pretty(told: Any) -> str:
    """JSON as TorchServe writes it: two spaces, and a line end."""
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode() + "\n"


def said_of(error: ModelyardError) -> Said:
    """An error in TorchServe's form."""
    if isinstance(error, FileError):
        return Said(400, error.message, "InvalidModelException")
    status, kind = _KINDS.get(error.code, (status_of(error).http, "InternalServerException"))
    return Said(status, public_message(error), kind)


def no_model(name: str) -> ModelNotFound:
    """TorchServe's words for an unknown model."""
    return ModelNotFound(f"Model not found: {name[:128]}")


def no_version(name: str, version: str) -> VersionNotFound:
    """TorchServe's words for an unknown version."""
    return VersionNotFound(f"Model version: {version[:40]} does not exist for model: {name}")


def read_version(name: str, text: str) -> int:
    """A version's number: TorchServe's clients write 2.0 for 2.

    >>> read_version("iris", "2.0")
    2

    Raises:
        VersionNotFound: no such version can be.
    """
    found = _VERSION.fullmatch(text)
    if found is None:
        raise no_version(name, text)
    return int(found[1])


def show_version(number: int) -> str:
    """The same the other way."""
    return f"{number}.0"


def note_of(url: str) -> str:
    """What a version that was registered here is called by."""
    return f"registered from {url}"


def url_of(name: str, number: int, note: str) -> str:
    """Where a version came from, as far as that is known."""
    found = _NOTE.fullmatch(note)
    return found[1] if found else f"{name}:{number}"


class Register(Struct, frozen=True):
    """A wish to register a model.

    Args:
        url: a file of the model store, or a URL.
        name: "": as the archive says.
        workers: 0: it is not served yet.
        synchronous: wait until it is served.
        rows: how many rows run together at most; None: as the server does it.
        wait_s: how long a batch may wait for more; likewise.
        ignored: what was asked for and has no effect here.
    """

    url: str
    name: str = ""
    workers: int = 0
    synchronous: bool = False
    rows: int | None = None
    wait_s: float | None = None
    ignored: tuple[str, ...] = ()


class Scale(Struct, frozen=True):
    """A wish for workers."""

    least: int = 1
    most: int = 1
    synchronous: bool = False


def read_register(words: Mapping[str, Any]) -> Register:
    """What a call's parameters ask for.

    >>> read_register({"url": "a.mar", "initial_workers": "1"}).workers
    1

    Raises:
        BadRequest: no url, or a value that has no meaning.
    """
    url = str(words.get("url") or "")
    if not url:
        raise BadRequest("Parameter url is required.")
    if words.get("handler"):
        raise BadRequest("Parameter handler is not taken here: the archive's own handler is used.")
    delay_ms = _number(words, "max_batch_delay", 0, 10_000, None)
    idle = ("response_timeout", "startup_timeout", "runtime", "s3_sse_kms", "queue_timeout")
    return Register(
        url,
        str(words.get("model_name") or ""),
        _number(words, "initial_workers", 0, MOST_WORKERS, 0) or 0,
        _flag(words, "synchronous"),
        _number(words, "batch_size", 1, 1 << 20, None),
        None if delay_ms is None else delay_ms / 1000,
        tuple(name for name in idle if words.get(name)),
    )


def read_scale(words: Mapping[str, Any]) -> Scale:
    """What a call's parameters ask for.

    Raises:
        BadRequest: a value that has no meaning.
    """
    least = _number(words, "min_worker", 0, MOST_WORKERS, 1) or 0
    most = _number(words, "max_worker", 0, MOST_WORKERS, least) or 0
    if most < least:
        raise BadRequest("max_worker cannot be less than min_worker.")
    return Scale(least, most, _flag(words, "synchronous"))


def read_page(words: Mapping[str, Any]) -> tuple[int, int]:
    """(limit, where to begin) of a list; what has no meaning is the default, as with TorchServe."""
    limit, token = (_loose(words.get(name)) for name in ("limit", "next_page_token"))
    return (limit if 0 < limit <= 100 else 100), max(token, 0)


def _loose(value: Any) -> int:
    text = str(value)
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) else 0


def _number(words: Mapping[str, Any], name: str, least: int, most: int, default: int | None) -> int | None:
    value = words.get(name)
    if value is None or value == "":
        return default
    text = str(value)
    if not re.fullmatch(r"[0-9]{1,12}", text, re.ASCII) or not least <= int(text) <= most:
        raise BadRequest(f"Parameter {name} is a whole number from {least} to {most}, not {text[:40]!r}.")
    return int(text)


def _flag(words: Mapping[str, Any], name: str) -> bool:
    return str(words.get(name, "")).lower() == "true"
