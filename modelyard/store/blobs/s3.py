"""Blobs in a bucket that speaks S3.

One rule: every request is small and bounded. Uploads go in pieces, reads go by ranges, each with a time limit
and a number of tries, so that a server that stalls or truncates costs a wait and a clear error, never a hang.
An upload becomes visible whole or not at all: that is what S3 promises for a single put and for the end of
a multipart one. Pieces of killed uploads are invisible; a lifecycle rule of the bucket removes them.
"""

from __future__ import annotations

import io
import tempfile
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

import obstore
from msgspec import Struct
from obstore import exceptions
from obstore.store import S3Store

from modelyard.core.errors import BadInput, CorruptFile, MissingFile, Unavailable
from modelyard.store.blobs.blob import BlobEntry, check_claims, check_digest, copy_hashed, stream_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 8 << 20
"""Bytes of one request at most."""


class S3Limits(Struct, frozen=True):
    """How long one request may take, and how often it is tried."""

    timeout_s: float = 60.0
    connect_s: float = 5.0
    retries: int = 4


class S3Blobs:
    """A bucket, or a prefix in one."""

    def __init__(self, store: S3Store) -> None:
        self._store = store

    def open(self, digest: str) -> BinaryIO:
        """See ``BlobReader``."""
        size = self.size(digest)
        if size is None:
            raise MissingFile(f"no blob {digest[:12]} in this store")
        return io.BufferedReader(_Ranges(self, digest, size), PIECE)

    def read_range(self, digest: str, start: int, size: int) -> bytes:
        """See ``BlobReader``."""
        total = self.size(digest)
        if total is None:
            raise MissingFile(f"no blob {digest[:12]} in this store")
        return self.piece(digest, start, min(size, max(0, total - start)))

    def piece(self, digest: str, start: int, size: int) -> bytes:
        """Exactly these bytes, which must be there."""
        if size <= 0:
            return b""
        with _translated(digest):
            data = bytes(obstore.get_range(self._store, _key(digest), start=start, length=size))
        if len(data) != size:
            raise Unavailable(f"the artifact store sent {len(data)} bytes of {size}; try again")
        return data

    def size(self, digest: str) -> int | None:
        """See ``BlobReader``."""
        try:
            with _translated(digest):
                return int(obstore.head(self._store, _key(digest))["size"])
        except MissingFile:
            return None

    def local_path(self, digest: str) -> Path | None:
        """There is none."""
        check_digest(digest)
        return None

    def put(self, source: bytes | BinaryIO, expected: str | None = None, size: int | None = None) -> str:
        """See ``BlobWriter``; through a temporary file, because the name is known at the end."""
        with tempfile.NamedTemporaryFile(prefix="modelyard-") as spool:
            digest, length = copy_hashed(stream_of(source), spool)  # type: ignore[arg-type]
            check_claims(digest, length, expected, size)
            spool.flush()
            with _translated(digest):
                obstore.put(self._store, _key(digest), Path(spool.name), chunk_size=PIECE, max_concurrency=4)
        found = self.size(digest)
        if found != length:
            raise CorruptFile(
                f"the artifact store kept {found} bytes of {length}; send blob {digest[:12]} again"
            )
        return digest

    def list(self) -> Iterator[BlobEntry]:
        """See ``BlobWriter``."""
        with _translated(""):
            for page in obstore.list(self._store, prefix="blobs"):
                for row in page:
                    name = row["path"].rpartition("/")[2]
                    try:
                        check_digest(name)
                    except BadInput:
                        continue  # not ours
                    yield BlobEntry(name, int(row["size"]), row["last_modified"].timestamp())

    def delete(self, digest: str) -> bool:
        """See ``BlobWriter``."""
        if self.size(digest) is None:
            return False
        with _translated(digest):
            obstore.delete(self._store, _key(digest))
        return True

    def sweep(self, before_s: float) -> int:  # noqa: ARG002 - the protocol's signature
        """What is left of killed uploads is the bucket's own affair: a lifecycle rule ends it."""
        return 0

    def close(self) -> None:
        """The client has no close; its connections end with it."""


class _Ranges(io.RawIOBase):
    """A blob as a stream, read by ranges."""

    def __init__(self, blobs: S3Blobs, digest: str, size: int) -> None:
        super().__init__()
        self._blobs, self._digest, self._size, self._at = blobs, digest, size, 0

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """The next range, as large as the reader wants."""
        wanted = min(len(buffer), PIECE, self._size - self._at)
        data = self._blobs.piece(self._digest, self._at, wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def readall(self) -> bytes:
        """The rest, in large pieces: the inherited one asks for 8 KiB at a time."""
        pieces = bytearray()
        while step := self.read(PIECE):
            pieces += step
        return bytes(pieces)


def open_s3(
    address: str,
    *,
    endpoint: str = "",
    region: str = "us-east-1",
    access_key: str = "",
    secret_key: str = "",
    timeout_s: str = "60",
    retries: str = "4",
) -> S3Blobs:
    """``s3://bucket/prefix``.

    Args:
        address: the bucket and where in it.
        endpoint: the server's URL, for one that is not Amazon's; plain http only when it is written out.
        region: the bucket's region.
        access_key: with ``secret_key``; without both, the client looks where Amazon's tools look.
        secret_key: see above.
        timeout_s: seconds that one request may take.
        retries: how often a failed request is tried again.

    Raises:
        BadInput: the address or a number is not one.
    """
    parts = urlsplit(address)
    if parts.scheme != "s3" or not parts.netloc:
        raise BadInput(f"{address[:200]!r} is no bucket; write s3://bucket/prefix")
    if "@" in parts.netloc:
        raise BadInput("a bucket's address holds no keys; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    try:
        limits = S3Limits(timeout_s=float(timeout_s), retries=int(retries))
    except ValueError:
        raise BadInput("timeout_s and retries of a blob store are numbers") from None
    config: dict[str, Any] = {"region": region, "checksum_algorithm": "sha256"}
    if endpoint:
        config["endpoint"] = endpoint
    if access_key:
        config |= {"access_key_id": access_key, "secret_access_key": secret_key}
    store = S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        config=config,  # type: ignore[arg-type]
        client_options={
            "timeout": timedelta(seconds=limits.timeout_s),
            "connect_timeout": timedelta(seconds=min(limits.connect_s, limits.timeout_s)),
            # Without an endpoint of ours the client's own counts, AWS_ENDPOINT_URL: Amazon's are all https.
            "allow_http": not endpoint or endpoint.startswith("http://"),
        },
        retry_config={
            "max_retries": limits.retries,
            "retry_timeout": timedelta(seconds=limits.timeout_s * (limits.retries + 1)),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=5),
                "base": 2,
            },
        },
    )
    return S3Blobs(store)


def _key(digest: str) -> str:
    check_digest(digest)
    return f"blobs/{digest[:2]}/{digest}"


@contextmanager
def _translated(digest: str) -> Iterator[None]:
    """The client's errors as ours; a caller may read them, so they name no address and no key."""
    try:
        yield
    except (exceptions.NotFoundError, FileNotFoundError):
        raise MissingFile(f"no blob {digest[:12]} in this store") from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise Unavailable("the artifact store refuses our credentials; check them") from error
    except exceptions.BaseError as error:
        raise Unavailable(
            f"the artifact store does not answer ({type(error).__name__}); try again"
        ) from error
