"""TorchServe archives (``.mar``): the handler inside, run in a sandboxed host.

Custom handlers are Python files that implement ``handle``, or derive from ``BaseHandler``; the part of
TorchServe that they import is in ``torchserve.py``. Of TorchServe's own named handlers ``base_handler`` and
``image_classifier`` are here; the others are refused with what they would need.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import (
    CorruptFile,
    MissingExtra,
    MissingFile,
    ModelFailed,
    NotConvertible,
    UnsafeFile,
)
from modelyard.core.profile import ColumnProfile, Profile
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.formats.containers.torchserve import BaseHandler, Context, install
from modelyard.formats.containers.torchserve_vision import ImageClassifier, VisionHandler
from modelyard.formats.estimator.answers import one_line
from modelyard.formats.extras import way_to

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelyard.core.tensor import Array
    from modelyard.formats.opened import Ask

MANIFEST = "MAR-INF/MANIFEST.json"
_MANIFEST_BYTES = 1 << 20


class Handler:
    """An opened handler; see ``formats.opened.OpenedModel``.

    Each row is one request: its body in, the text of the answer out. A body that is JSON arrives parsed, as
    TorchServe does it for that content type.
    """

    signature = Signature(
        (TensorSpec("body", DTYPES["BYTES"], (None,)),),
        (TensorSpec("response", DTYPES["BYTES"], (None,)),),
        batched=False,
    )
    profile = Profile(((ColumnProfile("text"),),))

    def __init__(
        self, handle: Callable[..., Any], context: Context, name: str, requirements: list[str]
    ) -> None:
        self._handle, self._context, self._name = handle, context, name
        self._requirements = requirements

    def describe(self) -> dict[str, Any]:
        """Plain facts for a report."""
        return {
            "class": self._name,
            "module": "",
            "library": "torchserve",
            "library_version": None,
            "steps": [],
            "task": "tensor",
            "classes": [],
            "features": 1,
            "feature_names": [],
            "requirements": self._requirements,
        }

    def predict(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """What the handler answers to these bodies.

        Raises:
            ModelFailed: it raised, or answered something else than one item a body.
        """
        bodies = inputs[0].reshape(-1).tolist()
        try:
            found = self._handle([{"body": _parsed(body)} for body in bodies], self._context)
        except Exception as error:
            # A plug-in call: the handler's code may raise anything.
            raise ModelFailed(f"the handler failed: {type(error).__name__}: {one_line(error)}") from error
        if not isinstance(found, list | tuple) or len(found) != len(bodies):
            raise ModelFailed(
                f"the handler must answer a list with one item for each of {len(bodies)} bodies"
            )
        out = np.empty(len(bodies), dtype=object)
        out[:] = [_spelled(item) for item in found]
        return (out,)

    def convert(self) -> bytes:
        """Never.

        Raises:
            NotConvertible: always.
        """
        raise NotConvertible("a TorchServe handler is Python code and has no ONNX form")


def _parsed(body: bytes) -> Any:
    if body[:1] in (b"{", b"["):
        with suppress(ValueError):
            return json.loads(body)
    return body


def _spelled(item: Any) -> bytes:
    if isinstance(item, bytes | bytearray):
        return bytes(item)
    if isinstance(item, str):
        return item.encode()
    try:
        return json.dumps(item, default=lambda one: one.tolist()).encode()
    except (TypeError, ValueError, AttributeError) as error:
        raise ModelFailed(f"the handler answered a {type(item).__name__}, which is no JSON") from error


def load(path: str, ask: Ask) -> tuple[Handler, list[str]]:
    """The handler of an unpacked archive.

    Raises:
        NotConvertible: a handler of TorchServe's own, or one that cannot be started.
    """
    del ask
    folder = Path(path)
    told = _manifest(folder)
    name = str(told.get("handler") or "")
    file, _, entry = name.partition(":")
    install(_MORE)
    context = Context(folder, told)
    if not file.endswith(".py") and not (folder / f"{file}.py").is_file():
        handle = _own(folder, name, context)
    else:
        handle = _entry(_imported(folder, file.removesuffix(".py")), entry or "handle", context)
    requirements = _requirements(folder, told)
    notes = ["requests carry bodies as TorchServe takes them; no answer was compared with anything"]
    if requirements:
        notes.append(f"the archive asks for {', '.join(requirements[:12])}; nothing was installed")
    return Handler(handle, context, str(told.get("modelName") or file), requirements), notes


_MORE = {
    "ts.torch_handler.vision_handler.VisionHandler": VisionHandler,
    "ts.torch_handler.image_classifier.ImageClassifier": ImageClassifier,
}
_OWN: dict[str, type[BaseHandler]] = {"base_handler": BaseHandler, "image_classifier": ImageClassifier}
_NEEDS = {
    "text_classifier": "needs torchtext, which is no longer made",
    "object_detector": "needs torchvision",
    "image_segmenter": "needs torchvision",
}


def _own(folder: Path, name: str, context: Context) -> Callable[..., Any]:
    """``handle`` of a handler that TorchServe brings.

    Raises:
        NotConvertible: one that is not here.
    """
    kind = _OWN.get(name)
    if kind is None:
        why = _NEEDS.get(name, "is one of TorchServe's own, which is not here")
        raise NotConvertible(
            f"its handler {name[:60]!r} {why}; here are {', '.join(_OWN)}; archive the model with a handler "
            "file of yours, or serve the model file itself"
        )
    sys.path.insert(0, str(folder))  # a class of the archive (modelFile) is imported from there
    return _started(kind, context)


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        told = json.loads((folder / MANIFEST).read_bytes())["model"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptFile(f"{MANIFEST} cannot be read: {one_line(error)}") from error
    if not isinstance(told, dict):
        raise CorruptFile(f"{MANIFEST} describes no model")
    for key in ("serializedFile", "modelFile", "requirementsFile"):
        named = told.get(key)
        if named and folder.resolve() not in (folder / str(named)).resolve().parents:
            raise UnsafeFile(f"{MANIFEST} names {str(named)[:80]!r}, which lies outside of the archive")
    return told


def name_in_archive(path: Path) -> str:
    """What an archive that was looked at already calls its model; "" when it is none, or has no name."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(MANIFEST) as file:
            name = json.loads(file.read(_MANIFEST_BYTES))["model"]["modelName"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, zipfile.BadZipFile):
        return ""
    return name if isinstance(name, str) else ""


def _imported(folder: Path, name: str) -> Any:
    with suppress(OSError):
        os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing.startswith("ts."):
            raise NotConvertible(
                f"its handler imports {missing!r} of TorchServe, which is not here; of TorchServe there are "
                "ts.context and, in ts.torch_handler, base_handler, vision_handler and image_classifier"
            ) from error
        raise MissingExtra(
            f"its handler imports {missing!r}, which is not installed here; {way_to(missing)}"
        ) from error
    except PermissionError as error:
        raise UnsafeFile(
            f"its handler tried what the sandbox forbids when it was imported: {one_line(error)}"
        ) from error
    except Exception as error:
        # A plug-in call: the handler's code may raise anything.
        raise NotConvertible(
            f"its handler failed while it was imported: {type(error).__name__}: {one_line(error)}"
        ) from error


def _entry(module: Any, entry: str, context: Context) -> Callable[..., Any]:
    """The function to call: one of the module, or ``handle`` of its handler class."""
    found = getattr(module, entry, None)
    if inspect.isfunction(found):
        return found
    kinds: list[Any] = [
        kind
        for kind in vars(module).values()
        if inspect.isclass(kind) and kind.__module__ == module.__name__ and hasattr(kind, "handle")
    ]
    own = [kind for kind in kinds if issubclass(kind, BaseHandler)] or kinds
    if inspect.isclass(found) and hasattr(found, "handle"):
        own = [found]
    if len(own) != 1:
        raise NotConvertible(f"its handler file has no function {entry!r} and not one class with handle")
    return _started(own[0], context)


def _started(kind: Any, context: Context) -> Callable[..., Any]:
    """``handle`` of a handler class, after its ``initialize``."""
    try:
        instance = kind()
        instance.initialize(context)
    except MissingExtra:
        raise
    except FileNotFoundError as error:
        raise MissingFile(f"its handler misses a file: {one_line(error)}") from error
    except Exception as error:
        # A plug-in call, as above.
        raise NotConvertible(
            f"its handler failed to start: {type(error).__name__}: {one_line(error)}"
        ) from error
    handle: Callable[..., Any] = instance.handle
    return handle


def _requirements(folder: Path, told: dict[str, Any]) -> list[str]:
    name = told.get("requirementsFile")
    if not name:
        return []
    try:
        lines = (folder / str(name)).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [line.strip()[:100] for line in lines if line.strip() and not line.startswith("#")][:100]
