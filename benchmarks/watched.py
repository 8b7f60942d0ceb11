"""`modelyard` with a clock on its event loop: `python -m benchmarks.watched FILE serve ...`.

A timer asks to be called each millisecond, and notes the processor time that the loop's thread has used
since: no single turn of the loop was longer. On SIGUSR1 it writes what it saw since the last time to FILE.
Processor time, because on two cores the clock on the wall also counts the load and the neighbours.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from modelyard.console.cli.main import main as modelyard
from modelyard.serve.http import HttpListener

TICK_S = 0.001


class Watch:
    """The turns of one loop, in microseconds of its thread's processor time."""

    def __init__(self, loop: Any, path: Path) -> None:
        self.loop, self.path = loop, path
        self.turns: list[float] = []
        self.before = time.thread_time()
        loop.add_signal_handler(signal.SIGUSR1, self.write)
        self.tick()

    def tick(self) -> None:
        """Note one turn, or a few short ones."""
        now = time.thread_time()
        self.turns.append((now - self.before) * 1e6)
        self.before = now
        self.loop.call_later(TICK_S, self.tick)

    def write(self) -> None:
        """Say what was seen, and forget it."""
        seen, self.turns = sorted(self.turns) or [0.0], []
        p99 = seen[min(int(len(seen) * 0.99), len(seen) - 1)]
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps({"turns": len(seen), "p99_us": p99, "max_us": seen[-1]}))
        part.rename(self.path)
        self.before = time.thread_time()


def main() -> None:
    """Run the command line behind the name of the file."""
    path = Path(sys.argv.pop(1))
    opened = HttpListener.open

    async def watched(listener: HttpListener, *given: Any, **named: Any) -> int:
        port = await opened(listener, *given, **named)
        Watch(listener.loop, path)
        return port

    HttpListener.open = watched  # type: ignore[method-assign]
    modelyard()


if __name__ == "__main__":
    main()
