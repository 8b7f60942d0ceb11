"""The runtimes: what an opened model can run in. A new one is one file and one row."""

from __future__ import annotations

from typing import Any

from modelyard.core.table import Table

RUNTIMES: Table[Any] = Table(
    {
        "onnx": "modelyard.runtime.onnx:OnnxRuntime",
        "python": "modelyard.runtime.python:PythonRuntime",
        "hosts": "modelyard.runtime.hosts:PythonHosts",
    },
    "runtime",
)
"""Name -> a class with ``signature``, ``inline``, ``platform``, ``run(inputs)`` and ``close()``."""
