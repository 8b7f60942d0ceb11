"""The job of `serve`, ``python -m modelyard.control.serve_job``: a file becomes a temporary yard's version 1.

    read the job -> prepare -> push -> release -> say what a worker should serve

It runs as a child, because the road imports what a serving process must not carry. It reads
one ``ServeJob`` from its standard input and writes ``Word`` lines to its standard output.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from modelyard.control.build import build
from modelyard.control.fetched import read_fetched
from modelyard.control.serve_words import Failed, Ready, ServeJob, Step, line
from modelyard.core.errors import InternalError, ModelyardError
from modelyard.deploy.plan import Order
from modelyard.deploy.temporary import TemporaryYard
from modelyard.flow import OpenLimits, Wishes, prepare
from modelyard.kept import with_instances
from modelyard.sandbox.seal import die_with
from modelyard.serve.link import Desired
from modelyard.settings import read_settings

if TYPE_CHECKING:
    from modelyard.artifact.bundle import Bundle
    from modelyard.control.serve_words import Word

log = logging.getLogger("modelyard.control")

WHO = "serve"
STOPPED = 143
REST_S = 0.05
"""The same step is said again after so long at the earliest."""


class Speaker:
    """Says lines, and not the same step too often."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._text = ""
        self._said_s = float("-inf")

    def say(self, word: Word) -> None:
        """One line, at once."""
        self._sink.write(line(word))
        self._sink.flush()

    def step(self, text: str, share: float | None = None) -> None:
        """What goes on."""
        now = monotonic()
        if text != self._text or share == 1 or now - self._said_s >= REST_S:
            self._text, self._said_s = text, now
            self.say(Step(text, share))


def run(job: ServeJob, speaker: Speaker) -> Ready:
    """The whole way.

    Raises:
        BadConfig: several hosts for a model that has none.
        FileError: there is no such file, or no road leads from it to a service.
    """
    sample = Path(job.sample) if job.sample else None
    limits = OpenLimits(job.wall_s, job.memory_bytes)
    wishes = Wishes(sample, job.native, job.trust, limits, options=job.options)
    prepared = prepare(Path(job.file), wishes, Path(job.compiled), speaker.step)
    speaker.step("releasing the model")
    desired = register(with_instances(prepared.bundle, job.instances), job.model)
    speaker.step("opening the model")
    return Ready(desired, prepared.report.to_json(), prepared.cached)


def register(bundle: Bundle, model: str) -> Desired:
    """Push the bundle to a yard of its own, release it there, and read what a worker should serve."""
    yard = TemporaryYard()
    version = yard.push(bundle, model, "", WHO)
    yard.order(model, Order("release", version.number), WHO)
    (wanted,) = yard.wanted(0).models
    built = build(wanted, (), {bundle.digest: read_fetched(bundle)}, None, pinned=False)
    assert built.model is not None  # noqa: S101 - its only version is here
    return Desired(1, (built.model,))


def main() -> int:
    """The edge of the process."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))
    logging.basicConfig(
        level=read_settings().log_level.upper(), format="%(levelname)s %(message)s", stream=sys.stderr
    )
    speaker = Speaker(sys.stdout.buffer)
    last: Word
    try:
        job = msgspec.json.decode(sys.stdin.buffer.readline(), type=ServeJob)
        die_with(job.parent)
        last = run(job, speaker)
    except SystemExit:
        return STOPPED
    except ModelyardError as error:
        last = Failed(error.code, error.message)
    except Exception as error:
        log.debug("the job failed", exc_info=True)
        said = f"a bug in modelyard: {type(error).__name__}: {error}; MODELYARD_LOG=debug says where"
        last = Failed(InternalError.code, said)
    # From here on a request to end would only disturb the end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError):
        speaker.say(last)
    return 0


if __name__ == "__main__":
    done = main()
    sys.stderr.flush()
    os._exit(done)  # all is tidied up, and nobody waits for the interpreter to take itself apart
