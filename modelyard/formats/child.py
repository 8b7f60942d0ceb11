"""What a sandboxed child does with a file: open it, convert it, answer for it.

Two targets share the handlers: ``verbs`` for opening and converting, ``host_verbs`` for serving, which
leaves the converter unimported. The frameworks are imported here, on arrival, because after the child is
sealed it can still read packages but no longer do much else.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import InternalError, ModelFailed, ModelyardError
from modelyard.core.form import Form
from modelyard.formats.estimator.convert import convert
from modelyard.formats.estimator.describe import describe
from modelyard.formats.estimator.study import Sample, Studied, study
from modelyard.formats.fast import Fast, Hastened
from modelyard.formats.opened import Ask, OpenedModel, Streaming
from modelyard.formats.table import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from modelyard.core.tensor import Array

    Handler = Callable[[dict[str, Any], list[Array]], tuple[dict[str, Any], Sequence[Array]]]


class Desk:
    """The one open file of this child."""

    def __init__(self) -> None:
        self._model: Studied | OpenedModel | None = None
        self._form: Fast | None = None
        self._streams: dict[int, Iterator[tuple[Array, ...]]] = {}

    def open(self, values: dict[str, Any], arrays: list[Array]) -> tuple[dict[str, Any], Sequence[Array]]:
        """Load and describe: ``{path, format, trusted_types?, options?, sample?, fast?}``, the sample's rows.

        Raises:
            FileError: what is wrong with the file.
        """
        loader = FORMATS.load(values["format"])
        names = values.get("sample")
        sample = None if names is None else Sample(tuple(names) or _numbered(arrays), tuple(arrays))
        tensor = arrays[0] if names is None and arrays else None
        ask = Ask(tuple(values.get("trusted_types") or ()), values.get("options") or {}, sample, tensor)
        with _memory_named():
            model, notes = loader(values["path"], ask)
        more: Sequence[str] = ()
        rows = None
        if isinstance(model, OpenedModel):
            self._model = model
            about = model.describe()
        else:
            self._model = studied = study(model, sample)
            about, more, rows = describe(model, studied), studied.notes, studied.training_rows()
        answer = {
            "description": about,
            "signature": self._model.signature.to_json(),
            "profile": self._model.profile.to_json(),
            "notes": [*notes, *more],
        }
        if values.get("fast"):
            self._hasten()
            if self._form is not None and not isinstance(model, Streaming):
                self._model = None  # its memory is given back, as far as the form does not use it
        return answer, [] if rows is None else [rows]

    def convert(self, values: dict[str, Any], arrays: list[Array]) -> tuple[dict[str, Any], Sequence[Array]]:
        """The ONNX graph as one UINT8 array.

        Raises:
            NotConvertible: why there is none.
        """
        del values, arrays
        model = self._open()
        with _memory_named():
            graph = convert(model) if isinstance(model, Studied) else model.convert()
        return {}, [np.frombuffer(graph, dtype=np.uint8)]

    def predict(self, values: dict[str, Any], arrays: list[Array]) -> tuple[dict[str, Any], Sequence[Array]]:
        """The original's answer; of ``{fast: true}``, that of its fast form.

        Raises:
            BadInput: text that is not UTF-8.
            ModelFailed: the model raised.
        """
        form = self._form if values.get("fast") else None
        return {}, (form or self._open()).predict(arrays)

    def answer(self, values: dict[str, Any], arrays: list[Array]) -> tuple[dict[str, Any], Sequence[Array]]:
        """The answer of a host: in the fast form, where it was opened so."""
        del values
        return {}, (self._form or self._open()).predict(arrays)

    def fast(self, values: dict[str, Any], arrays: list[Array]) -> tuple[dict[str, Any], Sequence[Array]]:
        """Make the fast form: ``{what, sizes, gain}`` of it; ``what`` is empty where there is none."""
        del values, arrays
        self._hasten()
        form = self._form or Form("")
        return {"what": form.what, "sizes": list(form.sizes), "gain": form.gain}, ()

    def stream(self, values: dict[str, Any], arrays: list[Array]) -> tuple[dict[str, Any], Sequence[Array]]:
        """Begin an answer in pieces, ``{stream: its number}``; answers as ``next``."""
        model = self._open()
        if not isinstance(model, Streaming):
            raise ModelFailed("this model does not answer piece by piece")
        self._streams[values["stream"]] = model.stream(arrays)
        return self.next(values, [])

    def next(self, values: dict[str, Any], arrays: list[Array]) -> tuple[dict[str, Any], Sequence[Array]]:
        """The next piece of ``{stream: number}``; or ``{end: true}``, after which it is forgotten.

        Raises:
            BadInput: what the model does not take.
            ModelFailed: the model raised; the stream is forgotten.
        """
        del arrays
        number = values["stream"]
        pieces = self._streams.pop(number)
        for piece in pieces:
            self._streams[number] = pieces
            return {}, piece
        return {"end": True}, ()

    def stop(self, values: dict[str, Any], arrays: list[Array]) -> tuple[dict[str, Any], Sequence[Array]]:
        """Close ``{stream: number}``, as far as it is open; its generator runs its ``finally``."""
        del arrays
        pieces = self._streams.pop(values["stream"], None)
        close = getattr(pieces, "close", None)
        if close is not None:
            close()
        return {}, ()

    def _hasten(self) -> None:
        model = self._open()
        with _memory_named():
            self._form = model.fast() if isinstance(model, Hastened) else None

    def _open(self) -> Studied | OpenedModel:
        if self._model is None:
            raise InternalError("no file is open in this child")
        return self._model


@contextlib.contextmanager
def _memory_named() -> Iterator[None]:
    """Plug-ins turn all that goes wrong in them into a refusal; want of memory has a limit to name."""
    try:
        yield
    except ModelyardError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, MemoryError):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            raise MemoryError from error
        raise


def _numbered(arrays: list[Array]) -> tuple[str, ...]:
    return tuple(f"x{at}" for at in range(len(arrays)))


def verbs() -> Mapping[str, Handler]:
    """Open, convert, predict, and make the fast form."""
    _quiet()
    for name in ("skl2onnx", "onnx"):
        with contextlib.suppress(ImportError):
            __import__(name)
    desk = Desk()
    return {"open": desk.open, "convert": desk.convert, "predict": desk.predict, "fast": desk.fast}


def host_verbs() -> Mapping[str, Handler]:
    """Open, predict, and answer piece by piece."""
    _quiet()
    desk = Desk()
    streams: Mapping[str, Handler] = {"stream": desk.stream, "next": desk.next, "stop": desk.stop}
    return {"open": desk.open, "predict": desk.answer, **streams}


def _quiet() -> None:
    """No warnings, and no threads or processes of joblib: the caller decides on parallelism."""
    warnings.simplefilter("ignore")
    for name in ("sklearn.ensemble", "sklearn.pipeline", "sklearn.compose", "pandas"):
        with contextlib.suppress(ImportError):
            __import__(name)
    with contextlib.suppress(ImportError):
        from joblib import parallel_config

        parallel_config(backend="sequential")
