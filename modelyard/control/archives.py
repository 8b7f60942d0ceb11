"""Where a model archive comes from: the model store, or a URL that is allowed.

Rule: nothing is read that the operator did not allow. A name is a file of the model store and never a path.
The whole of a URL must match one of ``allowed_urls``, before each request and after each redirect, so a
server on the list cannot lead elsewhere. A download is bounded in bytes and time.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from msgspec import Struct

from modelyard.core.errors import BadInput, MissingFile, ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modelyard.deploy.torchserve import ModelStore

MOST_URL = 2048
MOST_REDIRECTS = 5
_STEP = 1 << 18
_MOVED = frozenset((301, 302, 303, 307, 308))
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_URL = re.compile(r"[!-\[\]-~]+")
"""Visible ASCII without the backslash, which some readers of URLs take for a slash."""


class FetchLimits(Struct, frozen=True):
    """What a download may cost: bytes, seconds in all, and seconds of silence."""

    size_bytes: int = 8 << 30
    total_s: float = 600.0
    silence_s: float = 20.0


def file_in_store(name: str, store: ModelStore) -> Path:
    """The file of the model store that a name means.

    Raises:
        ModelNotFound: no model store, no such file, or a name that is a path.
    """
    if ".." in name:
        raise ModelNotFound(f"Relative path is not allowed in url: {name[:200]}")
    if store.folder is None:
        raise ModelNotFound("Model store has not been configured.")
    plain = name.removeprefix("./")
    if not _NAME.fullmatch(plain):
        raise ModelNotFound(f"The url must be a file of the model store, not a path: {name[:200]!r}")
    path = store.folder / plain
    with suppress(OSError):
        if path.is_file() and store.folder.resolve() in path.resolve().parents:
            return path
    raise ModelNotFound(f"Model not found in model store: {plain}")


def check_url(url: str, allowed: Sequence[str]) -> SplitResult:
    """A URL in its parts, if it is allowed.

    >>> check_url("https://models.example.org/a.mar", ["https://models.example.org/.*"]).hostname
    'models.example.org'

    Raises:
        BadInput: not a URL that is read here.
        ModelNotFound: not on the list.
    """
    if len(url) > MOST_URL or not _URL.fullmatch(url):
        raise BadInput(f"url has over {MOST_URL} characters, or some that a URL does not have")
    if ".." in unquote(unquote(url)):
        raise ModelNotFound(f"Relative path is not allowed in url: {url[:200]}")
    if not any(re.fullmatch(one, url, re.IGNORECASE) for one in allowed):
        raise ModelNotFound(f"Given URL {url[:200]} does not match any allowed URL(s)")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadInput(f"url: {error}") from None
    if parts.scheme not in ("http", "https", "file"):
        raise BadInput(f"url: {parts.scheme}:// is not read here; give an http, https or file address")
    if "@" in parts.netloc or parts.fragment or port == 0:
        raise BadInput("url: neither a user, a fragment nor port 0 may stand in it")
    if parts.scheme == "file" and parts.netloc not in ("", "localhost"):
        raise BadInput("url: a file address names no host, as file:///srv/models/a.mar")
    if parts.scheme != "file" and not parts.hostname:
        raise BadInput("url: it names no host")
    return parts


@contextmanager
def archive(url: str, store: ModelStore, aside: Path, limits: FetchLimits) -> Iterator[Path]:
    """The archive as a file of this machine; a downloaded one is gone when the block ends. It blocks.

    Args:
        url: as the caller gave it.
        store: what is allowed.
        aside: a new name for a folder of this call.
        limits: of a download.

    Raises:
        BadInput: not a URL that is read here.
        MissingFile: the download failed.
        ModelNotFound: not allowed, or not there.
    """
    if not _SCHEME.match(url):
        yield file_in_store(url, store)
        return
    parts = check_url(url, store.allowed_urls)
    if parts.scheme == "file":
        yield _local(url, parts, store.allowed_urls)
        return
    name = PurePosixPath(unquote(parts.path)).name
    target = aside / (name if _NAME.fullmatch(name) else "model.mar")
    aside.mkdir(parents=True, mode=0o700)
    try:
        _download(url, store.allowed_urls, target, limits)
        yield target
    finally:
        target.unlink(missing_ok=True)
        aside.rmdir()


def loaded_at_start(store: ModelStore) -> list[tuple[str, str]]:
    """What ``load_models`` names; ``all`` is every archive of the store."""
    if store.load != (("", "all"),) or store.folder is None:
        return list(store.load)
    return [("", path.name) for path in sorted(store.folder.glob("*.mar")) if path.is_file()]


def shown(url: str) -> str:
    """A URL as it may be written down: a query may hold a signature."""
    return url.partition("?")[0][:300]


def _local(url: str, parts: SplitResult, allowed: Sequence[str]) -> Path:
    """A file of this machine; where links lead must be allowed as well."""
    try:
        path = Path(unquote(parts.path)).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        raise MissingFile(f"Failed to download archive from: {url}") from None
    check_url(path.as_uri(), allowed)
    if not path.is_file():
        raise MissingFile(f"Failed to download archive from: {url}")
    return path


def _download(url: str, allowed: Sequence[str], target: Path, limits: FetchLimits) -> None:
    until, first = monotonic() + limits.total_s, shown(url)
    try:
        for _ in range(MOST_REDIRECTS + 1):
            moved = _get(check_url(url, allowed), target, until, limits)
            if moved is None:
                return
            url = urljoin(url, moved)
            if urlsplit(url).scheme not in ("http", "https"):
                raise MissingFile(f"Failed to download archive from: {first}: it leads to another protocol")
    except (OSError, http.client.HTTPException, ValueError) as error:
        said = "it took too long" if monotonic() >= until else type(error).__name__
        raise MissingFile(f"Failed to download archive from: {first}: {said}") from None
    raise MissingFile(f"Failed to download archive from: {first}: more than {MOST_REDIRECTS} redirects")


def _get(parts: SplitResult, target: Path, until: float, limits: FetchLimits) -> str | None:
    """One request: where it leads on, or None when the file is there."""
    host, left = parts.hostname or "", max(until - monotonic(), 0.001)
    pause = min(limits.silence_s, left)
    link: http.client.HTTPConnection
    if parts.scheme == "https":
        link = http.client.HTTPSConnection(
            host, parts.port, timeout=pause, context=ssl.create_default_context()
        )
    else:
        link = http.client.HTTPConnection(host, parts.port, timeout=pause)
    link.connect()
    # A byte now and then must not keep it for ever. The link forgets its socket when the answer begins.
    watch = threading.Timer(left, _cut, (link.sock,))
    watch.daemon = True
    watch.start()
    try:
        place = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        link.request("GET", place, headers={"user-agent": "modelyard", "accept": "*/*"})
        answer = link.getresponse()
        if answer.status in _MOVED and (where := answer.getheader("location")):
            return where
        if answer.status != 200:
            raise MissingFile(
                f"Failed to download archive from: {shown(parts.geturl())}: status {answer.status}"
            )
        _write(answer, target, limits.size_bytes, shown(parts.geturl()))
        return None
    finally:
        watch.cancel()
        link.close()


def _write(answer: http.client.HTTPResponse, target: Path, most: int, url: str) -> None:
    total = 0
    with target.open("wb") as file:
        while step := answer.read1(_STEP):
            total += len(step)
            if total > most:
                raise MissingFile(f"Failed to download archive from: {url}: more than {most} bytes")
            file.write(step)
    if answer.length:
        raise http.client.IncompleteRead(b"", answer.length)


def _cut(connection: socket.socket) -> None:
    """End a connection from another thread: whoever reads it hears the end."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
