"""A pipeline in its host: every step opened, each fed with what earlier ones answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from modelyard.core.errors import BadConfig, BadInput, ModelFailed, NotConvertible
from modelyard.core.profile import ColumnProfile, Profile
from modelyard.core.signature import Signature, TensorSpec
from modelyard.formats.estimator.convert import convert
from modelyard.formats.estimator.study import Sample, Studied, study
from modelyard.formats.fast import Fast, Hastened
from modelyard.formats.fit import to_inputs
from modelyard.formats.functions.load import after
from modelyard.formats.opened import Ask, OpenedModel, Streaming
from modelyard.formats.pipeline.fuse import fused
from modelyard.formats.pipeline.graph import GraphStep
from modelyard.formats.pipeline.plan import Part, read_parts
from modelyard.formats.rows import Rows
from modelyard.formats.table import FORMATS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from modelyard.core.tensor import Array

_ROWS = 3


class Link(Struct, frozen=True):
    """One step, opened.

    Args:
        name: of the step.
        model: what answers.
        sources: for each input, the name under which it lies: ``step.output``, or an input of the pipeline.
        form: answers in the place of the model.
    """

    name: str
    model: Studied | OpenedModel
    sources: tuple[str, ...]
    form: Fast | None = None

    @property
    def function(self) -> bool:
        """Whether it is Python code."""
        return isinstance(self.model, OpenedModel) and bool(self.model.describe().get("function"))


class Chain:
    """An opened pipeline; see ``formats.opened.OpenedModel``."""

    def __init__(self, links: Sequence[Link], inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> None:
        self._links = tuple(links)
        self._outputs = tuple(outputs)
        known = {f"{link.name}.{spec.name}": spec for link in links for spec in link.model.signature.outputs}
        strange = [name for name in outputs if name not in known]
        if strange:
            raise BadConfig(f"the pipeline answers {strange[0]!r}, which no step gives: {', '.join(known)}")
        last = links[-1].model.signature
        whole = self._outputs == tuple(f"{links[-1].name}.{spec.name}" for spec in last.outputs)
        specs = _named_once([(name, known[name]) for name in self._outputs])
        taken = {spec.name for spec in inputs}
        specs = tuple(
            TensorSpec(f"{spec.name}_out", spec.dtype, spec.shape, spec.columns)
            if spec.name in taken
            else spec
            for spec in specs
        )
        batched = all(link.model.signature.batched for link in links)
        plain = whole and specs == last.outputs
        self.signature = Signature(
            tuple(inputs),
            specs,
            batched,
            last.task if plain else "tensor",
            last.label if plain else None,
            last.scores if plain else None,
            last.classes if plain else (),
        )
        self.profile = _profile(self._links, inputs)

    def describe(self) -> dict[str, Any]:
        """Plain facts for a report."""
        steps = [link.name for link in self._links]
        streams = [
            link.name
            for link in self._links
            if isinstance(link.model, OpenedModel) and link.model.describe().get("streams")
        ]
        return {
            "class": "pipeline of " + ", ".join(steps),
            "module": "",
            "library": "modelyard",
            "library_version": None,
            "steps": steps,
            "task": self.signature.task,
            "classes": list(self.signature.classes[:100]),
            "features": len(self.signature.inputs),
            "feature_names": [spec.name for spec in self.signature.inputs],
            "function": any(link.function for link in self._links),
            "streams": streams[-1:] == steps[-1:],
        }

    def predict(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """Every step in turn.

        Raises:
            BadInput: a step does not take these rows.
            ModelFailed: a step raised, or answered what the next cannot take.
        """
        return self._predict(self._links, inputs)

    def _predict(self, links: Sequence[Link], inputs: Sequence[Array]) -> tuple[Array, ...]:
        held = {spec.name: array for spec, array in zip(self.signature.inputs, inputs, strict=True)}
        for link in links:
            run(link, held)
        return tuple(held[name] for name in self._outputs)

    def fast(self) -> Fast | None:
        """The same steps, those in a form that answers sooner which have one."""
        links = [
            replace(link, form=link.model.fast()) if isinstance(link.model, Hastened) else link
            for link in self._links
        ]
        said = [f"{link.name}: {link.form.what}" for link in links if link.form is not None]
        return Fast(", ".join(said), predict=lambda inputs: self._predict(links, inputs)) if said else None

    def stream(self, inputs: Sequence[Array]) -> Iterator[tuple[Array, ...]]:
        """Every step but the last in turn, then the pieces of the last.

        Raises:
            BadInput: a step does not take these rows.
            ModelFailed: a step raised, or answered what the next cannot take.
        """
        held = {spec.name: array for spec, array in zip(self.signature.inputs, inputs, strict=True)}
        *before, last = self._links
        for link in before:
            run(link, held)
        model = last.model
        if not isinstance(model, Streaming):
            raise ModelFailed(f"step {last.name!r} does not answer piece by piece")
        pieces = model.stream(_feed(last, held))
        try:
            for piece in pieces:
                _put(last, held, piece)
                yield tuple(held[name] for name in self._outputs)
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()

    def convert(self) -> bytes:
        """All steps as one graph.

        Raises:
            NotConvertible: a step is Python code, or has no graph.
        """
        code = [link.name for link in self._links if link.function]
        if code:
            raise NotConvertible(f"{', '.join(code)} is Python code; the steps are chained in a host")
        graphs = [_graph(link) for link in self._links]
        return fused(
            [(link.name, graph, link.model.signature, link.sources)
             for link, graph in zip(self._links, graphs, strict=True)],
            self._outputs,
            self.signature,
        )  # fmt: skip


def run(link: Link, held: dict[str, Array]) -> None:
    """Answer one step and put what it gives beside what is there."""
    _put(link, held, (link.form or link.model).predict(_feed(link, held)))


def _feed(link: Link, held: dict[str, Array]) -> list[Array]:
    return [
        fit(held[source], spec, link.name)
        for source, spec in zip(link.sources, link.model.signature.inputs, strict=True)
    ]


def _put(link: Link, held: dict[str, Array], answer: Iterable[Array]) -> None:
    for spec, array in zip(link.model.signature.outputs, answer, strict=True):
        held[f"{link.name}.{spec.name}"] = array


def fit(array: Array, spec: TensorSpec, step: str) -> Array:
    """An answer as the input of the next step: numbers in its datatype, rows in its shape.

    Raises:
        ModelFailed: it cannot be.
    """
    if array.dtype != spec.dtype.numpy:
        if array.dtype == object or spec.dtype.kind == "bytes":
            raise ModelFailed(f"step {step!r} takes {spec.dtype.name} as {spec.name!r}, not {array.dtype}")
        array = array.astype(spec.dtype.numpy)
    if not spec.fits(array.shape):
        sizes = [size or -1 for size in spec.shape[1:]]
        row = int(np.prod(array.shape[1:], dtype=np.int64))
        if sizes.count(-1) or not array.ndim or row != int(np.prod(sizes, dtype=np.int64)):
            raise ModelFailed(
                f"step {step!r} takes {spec.name!r} as {spec.wire_shape()} (-1: any size), "
                f"not {list(array.shape)}"
            )
        array = array.reshape(len(array), *sizes)
    return array


def load(path: str, ask: Ask) -> tuple[Chain, list[str]]:
    """The pipeline of a folder.

    Raises:
        FileError: a step cannot be opened, or the steps do not fit together.
    """
    folder = Path(path)
    plan = read_parts(folder)
    links: list[Link] = []
    inputs: list[TensorSpec] = []
    held: dict[str, Array] = {}
    notes: list[str] = []
    for at, part in enumerate(plan.parts):
        link, told = _opened(folder, part, links, held, ask if at == 0 else None)
        notes += [f"step {part.name}: {note}" for note in (part.note, *told) if note]
        if at == 0:
            inputs += link.model.signature.inputs
            held.update(zip((spec.name for spec in inputs), _first_rows(link, ask), strict=True))
        try:
            run(link, held)
        except (ModelFailed, BadInput) as error:
            raise NotConvertible(
                f"step {part.name!r} does not answer probing rows: {error.message}; "
                "give some real ones with --sample rows.csv"
            ) from error
        links.append(link)
    last = links[-1]
    outputs = plan.outputs or tuple(f"{last.name}.{spec.name}" for spec in last.model.signature.outputs)
    return Chain(links, inputs, outputs), notes


def _opened(
    folder: Path, part: Part, before: Sequence[Link], held: dict[str, Array], ask: Ask | None
) -> tuple[Link, list[str]]:
    """One step, and where its inputs come from."""
    place = folder / part.path
    if part.format == "python" and before:
        sources, upstream = _upstream(part, before, held)
        model, order = after(place, upstream)
        return Link(part.name, model, tuple(sources[at] for at in order)), []
    if part.format == "onnx" and part.signature is not None:
        return _linked(part, GraphStep(place, Signature.from_json(part.signature)), before), []
    sample = _sample(part) or (ask.sample if ask is not None else None)
    tensor = ask.tensor if ask is not None else None
    found, notes = FORMATS.load(part.format)(str(place), Ask((), part.options, sample, tensor))
    opened = found if isinstance(found, OpenedModel) else study(found, sample)
    return _linked(part, opened, before), notes


def _upstream(
    part: Part, before: Sequence[Link], held: dict[str, Array]
) -> tuple[list[str], tuple[tuple[TensorSpec, Array], ...]]:
    """What a function is given: the outputs of the step before, or those that were named for it."""
    known = {f"{link.name}.{spec.name}": spec for link in before for spec in link.model.signature.outputs}
    last = before[-1]
    said = part.inputs or {spec.name: f"{last.name}.{spec.name}" for spec in last.model.signature.outputs}
    _check_known(part, said.values(), known)
    found = [(replace(known[source], name=name), held[source]) for name, source in said.items()]
    return list(said.values()), tuple(found)


def _check_known(part: Part, sources: Iterable[str], known: Collection[str]) -> None:
    missing = next((source for source in sources if source not in known), None)
    if missing is not None:
        raise BadConfig(
            f"step {part.name!r} takes {missing!r}, which no earlier step gives; there are {', '.join(known)}"
        )


def _linked(part: Part, model: Studied | OpenedModel, before: Sequence[Link]) -> Link:
    """Bind each input: as said, else to the output of the step before with its name or in its place."""
    specs = model.signature.inputs
    if not before:
        return Link(part.name, model, tuple(spec.name for spec in specs))
    outputs = before[-1].model.signature.outputs
    names = [spec.name for spec in outputs]
    sources = []
    for at, spec in enumerate(specs):
        said = part.inputs.get(spec.name)
        if said is not None:
            sources.append(said)
        elif spec.name in names:
            sources.append(f"{before[-1].name}.{spec.name}")
        elif len(specs) == len(outputs):
            sources.append(f"{before[-1].name}.{names[at]}")
        else:
            raise BadConfig(
                f"step {part.name!r} takes {spec.name!r}, and the step before gives {', '.join(names)}; "
                f'say which with inputs = {{ {spec.name} = "step.output" }}'
            )
    known = [f"{link.name}.{spec.name}" for link in before for spec in link.model.signature.outputs]
    _check_known(part, sources, known)
    return Link(part.name, model, tuple(sources))


def _sample(part: Part) -> Sample | None:
    if part.names is None:
        return None
    columns = []
    for cells in part.sample:
        texts = any(isinstance(cell, str) for cell in cells)
        column = np.empty(len(cells), dtype=object if texts else np.float64)
        for at, cell in enumerate(cells):
            column[at] = (cell or "").encode() if texts else np.nan if cell is None else cell  # type: ignore[union-attr]
        columns.append(column)
    return Sample(part.names, tuple(columns))


def _first_rows(link: Link, ask: Ask) -> tuple[Array, ...]:
    """A few rows that the first step takes."""
    signature = link.model.signature
    if ask.tensor is not None:
        return to_inputs(Rows(tensor=ask.tensor[:_ROWS]), signature)
    if ask.sample is not None:
        few = tuple(column[:_ROWS] for column in ask.sample.columns)
        return to_inputs(Rows(ask.sample.names, few), signature)
    profile = link.model.profile.columns
    return tuple(
        _made(spec, profile[at] if at < len(profile) else ()) for at, spec in enumerate(signature.inputs)
    )


def _made(spec: TensorSpec, columns: Sequence[ColumnProfile]) -> Array:
    shape = [4 if size is None else size for size in spec.shape]
    if spec.shape and spec.shape[0] is None:
        shape[0] = _ROWS
    out = np.empty(shape, dtype=spec.dtype.numpy)
    width = max(len(columns), 1)
    flat = out.reshape(-1)
    for at in range(flat.size):
        one = columns[at % width] if columns else ColumnProfile("number")
        share = (at // width % _ROWS + 1) / (_ROWS + 1)
        flat[at] = _cell(one, share, spec)
    return out


def _cell(one: ColumnProfile, share: float, spec: TensorSpec) -> Any:
    if spec.dtype.kind == "bytes":
        return (one.values[int(share * len(one.values))] if one.values else "word").encode()
    low = one.low if one.low is not None else 0.0
    high = one.high if one.high is not None else 1.0
    return low + (high - low) * share


def _profile(links: Sequence[Link], inputs: Sequence[TensorSpec]) -> Profile:
    """Of the first step: it is the one that takes the rows."""
    del inputs
    return links[0].model.profile


def _named_once(found: Sequence[tuple[str, TensorSpec]]) -> tuple[TensorSpec, ...]:
    """Outputs by their own names, with the step's in front where two are called alike."""
    names = [spec.name for _, spec in found]
    return tuple(
        spec
        if names.count(spec.name) == 1
        else TensorSpec(name.replace(".", "_"), spec.dtype, spec.shape, spec.columns)
        for name, spec in found
    )


def _graph(link: Link) -> bytes:
    model = link.model
    return convert(model) if isinstance(model, Studied) else model.convert()
