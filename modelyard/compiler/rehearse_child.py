"""What the rehearsal's child does: open a graph, run it, time it.

ONNX Runtime is imported on arrival, before the child is sealed. Nothing here decides anything: what the
answers mean is worked out by the parent.
"""

from __future__ import annotations

import re
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from modelyard.core.errors import BadInput, CorruptFile, InternalError, ModelFailed, NotConvertible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from modelyard.core.tensor import Array

    Handler: TypeAlias = Callable[[dict[str, Any], list[Array]], tuple[dict[str, Any], Sequence[Array]]]

_MESSAGE_CHARS = 400
_NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |[\w:*&<>]*\s?onnxruntime::[^()]*\([^()]*\)(?:::<lambda\(\)>)?\s?"
)
_NODE = re.compile(
    r"Non-zero status code returned while running (\w+) node\. Name:'[^']*' Status Message:\s*"
)
_PATH = re.compile(r"(?:[\\/][\w.@+-]+){2,}(?::\d+)?\s?")
_BROKEN = ("InvalidProtobuf", "InvalidGraph", "NoSuchFile", "NoModel")


class Bench:
    """The one graph of this child."""

    def __init__(self) -> None:
        self._session: ort.InferenceSession | None = None
        self._texts: frozenset[str] = frozenset()
        self._outputs: list[str] = []

    def open(self, values: dict[str, Any], arrays: list[Array]) -> tuple[dict[str, Any], Sequence[Array]]:
        """Load ``{path}``; answers inputs and outputs as the runtime sees them, and what loading cost.

        Raises:
            CorruptFile: not a graph.
            NotConvertible: a graph that this ONNX Runtime cannot load.
        """
        del arrays
        before = _resident()
        start = time.perf_counter()
        try:
            session = ort.InferenceSession(
                values["path"], session_options(), providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            # The edge of a plug-in call: ONNX Runtime's errors share no base.
            raise _as_load_error(error) from error
        self._session = session
        self._texts = frozenset(one.name for one in session.get_inputs() if one.type == "tensor(string)")
        self._outputs = [one.name for one in session.get_outputs()]
        return {
            "inputs": [[one.name, one.type, list(one.shape)] for one in session.get_inputs()],
            "outputs": [[one.name, one.type, list(one.shape)] for one in session.get_outputs()],
            "load_s": time.perf_counter() - start,
            "load_bytes": max(_resident() - before, 0),
            "base_bytes": before,
            "runtime": f"onnxruntime {ort.__version__}",
        }, []

    def run(self, values: dict[str, Any], arrays: list[Array]) -> tuple[dict[str, Any], Sequence[Array]]:
        """Answer ``{inputs: names}`` with every output.

        Raises:
            BadInput: text that is not UTF-8, or rows that the graph refuses.
            ModelFailed: the graph failed.
        """
        found = self._run(self._feed(values["inputs"], arrays))
        for name, array in zip(self._outputs, found, strict=True):
            if not isinstance(array, np.ndarray):
                raise NotConvertible(f"output {name!r} is not a tensor; no protocol here carries it")
        return {}, [to_bytes(array) if array.dtype.kind == "O" else array for array in found]

    def time(self, values: dict[str, Any], arrays: list[Array]) -> tuple[dict[str, Any], Sequence[Array]]:
        """The median seconds of a run over ``{inputs, budget_s, most}``, and what memory has grown to."""
        feed = self._feed(values["inputs"], arrays)
        end = time.perf_counter() + values["budget_s"]
        seen: list[float] = []
        while len(seen) < values["most"] and (len(seen) < 2 or time.perf_counter() < end):
            start = time.perf_counter()
            self._run(feed)
            seen.append(time.perf_counter() - start)
        return {"run_s": statistics.median(seen), "runs": len(seen), "peak_bytes": _peak()}, []

    def _run(self, feed: dict[str, Array]) -> list[Any]:
        if self._session is None:
            raise InternalError("no graph is open in this child")
        try:
            answers: list[Any] = self._session.run(self._outputs, feed)
        except Exception as error:
            # The edge of a plug-in call: ONNX Runtime's errors share no base.
            if type(error).__name__ == "InvalidArgument":
                raise BadInput(f"the graph refuses these rows: {_clean(error)}") from error
            raise ModelFailed(f"the graph failed: {_clean(error)}") from error
        return answers

    def _feed(self, names: list[str], arrays: list[Array]) -> dict[str, Array]:
        return {
            name: to_text(name, array) if name in self._texts else array
            for name, array in zip(names, arrays, strict=True)
        }


def session_options() -> ort.SessionOptions:
    """One thread that does not spin, and no lines on stderr."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def to_text(name: str, array: Array) -> Array:
    """A copy of a BYTES array as ``str`` objects, which is what the runtime takes.

    Raises:
        BadInput: bytes that are not UTF-8.
    """
    out = np.empty(array.size, dtype=object)
    for at, item in enumerate(array.ravel()):
        try:
            out[at] = item.decode()
        except UnicodeDecodeError as error:
            raise BadInput(
                f"input {name!r} holds bytes that are not UTF-8 text; encode strings as UTF-8"
            ) from error
    return out.reshape(array.shape)


def to_bytes(array: Array) -> Array:
    r"""A copy of an array of ``str`` as BYTES.

    >>> to_bytes(np.array(["é"], dtype=object))[0]
    b'\xc3\xa9'
    """
    out = np.empty(array.size, dtype=object)
    out[:] = [str(item).encode("utf-8", "surrogateescape") for item in array.ravel()]
    return out.reshape(array.shape)


def _as_load_error(error: Exception) -> CorruptFile | NotConvertible:
    said = _clean(error)
    if "bad_alloc" in said or "allocate memory" in said or isinstance(error, MemoryError):
        return NotConvertible("loading the graph needs more memory than the limit of its rehearsal")
    if type(error).__name__ in _BROKEN:
        return CorruptFile(f"not an ONNX graph that can be loaded: {said}")
    return NotConvertible(f"ONNX Runtime {ort.__version__} cannot load the graph: {said}")


def _clean(error: Exception) -> str:
    said = _NODE.sub(r"\1: ", _NOISE.sub("", str(error)))
    said = " ".join(_PATH.sub("", said).split())
    return said if len(said) <= _MESSAGE_CHARS else said[:_MESSAGE_CHARS] + " ..."


def _resident() -> int:
    return _status("VmRSS")


def _peak() -> int:
    # Not ru_maxrss: that starts at the size of the process that started this one.
    return _status("VmHWM")


def _status(field: str) -> int:
    """A size from /proc/self/status, in bytes."""
    with open("/proc/self/status", encoding="ascii") as stream:
        return next(int(line.split()[1]) << 10 for line in stream if line.startswith(f"{field}:"))


def verbs() -> Mapping[str, Handler]:
    """Open, run, time."""
    bench = Bench()
    return {"open": bench.open, "run": bench.run, "time": bench.time}
