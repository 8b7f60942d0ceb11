"""Open a folder of Python code: import it, find the function, find out what it takes and gives.

The folder was put together by ``modelyard.staged``: ``function.json`` names the file and the function.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import BadInput, CorruptFile, MissingExtra, ModelFailed, NotConvertible, UnsafeFile
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.formats.estimator.answers import one_line
from modelyard.formats.extras import way_to
from modelyard.formats.fit import to_inputs
from modelyard.formats.functions.hints import Parameter, parameters
from modelyard.formats.functions.mark import MARK
from modelyard.formats.functions.model import PROBE_ROWS, FunctionModel, made_rows, profile_of
from modelyard.formats.nets.lines import read_lines, spec_of_rows
from modelyard.formats.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelyard.core.tensor import Array
    from modelyard.formats.opened import Ask

_LIKELY = ("predict", "Model", "model", "main")

Upstream = tuple[tuple[TensorSpec, "Array"], ...]


def load(path: str, ask: Ask) -> tuple[FunctionModel, list[str]]:
    """The function of a folder.

    Raises:
        NotConvertible: it cannot be served; the message says what to add.
    """
    function, what = imported(Path(path))
    known = _known(parameters(function, what), ask, what)
    specs = [spec for one in known if (spec := one.spec) is not None]
    rows = _sample_rows(ask, specs)
    notes = [] if rows is not None else ["no real rows were given: the function was tried on made-up ones"]
    probe = [array[:PROBE_ROWS] for array in rows] if rows is not None else made_rows(specs)
    try:
        model = FunctionModel(function, what, known, probe, profile_of(specs, rows or probe))
    except (ModelFailed, BadInput) as error:
        one = "a real one with --sample FILE, such as a picture"
        few = "some real rows with --sample rows.csv"
        hint = "" if rows is not None else f"; give {one if _takes_files(known) else few}"
        raise NotConvertible(f"it does not answer probing rows: {error.message}{hint}") from error
    return model, notes


def after(folder: Path, upstream: Upstream) -> tuple[FunctionModel, tuple[int, ...]]:
    """The function of a folder that takes what another step answers.

    Args:
        folder: its code.
        upstream: outputs of the step before, with its answer to a few rows.

    Returns:
        the model, and for each of its inputs which output feeds it.

    Raises:
        NotConvertible: it cannot take them.
    """
    function, what = imported(folder)
    taken = parameters(function, what)
    names = [spec.name for spec, _ in upstream]
    if len(taken) == 1 and taken[0].form == "all":
        whole = [
            Parameter(name, "array", np.ndarray, spec.dtype.name, spec)
            for name, (spec, _) in zip(names, upstream, strict=True)
        ]
        call = _with_dict(function, names)
        order = tuple(range(len(names)))
        return _after(call, what, whole, [upstream[at][1] for at in order]), order
    if all(one.name in names for one in taken):
        order = tuple(names.index(one.name) for one in taken)
    elif len(taken) <= len(upstream):
        order = tuple(range(len(taken)))
    else:
        raise NotConvertible(f"{what} takes {len(taken)} inputs, the step before gives {', '.join(names)}")
    known = [one.known(upstream[at][0]) for one, at in zip(taken, order, strict=True)]
    return _after(function, what, known, [upstream[at][1] for at in order]), order


def _after(
    function: Callable[..., Any], what: str, known: Sequence[Parameter], probe: Sequence[Array]
) -> FunctionModel:
    specs = [spec for one in known if (spec := one.spec) is not None]
    try:
        return FunctionModel(function, what, known, probe, profile_of(specs, probe))
    except (ModelFailed, BadInput) as error:
        raise NotConvertible(f"{what} does not take what the step before answers: {error.message}") from error


def _with_dict(function: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    def call(*arrays: Any) -> Any:
        return function(dict(zip(names, arrays, strict=True)))

    call.__wrapped__ = function  # type: ignore[attr-defined]
    return call


def imported(folder: Path) -> tuple[Callable[..., Any], str]:
    """Import the file that the folder's mark names, and find the function.

    Raises:
        NotConvertible: it raised while it was imported, or there is no such function.
        MissingExtra: it imports a package that is not installed.
    """
    try:
        told = json.loads((folder / MARK).read_text("utf-8"))
        file, name = str(told["file"]), str(told.get("name") or "")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptFile(f"{MARK} cannot be read: {one_line(error)}") from error
    module = _module(folder, file)
    found = getattr(module, name, None) if name else _only(module, file)
    if found is None:
        raise NotConvertible(
            f"{file} has no {name!r}; it has {', '.join(_public(module)) or 'nothing public'}"
        )
    what = f"{Path(file).stem}:{getattr(found, '__name__', name)}"
    if inspect.isclass(found):
        found = _built(found, what)
    if not inspect.isroutine(found) and hasattr(found, "predict"):
        found = found.predict
    if not callable(found):
        raise NotConvertible(f"{what} is a {type(found).__name__}, which cannot be called")
    if inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found):
        raise NotConvertible(f"{what} is async; a model host calls plain functions: leave out async")
    return found, what


def _module(folder: Path, file: str) -> Any:
    with contextlib.suppress(OSError):
        # The code may open files beside it by name.
        os.chdir(folder)
    sys.path.insert(0, str(folder))
    name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    _forget(folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{file} imports {error.name!r}, which is not installed here and not beside it; "
            f"{way_to(error.name or '')}"
        ) from error
    except PermissionError as error:
        raise UnsafeFile(
            f"while {file} was imported, it tried what the sandbox forbids: {one_line(error)}"
        ) from error
    except Exception as error:
        # A plug-in call: the operator's code may raise anything.
        raise NotConvertible(
            f"{file} failed while it was imported: {type(error).__name__}: {one_line(error)}"
        ) from error


def _forget(folder: Path) -> None:
    """Modules of the same names that came from elsewhere: another step's, or Python's own."""
    for path in folder.iterdir():
        known = getattr(sys.modules.get(path.stem), "__file__", None)
        if known is not None and folder not in Path(known).parents:
            own = [name for name in sys.modules if name.partition(".")[0] == path.stem]
            for name in own:
                del sys.modules[name]


def _built(kind: type, what: str) -> Any:
    if not hasattr(kind, "predict"):
        raise NotConvertible(f"{what} is a class without predict; give it one, or name a function")
    try:
        return kind()
    except Exception as error:
        # A plug-in call, as above.
        raise NotConvertible(f"{what}() failed: {type(error).__name__}: {one_line(error)}") from error


def _public(module: Any) -> list[str]:
    return [
        name
        for name, found in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(found) or inspect.isclass(found))
        and found.__module__ == module.__name__
    ]


def _only(module: Any, file: str) -> Any:
    names = _public(module)
    for name in (*_LIKELY, *(names if len(names) == 1 else ())):
        if hasattr(module, name):
            return getattr(module, name)
    shown = ", ".join(names[:12]) or "none"
    raise NotConvertible(f"{file} has these functions and classes: {shown}; name one, as {file}:NAME")


def _known(taken: list[Parameter], ask: Ask, what: str) -> list[Parameter]:
    """Each parameter with its input: as said, as hinted, or as the sample shows."""
    said = {spec.name: spec for spec in read_lines(ask.options.get("input") or ())}
    strange = [name for name in said if name not in {one.name for one in taken}]
    if strange and len(taken) == len(said) == 1:
        said = {taken[0].name: said[strange[0]]}
    elif strange:
        raise NotConvertible(f"{what} has no parameter {strange[0]!r}")
    known = [one.known(said.get(one.name) or one.spec or _shown_by(one, taken, ask)) for one in taken]
    unknown = [one.line for one in known if one.spec is None]
    if unknown:
        raise NotConvertible(
            f"{what} does not say what it takes; add: {' '.join(unknown)} "
            "(with your own sizes; N is any number of rows)"
        )
    mixed = {one.form for one in known}
    if "scalar" in mixed and len(mixed) > 1:
        raise NotConvertible(
            f"{what} takes single values and arrays together; hint all as arrays, or all as values"
        )
    return known


def _shown_by(one: Parameter, taken: list[Parameter], ask: Ask) -> TensorSpec | None:
    if one.form in ("scalar", "list"):
        return TensorSpec(one.name, DTYPES[one.dtype], (None,)) if one.dtype else None
    if ask.tensor is not None and len(taken) == 1:
        spec = spec_of_rows(one.name, ask.tensor)
        return TensorSpec(one.name, DTYPES[one.dtype] if one.dtype else spec.dtype, spec.shape)
    if ask.sample is None:
        return None
    if one.name in ask.sample.names:
        column = ask.sample.columns[ask.sample.names.index(one.name)]
        kind = "BYTES" if column.dtype.kind == "O" else one.dtype or "FP64"
        return TensorSpec(one.name, DTYPES[kind], (None,))
    if len(taken) == 1:
        texts = any(column.dtype.kind == "O" for column in ask.sample.columns)
        kind = "BYTES" if texts else one.dtype or "FP32"
        names = ask.sample.names
        own = () if _made_up(names) else names
        return TensorSpec(one.name, DTYPES[kind], (None, len(names)), own)
    return None


def _takes_files(known: Sequence[Parameter]) -> bool:
    return len(known) == 1 and known[0].kind is bytes


def _sample_rows(ask: Ask, specs: Sequence[TensorSpec]) -> tuple[Array, ...] | None:
    signature = Signature(tuple(specs), ())
    if ask.tensor is not None:
        return to_inputs(Rows(tensor=ask.tensor), signature)
    if ask.sample is None:
        return None
    names = ask.sample.names
    return to_inputs(Rows(() if _made_up(names) else names, ask.sample.columns), signature)


def _made_up(names: Sequence[str]) -> bool:
    return all(name == f"x{at}" for at, name in enumerate(names))
