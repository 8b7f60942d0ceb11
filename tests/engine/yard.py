"""A batcher in virtual time, and what its callers heard."""

from __future__ import annotations

import numpy as np
from virtual_time import CurveRunner, VirtualLoop, VirtualWorker

from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.engine.batcher import Batcher
from modelyard.engine.job import Job
from modelyard.engine.limits import QueueLimits

SIGNATURE = Signature(
    (TensorSpec("x", DTYPES["FP32"], (None, 1)),), (TensorSpec("y", DTYPES["FP32"], (None, 1)),)
)


class Heard:
    def __init__(self):
        self.batches = []

    def request(self, surface, code, seconds, rows):
        raise AssertionError("the engine does not count requests")

    def batch(self, requests, rows, queue_s, run_s):
        self.batches.append((requests, rows, queue_s, run_s))


class Yard:
    """A batcher in virtual time and what its callers heard."""

    def __init__(self, runner=None, seconds=lambda rows: 0.01, inline=False, **bounds):
        self.loop = VirtualLoop()
        self.runner = runner or CurveRunner(self.loop, seconds)
        self.runner.inline = inline
        self.heard = Heard()
        self.limits = QueueLimits(**bounds)
        self.batcher = Batcher(self.runner, SIGNATURE, self.limits, self.heard, self.loop.time)
        self.told = []

    def ask(self, value=0.0, rows=1, **more):
        def reply(outputs, error):
            self.told.append((self.loop.time(), value, outputs, error))

        job = Job((np.full((rows, 1), value, "f4"),), rows, reply, **more)
        self.batcher.submit(job)
        return job

    def play(self, scenario, warm=True):
        async def whole():
            self.worker = VirtualWorker(self.loop)
            self.batcher.open(self.loop, self.worker)
            if warm:
                await self.batcher.warm_up((np.zeros((1, 1), "f4"),))
                if isinstance(self.runner, CurveRunner):
                    self.runner.sizes.clear()
            self.zero = self.loop.time()
            await scenario()
            await self.batcher.close()

        self.loop.run_until_complete(whole())
        self.loop.close()

    @property
    def errors(self):
        return [type(error).__name__ if error else "ok" for _, _, _, error in self.told]
