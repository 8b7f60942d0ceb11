"""Stopping a host's processes from outside: control, or the workers that a killed control left."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from modelyard.control.run_folder import RunFolder, pid_behind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def stop(home: Path, host: str, wait: Callable[[], None]) -> str:
    """Ask them to finish and wait until they are gone; a sentence.

    Args:
        home: of the yard.
        host: the host's name.
        wait: waits a moment; raises when it took too long.
    """
    if not (home / "run" / host).is_dir():
        return "nothing runs here"
    with RunFolder(home, host) as folder:
        standing = folder.standing() if folder.is_locked else None
        if standing is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(standing.pid, signal.SIGTERM)
            while folder.is_locked:
                wait()
        workers = _workers(folder)
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        while _workers(folder):
            wait()
    if standing is not None:
        return f"stopped: control {standing.pid} and its workers"
    return f"stopped: {len(workers)} workers that no control looked after" if workers else "nothing runs here"


def _workers(folder: RunFolder) -> set[int]:
    found = set()
    for name in folder.sockets():
        connected = folder.connect(name)
        if connected is not None:
            found.add(pid_behind(connected))
            connected.close()
    return found
