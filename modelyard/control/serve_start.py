"""Starting the job of `serve`, before the serving process has imported what it serves with."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

from modelyard.control.serve_words import line

if TYPE_CHECKING:
    from modelyard.control.serve_words import ServeJob

END_S = 2.0
"""How long a job that is no longer wanted may take to tidy up."""


def start_job(job: ServeJob) -> subprocess.Popen[bytes]:
    """Start it, in a session of its own: the terminal's Ctrl-C is for the serving process."""
    child = subprocess.Popen(
        [sys.executable, "-m", "modelyard.control.serve_job"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdin is not None  # noqa: S101 - it was asked for
    with contextlib.suppress(BrokenPipeError), child.stdin:
        child.stdin.write(line(job))
    return child


def end_job(child: subprocess.Popen[bytes]) -> None:
    """Ask it to end, then make it. Again is harmless."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    if child.stdout is not None:
        child.stdout.close()
