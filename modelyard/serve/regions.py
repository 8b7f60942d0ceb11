"""System shared memory: regions under /dev/shm that callers registered, read and written by copy.

One rule: a region is another process's file, and that process may shorten, rewrite or delete it at any time.
So nothing is mapped, since a mapping of a file that was cut ends the reader with SIGBUS: every access is a
``pread`` or ``pwrite`` whose bounds are checked against the size that the file has then, and what is read is
a copy that no longer changes under the model.

Whose files: regular ones of this process's own user, directly in /dev/shm, whose key starts with a prefix
that the operator gave. Source of the calls: Triton's extension_shared_memory.md.
"""

from __future__ import annotations

import os
import stat
import weakref
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from modelyard.core.errors import (
    BadInput,
    BadRequest,
    IllegalMove,
    Overloaded,
    RegionNotFound,
    TooLarge,
    Unavailable,
)
from modelyard.core.shared import Span
from modelyard.serve.budget import BodyBudget

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from modelyard.core.tensor import Array

FOLDER = "/dev/shm"  # noqa: S108 - where shm_open makes its objects
STEP_BYTES = 1 << 20
"""Bytes that one step copies: some 100 us."""
MOST_REGIONS, NAME_CHARS, MOST = 256, 255, 2**63 - 1
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class RegionRow(NamedTuple):
    """What the status of a region says."""

    name: str
    key: str
    offset: int
    byte_size: int


class SystemRegions:
    """The regions of one process; on its loop only.

    Args:
        prefixes: keys that start with one of them, after their slashes, may be registered.
        budget_bytes: what copies of inputs may hold at one time.
        folder: where the objects lie.
    """

    def __init__(self, prefixes: Sequence[str], budget_bytes: int, folder: str = FOLDER) -> None:
        self.prefixes = tuple(prefix.lstrip("/") for prefix in prefixes)
        self._folder = folder
        self._budget = BodyBudget(budget_bytes)
        self._freed: deque[int] = deque()
        self._regions: dict[str, _Region] = {}

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Open an object, so that requests may name a part of it.

        Args:
            name: what requests call it.
            key: the object, as in ``shm_open``.
            offset: where the region starts in it, bytes.
            byte_size: of the region.

        Raises:
            BadRequest: a name, a key or sizes that cannot be.
            BadInput: no such object, not this user's, outside of the prefixes, or shorter than that.
            IllegalMove: the name is taken.
            TooLarge: too many regions.
        """
        if not name or len(name) > NAME_CHARS:
            raise BadRequest(f"the name of a region has 1 to {NAME_CHARS} characters")
        if not 0 <= offset <= MOST or not 0 < byte_size <= MOST:
            raise BadRequest(
                f"region {name!r}: offset is zero or more and byte_size one or more; "
                f"{str(offset)[:24]} and {str(byte_size)[:24]} are given"
            )
        file = self._checked(name, key)
        if name in self._regions:
            raise IllegalMove(f"region {name!r} is registered already; unregister it first")
        if len(self._regions) >= MOST_REGIONS:
            raise TooLarge(f"{MOST_REGIONS} regions are registered; unregister one first")
        region = _Region(name, key, offset, byte_size, self._open(name, file))
        region.check(offset + byte_size, "it")
        self._regions[name] = region

    def _checked(self, name: str, key: str) -> str:
        """The name of the file that a key means; slashes in front mean nothing, as in ``shm_open``."""
        file = key.lstrip("/")
        if (
            not file
            or "/" in file
            or "\0" in file
            or file in (".", "..")
            or len(file.encode("utf-8", "replace")) > 255
        ):
            raise BadRequest(f"region {name!r}: key {key[:80]!r} is not the name of a shared memory object")
        if not file.startswith(self.prefixes):
            raise BadInput(
                f"region {name!r}: key {key[:80]!r} is not one that this server opens; it starts with "
                + " or ".join(repr("/" + prefix) for prefix in self.prefixes)
            )
        return file

    def _open(self, name: str, file: str) -> int:
        missing = f"region {name!r}: there is no shared memory object {file[:80]!r} of this server's user"
        try:
            handle = os.open(os.path.join(self._folder, file), _FLAGS)
        except (OSError, ValueError):
            raise BadInput(missing) from None
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            os.close(handle)
            raise BadInput(missing)
        return handle

    def unregister(self, name: str = "") -> None:
        """Forget a region, or all of them; requests that have begun with it end with it.

        A name that is not registered is no error: callers tidy up before they start.
        """
        if name:
            self._regions.pop(name, None)
        else:
            self._regions.clear()

    def status(self, name: str = "") -> list[RegionRow]:
        """One region, or all of them.

        Raises:
            RegionNotFound: no such region.
        """
        found = [self._find(name)] if name else self._regions.values()
        return [RegionRow(one.name, one.key, one.offset, one.byte_size) for one in found]

    def _find(self, name: str) -> _Region:
        region = self._regions.get(name)
        if region is None:
            raise RegionNotFound(f"no shared memory region {name[:80]!r} is registered here")
        return region

    def read(self, span: Span, what: str) -> Generator[None, None, memoryview]:
        """See ``Regions``. The copy counts until nothing refers to it any more."""
        region = self._find(span.region)
        at = region.at(span, what)
        while self._freed:
            self._budget.give(self._freed.popleft())
        if not self._budget.take(span.size):
            raise Overloaded("too many bytes of shared memory are being read; try again")
        try:
            copy: Array = np.empty(span.size, np.uint8)
        except MemoryError:
            self._budget.give(span.size)
            raise Overloaded("this machine has no memory left to read shared memory; try again") from None
        # Whichever thread lets go of it last: appending to a deque needs no lock.
        weakref.finalize(copy, self._freed.append, span.size).atexit = False
        view: memoryview = copy.data
        done = 0
        while done < span.size:
            got = os.preadv(region.handle, [view[done : done + STEP_BYTES]], at + done)
            if not got:
                raise region.cut(what)
            done += got
            if done < span.size:
                yield
        return view

    def place(self, span: Span, what: str) -> RegionPlace:
        """See ``Regions``."""
        region = self._find(span.region)
        return RegionPlace(region, span, region.at(span, what), what)


class _Region:
    """One registered region; its file is closed when nobody refers to it any more."""

    __slots__ = ("__weakref__", "byte_size", "handle", "key", "name", "offset")

    def __init__(self, name: str, key: str, offset: int, byte_size: int, handle: int) -> None:
        self.name = name
        self.key = key
        self.offset = offset
        self.byte_size = byte_size
        self.handle = handle
        weakref.finalize(self, os.close, handle)

    def at(self, span: Span, what: str) -> int:
        """Where in the file a span starts.

        Raises:
            BadInput: it reaches beyond the region, or the file is shorter.
        """
        if span.offset < 0 or span.size < 0 or span.offset + span.size > self.byte_size:
            raise BadInput(
                f"{what}: {str(span.size)[:24]} bytes at {str(span.offset)[:24]} reach beyond region "
                f"{self.name!r}, which has {self.byte_size}"
            )
        start = self.offset + span.offset
        self.check(start + span.size, what)
        return start

    def check(self, end: int, what: str) -> None:
        """Refuse what ends beyond the file as it is now.

        Raises:
            BadInput: it does.
        """
        if end > os.fstat(self.handle).st_size:
            raise self.cut(what)

    def cut(self, what: str) -> BadInput:
        """What a caller hears whose file is too short."""
        size = os.fstat(self.handle).st_size
        return BadInput(
            f"{what} reaches beyond the end of the shared memory object of region {self.name!r}, "
            f"which has {size} bytes"
        )


class RegionPlace:
    """Where one output goes; see ``Place``."""

    __slots__ = ("_at", "_region", "_what", "span")

    def __init__(self, region: _Region, span: Span, at: int, what: str) -> None:
        self.span = span
        self._region = region
        self._at = at
        self._what = what

    def write(self, pieces: Sequence[bytes | memoryview]) -> Generator[None, None, None]:
        """See ``Place``."""
        region, at = self._region, self._at
        # pwrite would make a file longer that was cut meanwhile.
        region.check(at + sum(map(len, pieces)), self._what)
        for piece in pieces:
            view = memoryview(piece)
            done = 0
            while done < len(view):
                try:
                    wrote = os.pwrite(region.handle, view[done : done + STEP_BYTES], at)
                except OSError as error:
                    raise Unavailable(
                        f"{self._what} could not be written to region {region.name!r}: {error.strerror}"
                    ) from None
                done += wrote
                at += wrote
                if wrote == STEP_BYTES:
                    yield
                    region.check(at + len(view) - done, self._what)
