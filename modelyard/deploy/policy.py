"""Which versions of a watched model are wanted: the latest N, all, or named ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from modelyard.core.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Collection


class Latest(Struct, frozen=True):
    """The ``count`` highest versions."""

    count: int = 1


class All(Struct, frozen=True):
    """Every version."""


class Specific(Struct, frozen=True):
    """These versions."""

    versions: tuple[int, ...]


Policy: TypeAlias = Latest | All | Specific
LATEST = Latest(1)


class Wanted(Struct, frozen=True):
    """The versions to have, ascending, and the named ones that are not there."""

    versions: tuple[int, ...]
    missing: tuple[int, ...] = ()


def wanted(policy: Policy, available: Collection[int]) -> Wanted:
    """Apply a policy.

    >>> wanted(Latest(2), {1, 2, 10}).versions
    (2, 10)
    """
    have = sorted(set(available))
    if isinstance(policy, All):
        return Wanted(tuple(have))
    if isinstance(policy, Latest):
        return Wanted(tuple(have[max(len(have) - policy.count, 0) :]))
    named = sorted(set(policy.versions))
    there = tuple(version for version in named if version in have)
    return Wanted(there, tuple(version for version in named if version not in have))


def parse_policy(text: str) -> Policy:
    """Read a policy from a command line: ``all``, ``latest:N`` or ``1,3,7``.

    >>> parse_policy("latest:2")
    Latest(count=2)

    Raises:
        BadInput: something else.
    """
    kind, colon, rest = text.strip().partition(":")
    if kind == "all" and not colon:
        return All()
    if kind == "latest":
        count = 1 if not colon else _positive(rest)
        if count:
            return Latest(count)
    versions = tuple(_positive(part) for part in text[:4096].split(","))
    if all(versions):
        return Specific(versions)
    raise BadInput(f"{text[:80]!r} is not a version policy; write all, latest:2 or 1,3,7")


def _positive(text: str) -> int:
    clean = text.strip()
    return int(clean) if clean.isascii() and clean.isdigit() and len(clean) < 19 else 0
