"""One process that serves one file: a worker without control, and a job that says what it should serve.

    bind -> hear the job -> follow what it released -> say that it is ready -> answer until told to stop

Nothing of the model's road and nothing of a registry is imported here.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from modelyard.bundled import open_version
from modelyard.compiler.report import CompileReport
from modelyard.control.serve_start import end_job
from modelyard.control.serve_words import WORD, Failed, Step
from modelyard.core.errors import ChildFailed, error_of
from modelyard.serve.aside import aside
from modelyard.serve.replay import replay
from modelyard.serve.routes import Slot
from modelyard.serve.worker import Worker

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from modelyard.control.serve_words import Ready
    from modelyard.serve.link import Actual
    from modelyard.serve.options import ServeOptions

_LINE_BYTES = 16 << 20


class Served(Struct, frozen=True):
    """A model that is ready.

    Args:
        slot: its copy.
        report: what was done and proved.
        cached: the work had been done before.
        http_port: where it answers.
        grpc_port: likewise; None when it serves no gRPC.
    """

    slot: Slot
    report: CompileReport
    cached: bool
    http_port: int
    grpc_port: int | None


class Serving:
    """See the module.

    Args:
        options: how to serve.
        version: of the product.
        job: the process that ``start_job`` started; it is ended here.
        on_progress: hears what goes on, and which share of it is done.
        announce: hears once that the model is ready.
    """

    def __init__(
        self,
        options: ServeOptions,
        version: str,
        job: subprocess.Popen[bytes],
        on_progress: Callable[[str, float | None], None],
        announce: Callable[[Served], None],
    ) -> None:
        self._job = job
        self._on_progress = on_progress
        self._announce = announce
        self._ports: tuple[int, int | None] = (0, None)
        self._serving: asyncio.Future[None] | None = None
        opener = partial(open_version, trust=options.trust)
        self._worker = Worker(options, version, opener, replay, self._listening, self._heard)

    def run(self) -> int:
        """Serve until told to stop; returns the exit code.

        Raises:
            PortBusy: another process holds a port.
            FileError: the model cannot be prepared or opened.
            ModelError: it fails here on the rows that it is known to answer.
        """
        try:
            return self._worker.run(beside=self._bring)
        finally:
            end_job(self._job)

    async def _bring(self) -> None:
        """Follow the job to its end, then the copy until it serves."""
        self._serving = asyncio.get_running_loop().create_future()
        ready = await self._read()
        self._worker.hear(ready.desired)
        await self._serving
        (model,) = ready.desired.models
        report = CompileReport.from_json(ready.report)
        self._announce(Served(self._worker.slot(model.name), report, ready.cached, *self._ports))
        await aside(partial(end_job, self._job), "reap")

    async def _read(self) -> Ready:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(_LINE_BYTES)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._job.stdout
        )
        try:
            while said := await reader.readline():
                word = WORD.decode(said)
                if isinstance(word, Failed):
                    raise error_of(word.code, word.message)
                if not isinstance(word, Step):
                    return word
                self._on_progress(word.text, word.share)
        except (msgspec.DecodeError, ValueError):
            raise ChildFailed("the process that prepares the model said what has no meaning") from None
        finally:
            transport.close()
        code = self._job.wait()
        raise ChildFailed(f"the process that prepares the model ended with code {code}")

    def _listening(self, http_port: int, grpc_port: int | None) -> None:
        self._ports = (http_port, grpc_port)

    def _heard(self, actual: Actual) -> None:
        serving = self._serving
        if serving is None or serving.done():
            return
        for copy in actual.copies:
            if copy.state == "failed":
                serving.set_exception(error_of(copy.code, copy.reason))
            elif copy.state == "serving" and actual.settled:
                serving.set_result(None)
