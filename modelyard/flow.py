"""The model's road, in order. Read this file first.

    find -> open -> convert -> optimise -> rehearse -> verify -> pack -> serve

``find``      formats.sniff: what the file is, by its content
``open``      formats.Original: in a sandboxed child; what it takes, gives and remembers
``convert``   formats.Original.convert: to ONNX, where there is a road
``optimise``  compiler.passes: make the graph load and run everywhere
``rehearse``  compiler.Rehearsal: load and run it in a bounded child before any server does
``verify``    compiler.verify: it must answer as the original does, or it is not used
``pack``      artifact: a bundle, kept by the digest of everything that went in
``serve``     runtime: the graph in this process, or the original in a model host beside it
"""

from __future__ import annotations

import platform
import tempfile
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modelyard.artifact.bundle import Bundle, canonical, open_bundle, pack_rows, unpack_rows, write_bundle
from modelyard.compiler.external import external_files
from modelyard.compiler.graph import Graph
from modelyard.compiler.optimise import optimise
from modelyard.compiler.rehearse import Rehearsal
from modelyard.compiler.report import CompileReport
from modelyard.compiler.rows import probe_rows
from modelyard.compiler.verify import Tolerance, verify
from modelyard.core.digest import sha256_of, sha256_of_stream
from modelyard.core.errors import (
    CallerError,
    ChildFailed,
    CorruptFile,
    MissingExtra,
    MissingFile,
    ModelFailed,
    NotConvertible,
)
from modelyard.core.signature import Signature
from modelyard.formats.fit import to_inputs
from modelyard.formats.original import HOST_TARGET, Original, open_values
from modelyard.formats.rows import read_rows
from modelyard.formats.sniff import sniff
from modelyard.runtime.table import RUNTIMES
from modelyard.sandbox.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, TypeAlias

    from modelyard.compiler.rows import Group
    from modelyard.core.tensor import Array
    from modelyard.formats.rows import Rows
    from modelyard.formats.sniff import Sniffed
    from modelyard.serve.opened import Runner

    Progress: TypeAlias = Callable[[str, float | None], None]
    Inputs: TypeAlias = tuple[Array, ...]

GRAPH, ROWS = "model.onnx", "rows.bin"
EXAMPLE_ROWS = 8
HOST_RUN_S = 50.0
"""A batch that takes a model host longer ends the host: a little before the engine gives the batch up."""
_VERSIONS = ("modelyard", "numpy", "onnxruntime", "scikit-learn", "skl2onnx", "onnx", "protobuf")


@dataclass(frozen=True, slots=True)
class OpenLimits:
    """What a child of the road may use: seconds from start to end, and bytes of memory."""

    wall_s: float = 180.0
    memory_bytes: int = 4 << 30

    def policy(self) -> Policy:
        """The same as a sandbox policy."""
        return Policy(memory_bytes=self.memory_bytes, cpu_s=self.wall_s, wall_s=self.wall_s)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the operator asked for.

    Args:
        sample: a file of real rows to verify on.
        native: serve the original; do not convert.
        trust: go on where this kernel cannot confine a child.
        limits: what a child may use.
        tolerance: how close the compiled graph must come.
        options: what else was said of the file, plain JSON values, see ``formats.opened.Ask``.
    """

    sample: Path | None = None
    native: bool = False
    trust: bool = False
    limits: OpenLimits = field(default_factory=OpenLimits)
    tolerance: Tolerance = field(default_factory=Tolerance)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model at the end of the road.

    Args:
        source: the operator's file.
        sniffed: what it is.
        bundle: what was made of it.
        report: what was done and what was proved.
        cached: the work had been done before.
    """

    source: Path
    sniffed: Sniffed
    bundle: Bundle
    report: CompileReport
    cached: bool

    @property
    def signature(self) -> Signature:
        """What the model takes and gives."""
        return Signature.from_json(self.bundle.facts["signature"])

    @property
    def rows(self) -> tuple[Array, ...]:
        """A few rows that it is known to answer."""
        return unpack_rows(self.bundle.path(ROWS).read_bytes())


def prepare(source: Path, wishes: Wishes, cache: Path, on_progress: Progress) -> Prepared:
    """Take a file down the road, or find that it has been down it before.

    Raises:
        FileError: there is no such file, it is not one that is read here, opening it is not safe here,
            or no road leads from it to a service.
    """
    on_progress("reading the file", None)
    sniffed = sniff(source)
    sample = read_rows(wishes.sample) if wishes.sample is not None else None
    key = _key(source, sniffed, wishes)
    place = cache / key[:2] / key
    try:
        bundle = open_bundle(place)
        return Prepared(source, sniffed, bundle, CompileReport.from_json(bundle.facts["report"]), True)
    except (MissingFile, CorruptFile):
        pass
    road = _graph_road if sniffed.format == "onnx" else _original_road
    bundle, report = road(_Job(source, sniffed, wishes, sample, place, on_progress))
    return Prepared(source, sniffed, bundle, report, False)


def open_runtime(prepared: Prepared, wishes: Wishes) -> Runner:
    """The last step of the road: something that answers tensors with tensors.

    Raises:
        FileError: it cannot be opened; the message says why.
    """
    runtime = RUNTIMES.load(prepared.report.road)
    opened: Runner
    if prepared.report.road == "onnx":
        graph = prepared.bundle.path(GRAPH) if prepared.bundle.has(GRAPH) else prepared.source
        opened = runtime.open(graph, prepared.signature)
        return opened
    sample = read_rows(wishes.sample) if wishes.sample is not None else None
    where = prepared.source.resolve()
    values, arrays = open_values(where, prepared.sniffed, sample=sample, options=wishes.options)
    policy = replace(wishes.limits.policy(), read=(where,), cpu_s=None, wall_s=None)
    opened = runtime.open(
        HOST_TARGET, values, arrays, prepared.signature, policy, trust=wishes.trust, run_s=HOST_RUN_S
    )
    return opened


@dataclass(frozen=True, slots=True)
class _Job:
    """One file on its way: what every step needs."""

    source: Path
    sniffed: Sniffed
    wishes: Wishes
    sample: Rows | None
    place: Path
    say: Progress

    def rehearse(
        self, path: Path, expected: Signature | None = None, rows: Sequence[Inputs] = ()
    ) -> Rehearsal:
        """Load and run a graph in a bounded child."""
        return Rehearsal.open(
            path,
            expected=expected,
            rows=rows,
            policy=self.wishes.limits.policy(),
            trust=self.wishes.trust,
            on_progress=self.say,
        )

    def pack(
        self, signature: Signature, report: CompileReport, rows: Inputs, parts: Mapping[str, bytes]
    ) -> tuple[Bundle, CompileReport]:
        """Keep the result."""
        self.say("keeping the result", None)
        facts = {"signature": signature.to_json(), "report": report.to_json(), "platform": platform.machine()}
        return write_bundle(self.place, facts, {**parts, ROWS: pack_rows(rows)}), report


def _graph_road(job: _Job) -> tuple[Bundle, CompileReport]:
    """A graph has nothing to be compared with: make it load everywhere, rehearse it, keep it."""
    graph = optimise(job.source.read_bytes())
    parts = {GRAPH: graph.data} if graph.applied else {}
    with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:
        path = job.source
        if parts:
            path = Path(folder) / GRAPH
            path.write_bytes(graph.data)
        with job.rehearse(path) as rehearsal:
            rows = _example(rehearsal, job.sample)
    report = CompileReport(
        job.sniffed.format,
        job.sniffed.detail,
        "onnx",
        "",
        graph.applied,
        rehearsal.checked,
        notes=graph.notes,
    )
    return job.pack(rehearsal.signature, report, rows, parts)


def _original_road(job: _Job) -> tuple[Bundle, CompileReport]:
    """Convert, and use the result only if it answers as the original does."""
    job.say("opening the file in a sandboxed child", None)
    with Original.open(
        job.source,
        job.sniffed,
        policy=job.wishes.limits.policy(),
        sample=job.sample,
        options=job.wishes.options,
        trust=job.wishes.trust,
        on_progress=job.say,
    ) as original:
        sample = to_inputs(job.sample, original.signature) if job.sample is not None else None
        training = (original.training_rows,) if original.training_rows is not None else None
        groups = probe_rows(original.signature, original.profile, sample=sample, training=training)
        described = f"{original.description['class']} ({job.sniffed.detail})"
        report, data = _prove(job, original, groups)
        report = replace(report, origin=described, notes=(*original.notes, *report.notes))
        rows = _answered(original, groups)
    signature = original.signature
    if report.checked is not None and report.road == "onnx":
        signature = replace(signature, batched=signature.batched and report.checked.batched)
    return job.pack(signature, report, rows, {GRAPH: data} if report.road == "onnx" else {})


def _prove(job: _Job, original: Original, groups: Sequence[Group]) -> tuple[CompileReport, bytes]:
    """Convert, rehearse, verify; the report says which road was taken and why."""
    source = job.sniffed.format
    if job.wishes.native:
        return CompileReport(source, "", "python", "native serving was asked for"), b""
    try:
        job.say("converting to ONNX", None)
        graph = optimise(original.convert())
        with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:
            path = Path(folder) / GRAPH
            path.write_bytes(graph.data)
            first = [group.inputs for group in groups[:1]]
            with job.rehearse(path, original.signature, first) as rehearsal:
                job.say("comparing the graph with the original", None)
                verdict = verify(original, rehearsal.run, groups, job.wishes.tolerance)
    except (NotConvertible, MissingExtra) as error:
        return CompileReport(source, "", "python", error.message), b""
    except ChildFailed as error:
        return CompileReport(source, "", "python", f"converting broke a limit: {error.message}"), b""
    road, reason = ("onnx", "") if verdict.ok else ("python", f"the graph differs: {verdict.reason}")
    return CompileReport(
        source, "", road, reason, graph.applied, rehearsal.checked, verdict, graph.notes
    ), graph.data


def _answered(original: Original, groups: Sequence[Group]) -> Inputs:
    """A few rows that the original answers: the warm-up and the documentation use them."""
    for group in groups:
        rows = tuple(array[:EXAMPLE_ROWS] for array in group.inputs)
        try:
            original.predict(rows)
        except (CallerError, ModelFailed):
            continue
        return rows if group.kind == "real" else tuple(map(_readable, rows))
    return ()


def _readable(array: Array) -> Array:
    """Made-up numbers with three digits: they are shown to people."""
    if array.dtype.kind != "f":
        return array
    short = [float(f"{value:.3g}") for value in array.ravel().tolist()]
    return np.array(short, array.dtype).reshape(array.shape)


def _example(rehearsal: Rehearsal, sample: Rows | None) -> Inputs:
    """The same for a graph, from the sample or from the rows of the rehearsal.

    Raises:
        BadInput: the sample does not fit the graph.
    """
    if sample is None:
        return (
            tuple(array[:EXAMPLE_ROWS] for array in rehearsal.example)
            if rehearsal.signature.batched
            else rehearsal.example
        )
    rows = to_inputs(sample, rehearsal.signature)
    rehearsal.run(rows)
    return tuple(array[:EXAMPLE_ROWS] for array in rows) if rehearsal.signature.batched else rows


def _key(source: Path, sniffed: Sniffed, wishes: Wishes) -> str:
    """The digest of everything that decides what the road makes of a file."""
    with source.open("rb") as stream:
        parts: dict[str, Any] = {
            "source": sha256_of_stream(stream),
            "format": sniffed.format,
            "native": wishes.native,
            "options": dict(wishes.options),
        }
    if sniffed.format == "onnx":
        # Weights that lie beside the graph are part of it.
        beside = external_files(Graph(source.read_bytes()), source.resolve().parent)
        parts["weights"] = {}
        for path in beside:
            with path.open("rb") as stream:
                parts["weights"][str(path)] = sha256_of_stream(stream)
    if wishes.sample is not None:
        with wishes.sample.open("rb") as stream:
            parts["sample"] = sha256_of_stream(stream)
    parts["tolerance"] = [wishes.tolerance.scores, wishes.tolerance.share]
    parts["versions"] = {name: _installed(name) for name in _VERSIONS}
    parts["machine"] = platform.machine()
    return sha256_of([canonical(parts)])


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
