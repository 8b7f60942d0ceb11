"""What a host should hold, as values that control compares with what its workers hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from modelyard.deploy.current import Current
from modelyard.deploy.release import Release
from modelyard.store.rows import Model, Version

if TYPE_CHECKING:
    from collections.abc import Mapping


class Wanted(Struct, frozen=True):
    """One model as a host should hold it.

    Args:
        model: its row.
        current: what is in force; revision 0 when nothing was ever released.
        versions: those to hold loaded: in the order of ``Current.needed``.
    """

    model: Model
    current: Current
    versions: tuple[Version, ...]


class Changes(Struct, frozen=True):
    """What changed after a change number: ask again with ``change``."""

    change: int
    models: tuple[Wanted, ...]


def want(model: Model, current: Current | None, versions: Mapping[tuple[str, int], Version]) -> Wanted:
    """One model with those of its needed versions that have a bundle."""
    now = current or Current(Release(model.name))
    there = [versions.get((model.name, number)) for number in now.needed]
    return Wanted(model, now, tuple(version for version in there if version is not None and not version.gone))
