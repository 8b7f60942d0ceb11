"""A framework's model as Modelyard made it, called in this process: no server, only what answers.

ours.py KIND FILE CACHE [INPUT]     as ``frameworks.py call``; the first line says which road was taken
"""

import sys
from pathlib import Path

import frameworks
import numpy as np

from modelyard.bundled import open_version
from modelyard.flow import Wishes, prepare

kind, path, cache, *asked = sys.argv[1:]
made = prepare(Path(path), Wishes(options={"input": asked} if asked else {}), Path(cache), lambda *_: None)
opened = open_version(made.bundle.folder)
inputs = opened.signature.inputs
run = opened.runner.run


def call(rows):
    """One run of the runtime, from FP32 rows to arrays."""
    if len(inputs) == 1:
        return run((rows.astype(inputs[0].dtype.numpy, copy=False),))
    columns = (
        rows[:, at].astype(spec.dtype.numpy).reshape((-1,) + (1,) * (len(spec.shape) - 1))
        for at, spec in enumerate(inputs)
    )
    return run(tuple(map(np.ascontiguousarray, columns)))


print(made.report.road, flush=True)
frameworks.answer(call, kind)
opened.runner.close()
