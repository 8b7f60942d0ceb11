"""What a bundle keeps of a model; `bundled` opens it again.

One rule: nothing outside of the bundle is needed, and nothing of the machine that made it is in it: equal
inputs give equal digests. What is measured stands beside the bundle, on this machine only.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from modelyard.artifact.bundle import Bundle, canonical, open_bundle, write_bundle
from modelyard.artifact.rows import pack_rows
from modelyard.artifact.source import GRAPH_NAME, GRAPHS, SOURCE, Source, without_places
from modelyard.bundled import ANSWERS, ROWS, SAMPLE
from modelyard.compiler.recorded import Recording
from modelyard.compiler.report import CompileReport
from modelyard.core.errors import BadConfig, CorruptFile, MissingFile
from modelyard.core.signature import Signature
from modelyard.formats.original import sample_columns
from modelyard.formats.rows import Rows
from modelyard.formats.sniff import Sniffed

if TYPE_CHECKING:
    from typing import TypeAlias

    from modelyard.core.tensor import Array

    Inputs: TypeAlias = tuple[Array, ...]

_VERSIONS = (
    *("modelyard", "numpy", "onnxruntime", "scikit-learn", "skl2onnx", "onnx", "protobuf"),
    *(
        "torch",
        "onnxscript",
        "safetensors",
        "transformers",
        "keras",
        "h5py",
        "tensorflow",
        "tensorflow-cpu",
        "tf2onnx",
    ),
    *("openvino", "ai-edge-litert", "jax"),
    *("onnxmltools", "xgboost", "xgboost-cpu", "lightgbm", "catboost"),
)


class Manner(Struct, frozen=True):
    """How the original was opened, and is to be opened again.

    Args:
        sniffed: what it is.
        options: what the operator said of it.
        trusted_types: types that a skops file may build.
        sample: rows for a model that does not say what it takes.
        memory_bytes: what its host may take.
        tolerance: of scores.
    """

    sniffed: Sniffed
    options: Mapping[str, Any]
    trusted_types: tuple[str, ...]
    sample: Rows | None
    memory_bytes: int
    tolerance: float


class Making(Struct, frozen=True):
    """What the road made of a model.

    Args:
        signature: what it takes and gives.
        report: what was done and proved.
        recording: rows and the original's answers.
        graph: what the compiler made; empty when the operator's own graph, or the original, answers.
        streams: the original can answer piece by piece.
        fast: the original answers in its fast form.
    """

    signature: Signature
    report: CompileReport
    recording: Recording
    graph: bytes = b""
    streams: bool = False
    fast: bool = False


def keep(
    place: Path, where: Path, given: Source, manner: Manner, made: Making
) -> tuple[Bundle, CompileReport]:
    """Write the bundle, and beside it what was measured.

    Args:
        place: of the bundle.
        where: the operator's file; texts that name its folder lose that.
        given: its parts.
        manner: how it is opened.
        made: what came of it.

    Raises:
        CorruptFile: the file was changed since it was read.
    """
    report, recording, native = made.report, made.recording, made.report.road == "python"
    if recording.note:
        report = replace(report, notes=(*report.notes, recording.note))
    parts: dict[str, bytes | Path] = {**given.files, ROWS: pack_rows(recording.rows)}
    digests = dict(given.digests)
    source, graph = given.main, None if native else given.main
    if made.graph:
        graph = f"{GRAPHS}/{GRAPH_NAME}"
        if source == graph:
            # The graph as it was given goes aside for the one that answers.
            source = f"{SOURCE}/{GRAPH_NAME}"
            parts[source], digests[source] = parts.pop(graph), digests.pop(graph)
        parts[graph] = made.graph
    if recording.answers is not None:
        parts[ANSWERS] = pack_rows(recording.answers)
    names, columns = sample_columns(manner.sample) if native else (None, [])
    if columns:
        parts[SAMPLE] = pack_rows(columns)
    here = (where.resolve().parent, where.absolute().parent, Path(tempfile.gettempdir()))
    facts = {
        "signature": made.signature.to_json(),
        "report": without_places(report.to_json(measured=False), *here),
        "format": manner.sniffed.format,
        "detail": manner.sniffed.detail,
        "source": source,
        "graph": graph,
        "options": dict(manner.options),
        "trusted_types": list(manner.trusted_types),
        "sample": names,
        "memory_bytes": manner.memory_bytes,
        "tolerance": manner.tolerance,
        "streams": made.streams,
        "fast": made.fast,
        "versions": dict(versions()),
        "machine": platform.machine(),
    }
    bundle = write_bundle(place, facts, parts, expected=digests)
    if report.checked is not None:
        raced = report.race.to_json() if report.race is not None else None
        _write_whole(_measures(place), canonical({"checked": report.checked.measures(), "race": raced}))
    return bundle, report


def with_engine(bundle: Bundle, engine: Mapping[str, Any], place: Path) -> Bundle:
    """The same bundle with other facts of its engine: another version, at ``place``."""
    parts = {name: bundle.path(name) for name in sorted(bundle.parts)}
    expected = {name: part.sha256 for name, part in bundle.parts.items()}
    return write_bundle(place, {**bundle.facts, "engine": dict(engine)}, parts, expected=expected)


def with_instances(bundle: Bundle, instances: int) -> Bundle:
    """The same bundle, answered by several hosts; it lies beside the one that was given.

    Raises:
        BadConfig: a graph answers for this model, and a graph has no hosts.
    """
    if instances == 1:
        return bundle
    if bundle.facts["graph"] is not None:
        raise BadConfig(
            f"--instances {instances} starts model hosts, and this model is a graph that runs in the server "
            "itself: leave --instances out (more server processes: modelyard up --workers), or, if it is no "
            "ONNX file, add --native to serve the original in hosts"
        )
    place = bundle.folder.with_name(f"{bundle.folder.name}.x{instances}")
    try:
        return open_bundle(place)
    except (MissingFile, CorruptFile):
        return with_engine(bundle, {"instances": instances}, place)


def read_report(bundle: Bundle) -> CompileReport:
    """The report of a bundle, with what was measured on this machine, if it was made here."""
    row = bundle.facts["report"]
    try:
        measures = json.loads(_measures(bundle.folder).read_bytes()) if row["checked"] else {"checked": {}}
        checked = row["checked"] and {**row["checked"], **measures["checked"]}
        return CompileReport.from_json({**row, "checked": checked, "race": measures.get("race")})
    except (OSError, ValueError, TypeError, KeyError):
        return CompileReport.from_json(row)


def _measures(place: Path) -> Path:
    """Times and memory stand beside the bundle: in it, they would give each making another digest."""
    return place.with_name(f"{place.name}.measured.json")


@cache
def versions() -> Mapping[str, str]:
    """What the work was done with."""
    found = {name: _installed(name) for name in _VERSIONS}
    return {"python": platform.python_version(), **{name: said for name, said in found.items() if said}}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_bytes(data)
    os.replace(aside, path)
