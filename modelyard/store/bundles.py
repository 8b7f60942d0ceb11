"""Bundles as blobs: publish takes one apart, fetch puts it together again.

One rule: a version is one digest. It names the manifest blob; the manifest names the parts. A codec that
changes the parts' bytes seals the manifest: ``{"codec": name, "manifest": ..., "blobs": part -> blob}``.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from msgspec import Struct

from modelyard.artifact.bundle import open_bundle, receive_bundle
from modelyard.artifact.codec import PLAIN
from modelyard.artifact.manifest import MANIFEST, MOST_BYTES, Manifest, canonical, read_manifest
from modelyard.core.digest import sha256_of, sha256_of_stream
from modelyard.core.errors import BadInput, CorruptFile, MissingFile, UnsafeFile
from modelyard.store.blobs.blob import check_digest, open_checked
from modelyard.store.cache import touch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelyard.artifact.bundle import Bundle
    from modelyard.artifact.codec import Codec
    from modelyard.store.blobs.blob import BlobReader, Blobs


class Packed(Struct, frozen=True):
    """A bundle taken apart.

    Args:
        digest: of the manifest blob: what a version is.
        manifest: that blob.
        parts: digest of every other blob -> a local file with its bytes.
    """

    digest: str
    manifest: bytes
    parts: Mapping[str, Path]

    @property
    def digests(self) -> tuple[str, ...]:
        """Every blob of it, the manifest last."""
        return (*sorted(self.parts), self.digest)


class Contents(Struct, frozen=True):
    """What a manifest blob says: the plain manifest's bytes, and the blob of every part."""

    raw: bytes
    manifest: Manifest
    codec: str
    blobs: Mapping[str, str]

    @property
    def digests(self) -> frozenset[str]:
        """The blobs of the parts."""
        return frozenset(self.blobs.values())


@contextmanager
def packed(bundle: Bundle, codec: Codec = PLAIN) -> Iterator[Packed]:
    """Take a bundle apart; what the codec made of it is there until the block ends.

    Raises:
        CorruptFile: the bundle on disk is not what its manifest says.
    """
    raw = (bundle.folder / MANIFEST).read_bytes()
    manifest = read_manifest(raw)
    if manifest.digest != bundle.digest:
        raise CorruptFile(f"bundle {bundle.folder.name} was changed since it was opened")
    if codec.name == PLAIN.name:
        yield Packed(manifest.digest, raw, {part.sha256: bundle.path(part.name) for part in manifest.parts})
        return
    with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:
        parts: dict[str, Path] = {}
        blobs: dict[str, str] = {}
        for number, part in enumerate(manifest.parts):
            sealed = Path(folder) / str(number)
            with bundle.path(part.name).open("rb") as plain, sealed.open("wb") as stored:
                codec.encode(plain, stored)
            with sealed.open("rb") as stored:
                blobs[part.name] = sha256_of_stream(stored)
            parts[blobs[part.name]] = sealed
        outer = canonical({"codec": codec.name, "manifest": raw.decode(), "blobs": blobs})
        yield Packed(sha256_of([outer]), outer, parts)


def send(packing: Packed, blobs: Blobs) -> None:
    """Write the blobs that are not there yet, the manifest last: who finds it finds everything."""
    for digest, path in packing.parts.items():
        if blobs.size(digest) != path.stat().st_size:
            with path.open("rb") as stream:
                blobs.put(stream, expected=digest)
    if blobs.size(packing.digest) != len(packing.manifest):
        blobs.put(packing.manifest, expected=packing.digest)


def publish(bundle: Bundle, blobs: Blobs, codec: Codec = PLAIN) -> str:
    """Keep a bundle as blobs; the digest that ``fetch`` takes. Equal bundles have equal digests.

    Raises:
        CorruptFile: the bundle on disk is not what its manifest says.
        Unavailable: the store does not answer.
    """
    with packed(bundle, codec) as packing:
        send(packing, blobs)
        return packing.digest


def read_contents(digest: str, blobs: BlobReader) -> Contents:
    """Read and check a manifest blob.

    Raises:
        MissingFile: there is none.
        CorruptFile: it is not what its digest says, or not a manifest.
    """
    size = blobs.size(digest)
    if size is not None and size > MOST_BYTES:
        raise CorruptFile(f"manifest {digest[:12]} has {size} bytes, the limit is {MOST_BYTES}")
    with open_checked(blobs, digest) as stream:
        raw = stream.read()
    return parse_contents(raw)


def parse_contents(raw: bytes) -> Contents:
    """Read the bytes of a manifest blob, sealed or not.

    Raises:
        CorruptFile: it is not one.
    """
    try:
        outer: Any = json.loads(raw)
        if "codec" not in outer:
            manifest = read_manifest(raw)
            return Contents(raw, manifest, PLAIN.name, {part.name: part.sha256 for part in manifest.parts})
        inner = str(outer["manifest"]).encode()
        manifest = read_manifest(inner)
        blobs = {part.name: check_digest(outer["blobs"][part.name]) for part in manifest.parts}
        return Contents(inner, manifest, str(outer["codec"]), blobs)
    except (BadInput, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptFile(f"the manifest cannot be read: {type(error).__name__}") from None


def fetch(digest: str, blobs: BlobReader, cache: Path, codec: Codec = PLAIN) -> Bundle:
    """A bundle on this machine's disk, from the cache or from its blobs; checked either way.

    Args:
        digest: what ``publish`` returned.
        blobs: where it is kept.
        cache: a folder; a damaged bundle in it is replaced.
        codec: what opens sealed parts.

    Raises:
        MissingFile: a blob is not there.
        CorruptFile: a blob is not what its digest says.
        UnsafeFile: another codec sealed it.
        Unavailable: the store does not answer.
    """
    place = cache / check_digest(digest)[:2] / digest
    try:
        bundle = open_bundle(place)
        if codec.name != PLAIN.name or bundle.digest == digest:
            touch(place)
            return bundle
    except (MissingFile, CorruptFile):
        pass
    contents = read_contents(digest, blobs)
    if contents.codec not in (PLAIN.name, codec.name):
        raise UnsafeFile(
            f"bundle {digest[:12]} is sealed by {contents.codec[:40]!r}; give the key that opens it"
        )
    opening = codec if contents.codec == codec.name else PLAIN
    return receive_bundle(place, contents.raw, _parts(contents, blobs, opening))


def _parts(contents: Contents, blobs: BlobReader, codec: Codec) -> Iterator[tuple[str, BinaryIO]]:
    for name, digest in contents.blobs.items():
        with ExitStack() as stack:
            stored = stack.enter_context(open_checked(blobs, digest))
            plain = codec.decode(stored)
            if plain is not stored:
                stack.enter_context(plain)
            yield name, plain
