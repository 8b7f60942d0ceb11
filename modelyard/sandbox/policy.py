"""What a child may use. One rule: a policy only ever adds to nothing."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct


class Policy(Struct, frozen=True):
    """The limits of one child.

    Args:
        read: files and folders that it may read besides the interpreter, the installed packages and the
            shared libraries.
        write: one folder that it may read and write; None is nowhere.
        memory_bytes: how far its address space may grow once its libraries are loaded.
        cpu_s: seconds of processor time; None is no limit (model hosts).
        wall_s: seconds from start to end, enforced by the parent; None is no limit (model hosts).
        file_bytes: the largest file that it may write.
        threads: how many threads its numeric libraries start.
    """

    read: tuple[Path, ...] = ()
    write: Path | None = None
    memory_bytes: int = 4 << 30
    cpu_s: float | None = 120
    wall_s: float | None = 180
    file_bytes: int = 2 << 30
    threads: int = 1

    @property
    def channel_bytes(self) -> int:
        """The most that one call or one answer may carry: a quarter of the memory, 16 MiB to 1 GiB."""
        return min(max(self.memory_bytes // 4, 16 << 20), 1 << 30)
