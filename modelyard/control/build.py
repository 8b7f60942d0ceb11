"""From what a registry says of one model to what a worker should hold: a function of its arguments."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec import Struct

from modelyard.core.routing import WHOLE
from modelyard.serve.link import WantedModel, WantedSplit, WantedVersion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from modelyard.control.fetched import Fetched
    from modelyard.core.routing import Split
    from modelyard.deploy.wanted import Wanted
    from modelyard.store.rows import Version


class Built(Struct, frozen=True):
    """What a model's wish became; ``missing`` are the versions whose bundles are not here."""

    model: WantedModel | None
    missing: tuple[int, ...] = ()


def build(
    wanted: Wanted,
    extras: Iterable[Version],
    there: Mapping[str, Fetched],
    before: WantedModel | None,
    pinned: bool,
) -> Built:
    """What workers should hold of one model.

    Args:
        wanted: what the registry says.
        extras: versions that this host holds beside those.
        there: the bundles on this disk.
        before: what workers were told last.
        pinned: it is never unloaded for want of memory.
    """
    release = wanted.current.release
    needed = needed_versions(wanted, extras)
    here = {one.number: one for one in needed if one.manifest in there}
    lost = {entry.version for entry in release.entries} - {one.number for one in needed}
    missing = tuple(sorted(lost | {one.number for one in needed if one.number not in here}))
    split = release.split()
    if split is not None and not all(number in here for number in split.versions):
        if before is not None and before.split is not None:
            return Built(before, missing)
        live = release.live
        split = replace_split(split, live) if live in here else None
    versions = tuple(_version(one, there[one.manifest]) for one in here.values())
    if not versions:
        return Built(None, missing)
    shadows = tuple(number for number in release.shadows if number in here)
    words = None if split is None else WantedSplit(split.versions, split.weights, shadows, split.salt)
    return Built(WantedModel(release.model, release.number, versions, words, pinned), missing)


def needed_versions(wanted: Wanted, extras: Iterable[Version]) -> tuple[Version, ...]:
    """The versions to have on disk: those of the release, and what stands by as long as it may be used."""
    released = {entry.version for entry in wanted.current.release.entries}
    found = {one.number: one for one in wanted.versions if one.number in released or one.state == "ready"}
    found |= {one.number: one for one in extras if one.number not in found}
    return tuple(found.values())


def replace_split(split: Split, live: int | None) -> Split:
    """The live version alone: what carries on when its canary is not here yet."""
    assert live is not None  # noqa: S101 - the caller looked
    return replace(split, versions=(live,), weights=(WHOLE,))


def _version(row: Version, found: Fetched) -> WantedVersion:
    return WantedVersion(
        row.number, row.manifest, found.folder, found.size_bytes, found.max_batch_rows, found.max_wait_s
    )
