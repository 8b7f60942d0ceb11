"""MLflow model folders: the model file inside, with the signature and requirements that ``MLmodel`` states.

MLflow itself is neither needed nor imported. The folder is treated as untrusted, whatever it says of itself.
"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from modelyard.core.errors import CorruptFile, MissingFile, NotConvertible
from modelyard.formats.containers.imported import Imported
from modelyard.formats.estimator.study import Sample, study
from modelyard.formats.extras import FRAMEWORKS, needed
from modelyard.formats.opened import Ask, OpenedModel
from modelyard.formats.pipeline.graph import GraphStep
from modelyard.formats.sniff import sniff
from modelyard.formats.table import FORMATS

if TYPE_CHECKING:
    from collections.abc import Mapping

_MARK_BYTES, _SAMPLE_ROWS, _NOTES = 1 << 20, 256, 8
_FLAVORS = ("onnx", "sklearn", "xgboost", "lightgbm", "catboost", "pytorch")
"""Flavors that hold a file which is read here, the first that a folder has counts."""
_TORCH = ("model.pt2", "model.pth")
"""What MLflow writes of a PyTorch model: an exported program since 3.18, else a pickle or TorchScript."""
_DATA = {"sklearn": "pickled_model", "pytorch": "model_data"}
_SUFFIXES = {".skops": "skops", ".ubj": "xgboost", ".json": "xgboost", ".xgb": "xgboost", ".lgb": "lightgbm",
             ".txt": "lightgbm", ".cb": "catboost", ".cbm": "catboost", ".onnx": "onnx"}  # fmt: skip


def load(path: str, ask: Ask) -> tuple[OpenedModel, list[str]]:
    """The model of an MLflow folder.

    Raises:
        CorruptFile: ``MLmodel`` cannot be read.
        MissingFile: the model file that it names is not there.
        NotConvertible: none of its flavors is read here.
    """
    folder = Path(path)
    told = _read(folder)
    flavors = told.get("flavors")
    if not isinstance(flavors, dict):
        raise CorruptFile("MLmodel names no flavors")
    name = next((one for one in _FLAVORS if isinstance(flavors.get(one), dict)), None)
    if name is None:
        raise NotConvertible(_none_of(flavors))
    sample = ask.sample or _example(folder, told)
    lines = ask.options.get("input") or (_lines(told) if name == "pytorch" else [])
    options = {**ask.options, "input": lines} if lines else ask.options
    inner, notes = _inner(folder, name, flavors[name], replace(ask, sample=sample, options=options))
    model = inner if isinstance(inner, OpenedModel) else study(inner, sample)
    asked = _requirements(folder)
    facts = {
        "flavor": name,
        "requirements": asked,
        "mlflow_version": told.get("mlflow_version"),
    }
    columns = _columns(told)
    return Imported(model, inner, columns, facts), [*notes, *_differences(asked)]


def _read(folder: Path) -> dict[str, Any]:
    with needed("an MLflow model folder"):
        import yaml
    data = (folder / "MLmodel").read_bytes()
    if len(data) > _MARK_BYTES:
        raise CorruptFile(f"MLmodel has {len(data)} bytes, which no model description needs")
    try:
        told = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptFile(f"MLmodel cannot be read: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(told, dict):
        raise CorruptFile("MLmodel is no list of facts")
    return told


def _none_of(flavors: Mapping[str, Any]) -> str:
    python = flavors.get("python_function")
    if isinstance(python, dict) and python.get("loader_module") == "mlflow.pyfunc.model":
        return (
            "it is a python_function model, which only MLflow can load; serve its predict as Python code "
            "instead: modelyard serve file.py:Class"
        )
    return f"it has the flavors {', '.join(map(str, flavors))}; read here are {', '.join(_FLAVORS)}"


def _inner(folder: Path, name: str, flavor: Mapping[str, Any], ask: Ask) -> tuple[Any, list[str]]:
    path = _below(folder, flavor.get(_DATA.get(name, "data")))
    if name == "pytorch" and path.is_dir():
        inside = path.relative_to(folder.resolve())
        places = [_below(folder, f"{inside}/{one}") for one in _TORCH]
        path = next((place for place in places if place.is_file()), places[-1])
    if not path.is_file():
        raise MissingFile(f"the folder has no {path.name!r}, which its MLmodel names")
    form = sniff(path).format if name == "pytorch" else _SUFFIXES.get(path.suffix, "pickle")
    if form == "onnx":
        return GraphStep(path, None), []
    # The folder's own word on what to build: no more than a pickle has, and the sandbox holds both.
    own = flavor.get("skops_trusted_types") or ()
    return FORMATS.load(form)(str(path), replace(ask, trusted=(*ask.trusted, *map(str, own))))


def _below(folder: Path, name: object) -> Path:
    if not isinstance(name, str) or not name:
        raise CorruptFile("MLmodel does not say which file the model is")
    path = (folder / name).resolve()
    if folder.resolve() not in path.parents:
        raise CorruptFile(f"MLmodel names {name[:80]!r}, which lies outside of its folder")
    return path


def _columns(told: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the columns that the stated signature has, in order."""
    stated = told.get("signature")
    try:
        rows = json.loads(stated["inputs"]) if isinstance(stated, dict) else []
        return tuple(str(row["name"]) for row in rows)
    except (ValueError, KeyError, TypeError):
        return ()


def _lines(told: Mapping[str, Any]) -> list[str]:
    """The tensors of the stated signature as ``--input`` lines; none where it states columns."""
    stated = told.get("signature")
    try:
        rows = json.loads(stated["inputs"]) if isinstance(stated, dict) else []
        found = []
        for at, row in enumerate(rows):
            tensor = row["tensor-spec"]
            sizes = ",".join("?" if size == -1 else str(int(size)) for size in tensor["shape"])
            name = row.get("name") or ("input" if len(rows) == 1 else f"input_{at}")
            found.append(f"{name}:{tensor['dtype']}[{sizes}]")
        return found
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _example(folder: Path, told: Mapping[str, Any]) -> Sample | None:
    """The input example that was saved with the model, if it is a table."""
    stated = told.get("saved_input_example_info")
    if not isinstance(stated, dict) or stated.get("type") != "dataframe":
        return None
    try:
        path = _below(folder, stated.get("artifact_path"))
        table = json.loads(path.read_bytes())
        columns = list(zip(*table["data"][:_SAMPLE_ROWS], strict=True))
        names = tuple(str(name) for name in table["columns"])
        return Sample(names, tuple(_cells(column) for column in columns))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _cells(column: tuple[Any, ...]) -> np.ndarray[Any, Any]:
    if any(isinstance(cell, str) for cell in column):
        out = np.empty(len(column), dtype=object)
        out[:] = [("" if cell is None else str(cell)).encode() for cell in column]
        return out
    return np.array([np.nan if cell is None else float(cell) for cell in column])


def _requirements(folder: Path) -> list[str]:
    try:
        lines = (folder / "requirements.txt").read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [line.strip()[:100] for line in lines if line.strip() and not line.startswith(("#", "-"))][:100]


def _differences(requirements: list[str]) -> list[str]:
    """Packages that it was made with and that are others here."""
    notes = []
    for line in requirements:
        name, _, wanted = line.partition("==")
        if not wanted or name.lower().startswith("mlflow"):
            continue
        known = FRAMEWORKS[name].packages if name in FRAMEWORKS else (name,)
        here = next((said for one in known if (said := _installed(one))), "not installed")
        if here.partition("+")[0] != wanted.partition("+")[0]:  # torch says +cpu behind its version
            notes.append(f"made with {name} {wanted}, here it is {here}")
    return notes[:_NOTES]


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
