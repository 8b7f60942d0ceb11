"""What workers say, followed from their log files to this process's own."""

from __future__ import annotations

import os
import sys
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 16 << 20
"""A log larger than this is put aside when a worker starts; one before it is kept."""

_STEP = 256 << 10
_LAST_LINES = 20


def log_file(folder: Path, place: int) -> Path:
    """A worker's log, put aside when it has grown."""
    path = folder / f"worker-{place}.log"
    if path.exists() and path.stat().st_size > MOST_BYTES:
        os.replace(path, path.with_suffix(".log.1"))
    return path


class LogTail:
    """Passes on what comes after it was made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last: deque[str] = deque(maxlen=_LAST_LINES)
        self._at = path.stat().st_size if path.exists() else 0

    def follow(self) -> None:
        """Pass on the whole lines that came since the last call."""
        try:
            with self.path.open("rb") as stream:
                if stream.seek(0, os.SEEK_END) < self._at:
                    self._at = 0  # it was put aside
                stream.seek(self._at)
                data = stream.read(_STEP)
        except FileNotFoundError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        if not whole and len(data) == _STEP:
            whole = data  # one endless line
        if whole:
            self._at += len(whole)
            text = whole.decode(errors="replace")
            self.last.extend(text.splitlines())
            sys.stderr.write(text)
            sys.stderr.flush()
