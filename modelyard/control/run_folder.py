"""The run folder of one host: who is in control, and the sockets and logs of its workers.

One rule: the lock says who is in control, never a file's content; so a killed control leaves nothing to
clean up. Paths may be longer than a Unix socket's address may be: sockets are reached through the folder's
open handle.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import socket
import struct
from typing import TYPE_CHECKING, Self

from msgspec import Struct
from msgspec.structs import asdict

from modelyard.core.errors import Conflict
from modelyard.core.ref import check_name

if TYPE_CHECKING:
    from pathlib import Path

LOCK, CONTROL, SUMS = "control.lock", "control.json", "sums.msgpack"
_SOCKET = re.compile(r"worker-([0-9]{1,6})-([0-9]{1,9})\.sock")


class Standing(Struct, frozen=True):
    """What a running control says of itself.

    Args:
        pid: its process.
        version: of Modelyard.
        console: the admin API's address.
        http: the inference ports' addresses.
        grpc: likewise; "" when none is served.
    """

    pid: int
    version: str
    console: str
    http: str
    grpc: str


class SocketName(Struct, frozen=True):
    """The name of a worker's socket: its berth, and how many came before it."""

    berth: int
    serial: int

    @property
    def file(self) -> str:
        """The file's name."""
        return f"worker-{self.berth}-{self.serial}.sock"


class RunFolder:
    """The folder of one host's processes; ``open`` makes it, ``lock`` takes control of it."""

    def __init__(self, home: Path, host: str) -> None:
        self.path = home / "run" / check_name(host)
        self._handle: int | None = None
        self._lock: int | None = None

    def open(self) -> Self:
        """Make the folder, for this user only."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return self

    def close(self) -> None:
        """Let go of the lock and the folder."""
        for handle in (self._lock, self._handle):
            if handle is not None:
                os.close(handle)
        self._lock = self._handle = None

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def lock(self) -> None:
        """Take control of this host.

        Raises:
            Conflict: another process is in control.
        """
        handle = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            standing = self.standing()
            who = f"process {standing.pid}" if standing else "another process"
            raise Conflict(
                f"{who} is in control of this yard on this host already; stop it with: modelyard down, or "
                "give this one another --host-name"
            ) from None
        self._lock = handle

    @property
    def is_locked(self) -> bool:
        """Whether some process is in control."""
        try:
            handle = os.open(self.path / LOCK, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def stand(self, standing: Standing | None) -> None:
        """Say who is in control and where; None says nobody."""
        if standing is None:
            (self.path / CONTROL).unlink(missing_ok=True)
            return
        aside = self.path / f".{CONTROL}"
        aside.write_text(json.dumps(asdict(standing)))
        os.replace(aside, self.path / CONTROL)

    def standing(self) -> Standing | None:
        """What the last control said of itself; whether it still is there, the lock says."""
        try:
            return Standing(**json.loads((self.path / CONTROL).read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def sockets(self) -> list[SocketName]:
        """The sockets that lie there, alive or not, in the order of their berths."""
        found = [_SOCKET.fullmatch(name) for name in os.listdir(self.path)]
        names = [SocketName(int(one[1]), int(one[2])) for one in found if one]
        return sorted(names, key=lambda name: (name.berth, name.serial))

    def connect(self, name: SocketName, timeout_s: float = 2.0) -> socket.socket | None:
        """A connection to a worker; None when nobody listens there.

        A worker's socket gets its name when it listens already: one that refuses belongs to a dead process,
        and its file is removed.
        """
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        made.settimeout(timeout_s)
        try:
            made.connect(f"/proc/self/fd/{self._handle}/{name.file}")
        except OSError as error:
            made.close()
            if error.errno == errno.ECONNREFUSED:
                (self.path / name.file).unlink(missing_ok=True)
            return None
        return made


def pid_behind(connection: socket.socket) -> int:
    """The process that listens at the other end, as the kernel says."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", raw)[0])
