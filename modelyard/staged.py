"""What the operator named, as one file or folder that the road can take.

A model file is that already. Python code becomes a folder with what it needs (``gathered``); a pipeline,
and a model with functions before or after it, becomes a folder with every step in it, each model already
down its own road: a graph where it verified, else the original.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from modelyard.artifact.rows import unpack_rows
from modelyard.bundled import SAMPLE
from modelyard.compiler.report import CompileReport
from modelyard.core.errors import BadConfig
from modelyard.formats.containers import hub
from modelyard.formats.containers.unpack import unpack
from modelyard.formats.pipeline.plan import MARK, Part, Parts, Plan, Step, checked, read_toml
from modelyard.formats.sniff import sniff
from modelyard.gathered import find_code, gather

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modelyard.artifact.bundle import Bundle

    PrepareStep = Callable[[Path, Mapping[str, Any]], Bundle]

_STEPS = 20
_AROUND = ("pre", "post")
_OF_INPUTS = "input"


class Staged(Struct, frozen=True):
    """Where the road starts.

    Args:
        place: the file or folder.
        options: what is left of the operator's words.
    """

    place: Path
    options: Mapping[str, Any]


@contextmanager
def staged(source: Path, options: Mapping[str, Any], prepare: PrepareStep) -> Iterator[Staged]:
    """Put together what the operator named, for as long as the block lasts.

    Args:
        source: a path, ``file.py:function`` or ``pkg.mod:function``.
        options: what else was said.
        prepare: takes the model of one step down the road.

    Raises:
        FileError: something is missing or cannot be read.
    """
    rest = {name: value for name, value in options.items() if name not in _AROUND}
    around = {name: str(options[name]) for name in _AROUND if options.get(name)}
    code = None if source.exists() and source.suffix != ".py" else find_code(str(source))
    plan = None
    if around:
        plan = _around(source, around, rest, is_code=code is not None)
    elif source.suffix == ".toml" and source.is_file():
        plan = read_toml(source)
    if plan is None and code is None and source.is_dir() and sniff(source).format == "huggingface-onnx":
        yield _graph_of(source, rest)
        return
    archive = plan is None and code is None and source.is_file() and sniff(source).format == "mar"
    if plan is None and code is None and not archive:
        yield Staged(source, rest)
        return
    with tempfile.TemporaryDirectory(prefix="modelyard-") as temporary:
        folder = Path(temporary) / "model"
        folder.mkdir()
        if plan is not None:
            home = Path() if around else source.resolve().parent
            parts = tuple(_part(step, home, folder, prepare) for step in plan.step)
            (folder / MARK).write_bytes(msgspec.json.encode(Parts(parts, plan.outputs)))
            rest = {}
        elif code is not None:
            gather(code, folder)
        else:
            unpack(source, folder)
        yield Staged(folder, rest)


def _graph_of(folder: Path, rest: Mapping[str, Any]) -> Staged:
    """The graph of a Hugging Face folder, which needs nothing else of it but the names of its classes."""
    found = hub.read(folder)
    told = {"classes": list(found.classes)} if found.classes else {}
    return Staged(folder / found.graph, {**rest, **told})


def _around(source: Path, around: Mapping[str, str], rest: Mapping[str, Any], *, is_code: bool) -> Plan:
    """A model between functions; what was said of inputs concerns the first of them."""
    told = dict(rest)
    steps = []
    if "pre" in around:
        inputs = told.pop(_OF_INPUTS, None)
        steps.append(Step("pre", function=around["pre"], options={_OF_INPUTS: inputs} if inputs else {}))
    name = str(source)
    steps.append(Step("model", "" if is_code else name, name if is_code else "", options=told))
    if "post" in around:
        steps.append(Step("post", function=around["post"]))
    return checked(Plan(tuple(steps)), name)


def _part(step: Step, home: Path, folder: Path, prepare: PrepareStep) -> Part:
    """One step in its own folder."""
    place = folder / step.name
    place.mkdir()
    if step.function:
        code = find_code(_placed(step.function, home))
        if code is None:
            raise BadConfig(
                f"step {step.name}: {step.function!r} is not file.py:function or pkg.mod:function"
            )
        gather(code, place)
        return Part(step.name, "python", step.name, step.inputs, step.options)
    bundle = prepare(home / step.model, step.options)
    facts = bundle.facts
    graph = facts["graph"]
    _copy(bundle, (graph or facts["source"]).partition("/")[0], place)
    if graph is not None:
        path, signature = f"{step.name}/{graph}", dict(facts["signature"])
        return Part(step.name, "onnx", path, step.inputs, {}, signature, note=_note(bundle))
    names: tuple[str, ...] | None = None
    columns: tuple[tuple[str | float | int | bool | None, ...], ...] = ()
    if bundle.has(SAMPLE) and facts["sample"] is not None:
        names = tuple(facts["sample"])
        columns = tuple(
            tuple(_plain(cell) for cell in column.tolist())
            for column in unpack_rows(bundle.path(SAMPLE).read_bytes())
        )
    path = f"{step.name}/{facts['source']}"
    return Part(
        step.name,
        facts["format"],
        path,
        step.inputs,
        dict(facts["options"]),
        None,
        names,
        columns,
        _note(bundle),
    )


def _note(bundle: Bundle) -> str:
    """What its own road found of a step."""
    report = CompileReport.from_json(bundle.facts["report"])
    if report.verdict is not None and report.verdict.ok and report.road == "onnx":
        return f"{report.origin}, as a graph that answers alike on {report.verdict.rows:,} rows"
    return f"{report.origin}, by itself: {report.reason}" if report.reason else ""


def _placed(text: str, home: Path) -> str:
    """``file.py:function`` of a pipeline lies beside the pipeline; a module is found as Python finds it."""
    where, colon, name = text.rpartition(":") if ":" in text else (text, "", "")
    return f"{home / where}{colon}{name}" if where.endswith(".py") else text


def _copy(bundle: Bundle, head: str, place: Path) -> None:
    """The parts of a bundle below one of its folders."""
    for name in bundle.parts:
        if name.partition("/")[0] == head:
            target = place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path(name), target)


def _plain(cell: Any) -> str | float | int | bool | None:
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    return None if cell != cell else cell  # noqa: PLR0124  (NaN)
