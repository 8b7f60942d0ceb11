"""ONNX Runtime: a graph in this process.

One rule: what the caller sent wrong is ``BadInput``, what the graph did wrong is ``ModelFailed``, and
neither message holds a path of this machine.
"""

from __future__ import annotations

import mmap
import re
from math import prod
from threading import Timer
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from modelyard.core.cores import usable_cores
from modelyard.core.errors import BadInput, CorruptFile, MissingFile, ModelFailed, Unavailable
from modelyard.runtime.huge_pages import on_huge_pages

if TYPE_CHECKING:
    from pathlib import Path

    from modelyard.core.signature import Signature, TensorSpec
    from modelyard.core.tensor import Array

HEAVY_S = 1e-3
"""A graph that takes longer than this for one row may gain from more than one core."""
WORTH = 0.75
"""More cores are taken when they cut the time to this part or less: they are missed elsewhere."""
MEASURE_S = 2.0
"""The longest single run while threads are chosen."""
MEASURE_ELEMENTS = 64 << 20
"""Inputs that declare more than this are not made up for a measurement."""

_MESSAGE_CHARS = 300
_PREFIX = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_NODE = re.compile(r".*Status Message: ", re.DOTALL)
_PATH = re.compile(r"(?:[A-Za-z]:)?(?:[\\/][\w.@+-]+){2,}(?::\d+)?\s?")
_SIGN = re.compile(r"\S*onnxruntime::[^\s(]*(?:\([^)]*\))?\s?")


class OnnxRuntime:
    """An open ONNX graph. ``run`` is for one caller at a time.

    Args:
        session: the open session.
        signature: its inputs and outputs.
        inline: it may run on the event loop, where nothing can stop it.
    """

    platform = "onnx_onnxruntime"

    def __init__(self, session: ort.InferenceSession, signature: Signature, inline: bool = True) -> None:
        self.signature = signature
        self.inline = inline
        self._options = _quiet()
        self._session: ort.InferenceSession | None = session
        self._inputs = tuple(spec.name for spec in signature.inputs)
        self._outputs = [spec.name for spec in signature.outputs]
        self._texts_in = tuple(at for at, spec in enumerate(signature.inputs) if spec.dtype.kind == "bytes")
        self._texts_out = tuple(at for at, spec in enumerate(signature.outputs) if spec.dtype.kind == "bytes")

    @classmethod
    def open(cls, path: Path, signature: Signature, *, threads: int | None = None) -> OnnxRuntime:
        """Open a graph by its path; from bytes it would be in memory twice.

        Args:
            path: the file.
            signature: what it takes and gives, by the graph's own names.
            threads: cores for one run; None measures one against all, where the graph is heavy.

        Raises:
            MissingFile: no such file.
            CorruptFile: not a graph that this ONNX Runtime can run, or not the one of this signature.
        """
        if not path.is_file():
            raise MissingFile(f"{path}: no such file")
        with on_huge_pages():
            session = _session(path, threads or 1)
            _check_names(path, session, signature)
            if threads is None:
                session = _with_more_threads(path, session, signature)
        return cls(session, signature, inline=not _has_loop(path))

    def run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Answer one batch; blocking, and the interpreter's lock is free meanwhile.

        Args:
            inputs: in the order of the signature; BYTES as ``bytes`` objects that hold UTF-8.

        Returns:
            arrays that own their memory, in the order of the signature.

        Raises:
            BadInput: the graph refuses these inputs.
            ModelFailed: the graph failed.
            Unavailable: closed.
        """
        session = self._session
        if session is None:
            raise Unavailable("the model is closed; try again, or ask another replica")
        if self._texts_in:
            inputs = self._decode(inputs)
        try:
            outputs = session.run(self._outputs, dict(zip(self._inputs, inputs, strict=True)), self._options)
        except InvalidArgument as error:
            raise BadInput(f"the model does not take this input: {clean(str(error))}") from error
        except Exception as error:  # the edge of a plug-in call: ORT's errors share no base
            raise ModelFailed(f"the model failed: {clean(str(error))}") from error
        if self._texts_out:
            for at in self._texts_out:
                outputs[at] = _encode(outputs[at])
        return tuple(outputs)

    def stop(self) -> None:
        """Ask the run under way, if any, to fail before its next node; from any thread."""
        stopped, self._options = self._options, _quiet()
        stopped.terminate = True

    def close(self) -> None:
        """Let go of the graph; a run that is under way finishes."""
        self._session = None

    def _decode(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        ready = list(inputs)
        for at in self._texts_in:
            array = inputs[at]
            texts = np.empty(array.size, object)
            try:
                texts[:] = [item.decode() for item in array.ravel().tolist()]
            except UnicodeDecodeError as error:
                raise BadInput(
                    f"input {self._inputs[at]!r} holds bytes that are not UTF-8 text ({error.reason}); "
                    "the model reads text"
                ) from None
            ready[at] = texts.reshape(array.shape)
        return tuple(ready)


def clean(text: str) -> str:
    r"""One line of what ONNX Runtime said, without paths and C++ names.

    >>> clean("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got 3\n Expected 4")
    'Got 3 Expected 4'
    """
    text = _NODE.sub("", _PREFIX.sub("", text), count=1)
    text = _PATH.sub("", _SIGN.sub("", text))
    text = " ".join(text.split())
    return text if len(text) <= _MESSAGE_CHARS else text[:_MESSAGE_CHARS] + " ..."


def _encode(array: Array) -> Array:
    data = np.empty(array.size, object)
    data[:] = [item.encode() if isinstance(item, str) else item for item in array.ravel().tolist()]
    return data.reshape(array.shape)


def _quiet() -> ort.RunOptions:
    """Options of a run whose errors go to its caller and not, with paths, to stderr."""
    options = ort.RunOptions()
    options.log_severity_level = 4
    return options


def _session(path: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # A spinning pool burns whole cores between requests and gives a p99 of milliseconds.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Batches of every size: a pattern for each would only be memory.
    options.enable_mem_pattern = False
    # What goes wrong is raised; the same again on stderr would only hold paths.
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the edge of a plug-in call: ORT's errors share no base
        raise CorruptFile(f"{path}: ONNX Runtime cannot open it: {clean(str(error))}") from error


def _with_more_threads(path: Path, one: ort.InferenceSession, signature: Signature) -> ort.InferenceSession:
    """The same graph on all cores, if it is heavy and that pays; else the session given."""
    cores = usable_cores()
    if cores == 1 or _measure(one, signature, 1, HEAVY_S) < HEAVY_S:
        return one
    many = _session(path, cores)
    before = _measure(one, signature, 8)
    return many if _measure(many, signature, 8) <= WORTH * before else one


def _measure(session: ort.InferenceSession, signature: Signature, rows: int, enough_s: float = 0.0) -> float:
    """The best time of a few runs on zeros, seconds; 0 when the graph does not take them.

    Args:
        session: the open graph.
        signature: what to feed it.
        rows: entries of the first axis.
        enough_s: a run below this ends the measurement.
    """
    feed = {}
    for spec in signature.inputs:
        shape = [1 if size is None else size for size in spec.shape]
        if signature.batched:
            shape[0] = rows
        if prod(shape) > MEASURE_ELEMENTS:
            return 0.0
        feed[spec.name] = (
            np.full(shape, "", object) if spec.dtype.kind == "bytes" else np.zeros(shape, spec.dtype.numpy)
        )
    names = [spec.name for spec in signature.outputs]
    options = _quiet()
    best = MEASURE_S
    for _ in range(4):
        limit = Timer(MEASURE_S, setattr, (options, "terminate", True))
        limit.start()
        started = perf_counter()
        try:
            session.run(names, feed, options)
        except Exception:  # noqa: BLE001 - the edge of a plug-in call: what refuses zeros is not measured
            return 0.0
        finally:
            limit.cancel()
        best = min(best, perf_counter() - started)
        if best < enough_s:
            break
    return best


def _has_loop(path: Path) -> bool:
    """Whether a node may repeat as often as the data says: such a graph must run where it can be stopped.

    Looks for the node types in the file as protobuf writes them; a chance match costs a little speed.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(b"\x22\x04Loop") >= 0 or data.find(b"\x22\x04Scan") >= 0


def _check_names(path: Path, session: ort.InferenceSession, signature: Signature) -> None:
    for what, has, specs in (
        ("inputs", session.get_inputs(), signature.inputs),
        ("outputs", session.get_outputs(), signature.outputs),
    ):
        names = {node.name for node in has}
        wanted: list[TensorSpec] = [spec for spec in specs if spec.name not in names]
        if wanted or (what == "inputs" and len(names) != len(specs)):
            raise CorruptFile(
                f"{path}: the graph has {what} {sorted(names)[:12]}, its signature says "
                f"{[spec.name for spec in specs][:12]}; convert it again"
            )
