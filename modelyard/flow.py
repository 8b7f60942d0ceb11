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
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from modelyard.artifact.bundle import Bundle, canonical, open_bundle
from modelyard.artifact.source import GRAPH_NAME, Source
from modelyard.bundled import open_version, read_graph
from modelyard.compiler.fast import judge_fast
from modelyard.compiler.optimise import optimise
from modelyard.compiler.proof import prove_model
from modelyard.compiler.race import Race, race
from modelyard.compiler.recorded import Recording, record, record_agreed
from modelyard.compiler.rehearse import Rehearsal
from modelyard.compiler.report import CompileReport
from modelyard.compiler.rows import probe_rows
from modelyard.compiler.verify import verify
from modelyard.core.digest import sha256_of
from modelyard.core.errors import ChildFailed, CorruptFile, MissingExtra, MissingFile, NotConvertible
from modelyard.core.signature import Signature
from modelyard.formats.containers.hub import with_classes
from modelyard.formats.fit import to_inputs
from modelyard.formats.original import Original
from modelyard.formats.rows import Rows, read_rows
from modelyard.formats.sniff import Sniffed, sniff
from modelyard.kept import Making, Manner, keep, read_report, versions
from modelyard.sources import read_source
from modelyard.staged import staged
from modelyard.wishes import OpenLimits, Wishes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from modelyard.compiler.rows import Group
    from modelyard.core.tensor import Array

    Inputs: TypeAlias = tuple[Array, ...]

Progress: TypeAlias = Callable[[str, float | None], None]

__all__ = ("OpenLimits", "Prepared", "Wishes", "open_version", "prepare", "rehearse_version")

EXAMPLE_ROWS = 8


class Prepared(Struct, frozen=True):
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


def prepare(source: Path, wishes: Wishes, cache: Path, on_progress: Progress) -> Prepared:
    """Take a file or folder down the road, or find that it has been down it before.

    Raises:
        FileError: there is no such file, it is not one that is read here, opening it is not safe here,
            or no road leads from it to a service.
    """
    on_progress("reading the file", None)

    def step(path: Path, options: Mapping[str, Any]) -> Bundle:
        return prepare(path, replace(wishes, sample=None, options=options), cache, on_progress).bundle

    with staged(source, wishes.options, step) as start:
        found = _prepare(start.place, replace(wishes, options=start.options), cache, on_progress)
    return replace(found, source=source)


def _prepare(source: Path, wishes: Wishes, cache: Path, on_progress: Progress) -> Prepared:
    """Take one file or folder down the road."""
    sniffed = sniff(source)
    sample = read_rows(wishes.sample) if wishes.sample is not None else None
    given = read_source(source, sniffed)
    key = _key(given, sniffed, wishes)
    place = cache / key[:2] / key
    try:
        bundle = open_bundle(place)
        return Prepared(source, sniffed, bundle, read_report(bundle), True)
    except (MissingFile, CorruptFile):
        pass
    road = _graph_road if sniffed.format == "onnx" else _original_road
    bundle, report = road(_Job(source, sniffed, given, wishes, sample, place, on_progress))
    return Prepared(source, sniffed, bundle, report, False)


def rehearse_version(folder: Path, limits: OpenLimits | None = None, *, trust: bool = False) -> None:
    """Try the graph of a bundle that came from a stranger where it can harm nobody, before it is opened here.

    What its manifest says of a rehearsal proves nothing. An original needs none: its host is such a place.

    Raises:
        FileError: it breaks a limit, cannot be loaded, is not what its signature says, or reads other files.
    """
    bundle = open_bundle(folder)
    graph, signature, rows = read_graph(bundle)
    if graph is not None:
        policy = (limits or OpenLimits()).policy()
        with Rehearsal.open(graph, expected=signature, rows=[rows], policy=policy, trust=trust) as rehearsal:
            if signature.batched and not rehearsal.checked.batched:
                raise CorruptFile(
                    f"bundle {folder.name} says that rows of its graph may share a batch, and they may not"
                )


class _Job(Struct, frozen=True):
    """One model on its way: what every step needs."""

    source: Path
    sniffed: Sniffed
    given: Source
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

    def pack(self, made: Making) -> tuple[Bundle, CompileReport]:
        """Keep the result, with everything that is needed to open it again."""
        self.say("keeping the result", None)
        wishes = self.wishes
        manner = Manner(
            self.sniffed,
            wishes.options,
            wishes.trusted_types,
            self.sample,
            wishes.limits.memory_bytes,
            wishes.tolerance.scores,
        )
        return keep(self.place, self.source, self.given, manner, made)


def _graph_road(job: _Job) -> tuple[Bundle, CompileReport]:
    """A graph has nothing to be compared with: make it load everywhere, rehearse it, keep it."""
    graph = optimise(job.source.read_bytes())
    with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:
        path = job.source
        if graph.applied:
            path = Path(folder) / GRAPH_NAME
            path.write_bytes(graph.data)
        with job.rehearse(path) as rehearsal:
            rows = _example(rehearsal, job.sample)
            recording = record(rehearsal.run, rows, rehearsal.signature, job.wishes.tolerance.scores)
    report = CompileReport(
        job.sniffed.format,
        job.sniffed.detail,
        "onnx",
        "",
        graph.applied,
        rehearsal.checked,
        notes=graph.notes,
    )
    data = graph.data if graph.applied else b""
    signature = with_classes(rehearsal.signature, job.wishes.options.get("classes") or ())
    return job.pack(Making(signature, report, recording, data))


def _original_road(job: _Job) -> tuple[Bundle, CompileReport]:
    """Convert, and use the result only if it answers as the original does."""
    with _opened(job) as original:
        sample = to_inputs(job.sample, original.signature) if job.sample is not None else None
        training = (original.training_rows,) if original.training_rows is not None else None
        groups = probe_rows(original.signature, original.profile, sample=sample, training=training)
        described = f"{original.description['class']} ({job.sniffed.detail})"
        made = _prove(job, original, groups)
        if made.recording is None and not made.broken:
            made = _native(job, original, groups, made)
    if made.recording is None:
        # The conversion took its child with it; the original answers from a new one.
        with _opened(job) as again:
            made = _native(job, again, groups, made)
    report = replace(made.report, origin=described, notes=(*original.notes, *made.report.notes))
    signature = original.signature
    batched = report.checked is None or report.road != "onnx" or report.checked.batched
    signature = replace(signature, batched=signature.batched and batched and made.mixes)
    streams = bool(original.description.get("streams"))
    return job.pack(Making(signature, report, made.recording or Recording(), made.graph, streams, made.fast))


def _opened(job: _Job) -> Original:
    job.say("opening the file in a sandboxed child", None)
    return Original.open(
        job.source,
        job.sniffed,
        policy=job.wishes.limits.policy(),
        sample=job.sample,
        trusted_types=job.wishes.trusted_types,
        options=job.wishes.options,
        trust=job.wishes.trust,
        on_progress=job.say,
    )


def _native(job: _Job, original: Original, groups: Sequence[Group], made: _Made) -> _Made:
    """The original answers itself: rows for its start, whether callers may share a batch, and in which form.

    An estimator treats rows one by one; of a tensor function nothing is known until it is tried.
    """
    made = replace(made, recording=_recorded(job, original, None, groups))
    signature = original.signature
    unknown = signature.task == "tensor" or any(original.description.get(one) for one in ("function", "net"))
    if signature.batched and unknown and groups:
        proof = prove_model(original.predict, groups)
        made = made.noting("" if proof.batched else f"rows are not batched: {proof.reason}")
        made = replace(made, mixes=proof.batched)
    job.say("trying the fast form of its framework", None)
    mixes = signature.batched and made.mixes
    try:
        fast, said = judge_fast(original, groups, job.wishes.tolerance, mixes=mixes)
    except (ChildFailed, NotConvertible) as error:
        fast, said = False, f"its framework's faster form is not used: {error.message}"
    return replace(made.noting(said), fast=fast)


class _Made(Struct, frozen=True):
    """What became of a conversion: no graph and no recording where the original must answer itself.

    Args:
        report: which road, and why.
        graph: the graph that answers.
        recording: rows with their answers.
        broken: converting ended a child, the original's own it may be.
        mixes: rows of several callers may share a batch, as far as the original showed.
        fast: the original answers in its fast form.
    """

    report: CompileReport
    graph: bytes = b""
    recording: Recording | None = None
    broken: bool = False
    mixes: bool = True
    fast: bool = False

    def noting(self, said: str) -> _Made:
        """The same with one more note in its report, unless it is empty."""
        report = self.report
        return replace(self, report=replace(report, notes=(*report.notes, said))) if said else self


def _prove(job: _Job, original: Original, groups: Sequence[Group]) -> _Made:
    """Convert, rehearse, verify; the report says which road was taken and why."""
    source = job.sniffed.format
    if job.wishes.native:
        return _Made(CompileReport(source, "", "python", "native serving was asked for"))
    recording = None
    try:
        job.say("converting to ONNX", None)
        graph = optimise(original.convert())
        with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:
            path = Path(folder) / GRAPH_NAME
            path.write_bytes(graph.data)
            first = [group.inputs for group in groups[:1]]
            with job.rehearse(path, original.signature, first) as rehearsal:
                job.say("comparing the graph with the original", None)
                verdict = verify(original, rehearsal.run, groups, job.wishes.tolerance)
                if verdict.ok:
                    recording = _recorded(job, original, rehearsal, groups)
                found = _raced(job, original, rehearsal, groups) if verdict.ok else None
    except (NotConvertible, MissingExtra) as error:
        return _Made(CompileReport(source, "", "python", error.message))
    except CorruptFile as error:
        said = f"the converter made no graph that runs: {error.message}"
        return _Made(CompileReport(source, "", "python", said))
    except ChildFailed as error:
        report = CompileReport(source, "", "python", f"converting broke a limit: {error.message}")
        return _Made(report, broken=True)
    road, reason = ("onnx", "") if verdict.ok else ("python", f"the graph differs: {verdict.reason}")
    if found is not None and not found.graph_wins and not job.wishes.graph:
        road, reason = "python", "the graph agrees, but the original is faster"
    report = CompileReport(
        source, "", road, reason, graph.applied, rehearsal.checked, verdict, graph.notes, found
    )
    return _Made(report, graph.data if road == "onnx" else b"", recording)


def _raced(job: _Job, original: Original, rehearsal: Rehearsal, groups: Sequence[Group]) -> Race | None:
    """Boosters are fast by themselves: which road is faster is measured."""
    if not original.description.get("booster"):
        return None
    job.say("timing the graph and the original", None)
    return race(rehearsal.time, original.predict, groups[0].inputs)


def _recorded(
    job: _Job, original: Original, rehearsal: Rehearsal | None, groups: Sequence[Group]
) -> Recording:
    """A few rows that the original answers: for the warm-up, the documentation and the replay."""
    candidate = rehearsal.run if rehearsal is not None else None
    for group in groups:
        rows = (
            group.inputs if group.kind == "real" else tuple(map(_readable, group.take(slice(0, 16)).inputs))
        )
        found = record_agreed(
            original.predict, candidate, rows, original.signature, job.wishes.tolerance.scores
        )
        if found is not None:
            return found
    return Recording()


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
    rows = rehearsal.example
    if sample is not None:
        rows = to_inputs(sample, rehearsal.signature)
        rehearsal.run(rows)
    return tuple(array[:EXAMPLE_ROWS] for array in rows) if rehearsal.signature.batched else rows


_RECIPE = 3
"""Raised when the road makes something else of the same input."""


def _key(given: Source, sniffed: Sniffed, wishes: Wishes) -> str:
    """The digest of everything that decides what the road makes of a model."""
    parts: dict[str, Any] = {
        "recipe": _RECIPE,
        "source": dict(given.digests),
        "format": sniffed.format,
        "native": wishes.native,
        "graph": wishes.graph,
        "options": dict(wishes.options),
        "trusted_types": list(wishes.trusted_types),
        "memory_bytes": wishes.limits.memory_bytes,
        "tolerance": [wishes.tolerance.scores, wishes.tolerance.share],
        "versions": versions(),
        "machine": platform.machine(),
    }
    if wishes.sample is not None:
        parts["sample"] = _sample_digest(wishes.sample)
    return sha256_of([canonical(parts)])


def _sample_digest(place: Path) -> str:
    if not place.is_dir():
        return sha256_of([place.read_bytes()])
    files = (path for path in sorted(place.iterdir()) if path.is_file())
    return sha256_of([sha256_of([path.read_bytes()]).encode() for path in files])
