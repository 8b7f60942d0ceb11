"""The registry: an index and the blobs that its versions are made of.

One rule: blobs first, on disk, then the row. Whoever reads a row finds its blobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.artifact.codec import PLAIN
from modelyard.core.errors import VersionNotFound
from modelyard.core.ref import check_name
from modelyard.store.bundles import fetch, packed, send

if TYPE_CHECKING:
    from pathlib import Path

    from modelyard.artifact.bundle import Bundle
    from modelyard.artifact.codec import Codec
    from modelyard.store.blobs.blob import Blobs
    from modelyard.store.index import Index
    from modelyard.store.rows import Version


class Registry:
    """Pushes and fetches versions.

    Args:
        index: its tables, open.
        blobs: its bytes.
        cache: a folder of this machine for bundles that were fetched.
        codec: what parts are sealed with.
    """

    def __init__(self, index: Index, blobs: Blobs, cache: Path, codec: Codec = PLAIN) -> None:
        self.index = index
        self.blobs = blobs
        self.cache = cache
        self.codec = codec

    def push(self, bundle: Bundle, model: str, note: str, who: str, *, state: str = "ready") -> Version:
        """Register a bundle as the model's next version. When this returns, it cannot be lost.

        Killed at any point before, it leaves at most blobs that nobody names; garbage collection finds them.

        Raises:
            BadInput: the name or a text cannot be one; nothing is written then.
            CorruptFile: the bundle is not what its manifest says.
            Unavailable: the store or the database does not answer.
        """
        check_name(model)
        with packed(bundle, self.codec) as packing:
            # Pinned before it is looked for: what is there from now on stays there.
            pin = self.index.pin(packing.digests)
            send(packing, self.blobs)
            return self.index.create_version(
                model, packing.digest, note, who, blobs=packing.parts, state=state, pin=pin
            )

    def fetch(self, model: str, number: int) -> Bundle:
        """A version's bundle on this machine's disk, checked.

        Raises:
            ModelNotFound: no such model.
            VersionNotFound: no such version, or its bundle was collected as garbage.
            MissingFile: a blob is lost; fsck says which.
            CorruptFile: a blob is damaged; fsck says which.
            Unavailable: the store or the database does not answer.
        """
        version = self.index.get_version(model, number)
        if version.gone:
            raise VersionNotFound(
                f"{model}:{number} was {version.state} and its bundle was collected; push it again"
            )
        return fetch(version.manifest, self.blobs, self.cache, self.codec)
