"""How a bundle is opened again, from that alone: all that a serving process needs of what `kept` wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelyard.artifact.bundle import Bundle, open_bundle
from modelyard.artifact.rows import unpack_rows
from modelyard.core.errors import CorruptFile
from modelyard.core.signature import Signature
from modelyard.formats.opening import HOST_TARGET, opening
from modelyard.runtime.table import RUNTIMES
from modelyard.sandbox.policy import Policy
from modelyard.serve.opened import Opened

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import TypeAlias

    from modelyard.core.tensor import Array

    Inputs: TypeAlias = tuple[Array, ...]

ROWS, ANSWERS, SAMPLE = "rows.bin", "answers.bin", "sample.bin"
"""Parts of every bundle beside the source and the graph: rows, the original's answers, a host's sample."""

MOST_INSTANCES = 64
"""How many hosts one model may have in one process."""
HOST_RUN_S = 50.0
"""A batch that takes a model host longer ends the host: a little before the engine gives the batch up."""
_MOST_MEMORY = 1 << 46
_NOT_SO = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError)
"""What reading facts and rows raises when another hand than ours wrote them."""


def open_version(folder: Path, *, trust: bool = False) -> Opened:
    """Open a bundle that was checked when it came to this disk; nothing outside of it is needed.

    Args:
        folder: the bundle.
        trust: open the original even where this kernel cannot confine a child.

    Raises:
        MissingFile: there is no bundle.
        CorruptFile: it is not one that ``prepare`` made.
        FileError: it cannot be opened; the message says why.
    """
    bundle = open_bundle(folder, hashed=False)
    facts = bundle.facts
    graph, signature, rows = read_graph(bundle)
    try:
        answers = _read(bundle, ANSWERS) if bundle.has(ANSWERS) else None
        tolerance = float(facts["tolerance"])
        host = None if graph is not None else _host(bundle)
    except _NOT_SO as error:
        raise CorruptFile(f"bundle {folder.name} cannot be read: {type(error).__name__}") from None
    if answers is not None and (not rows or len(answers) != len(signature.outputs)):
        raise CorruptFile(f"bundle {folder.name}: its answers do not fit its signature")
    if graph is not None:
        runner = RUNTIMES.load("onnx").open(graph, signature)
    elif host is not None:
        values, arrays, policy = host
        instances, streams = read_instances(facts), facts.get("streams") is True
        kind, more = ("python", {}) if instances == 1 else ("hosts", {"instances": instances})
        runner = RUNTIMES.load(kind).open(
            HOST_TARGET,
            values,
            arrays,
            signature,
            policy,
            trust=trust,
            run_s=HOST_RUN_S,
            streams=streams,
            **more,
        )
    return Opened(signature, runner, rows, answers, tolerance, facts)


def read_graph(bundle: Bundle) -> tuple[Path | None, Signature, Inputs]:
    """The graph that answers (None: the original does), what it takes and gives, and rows that it answers.

    Raises:
        CorruptFile: the facts or the rows are not what ``keep`` writes.
    """
    name = bundle.folder.name
    try:
        signature = Signature.from_json(bundle.facts["signature"])
        rows = _read(bundle, ROWS)
        graph = bundle.facts["graph"]
        if graph is not None and graph not in bundle.parts:
            raise CorruptFile(f"bundle {name} holds no graph {str(graph)[:80]!r}")
    except _NOT_SO as error:
        raise CorruptFile(f"bundle {name} cannot be read: {type(error).__name__}") from None
    if len(rows) not in (0, len(signature.inputs)):
        raise CorruptFile(f"bundle {name}: its rows do not fit its signature")
    return None if graph is None else bundle.path(graph), signature, rows


def read_instances(facts: Mapping[str, Any]) -> int:
    """How many hosts answer for the original.

    Raises:
        CorruptFile: no such number of hosts, wherever it comes from.
    """
    engine = facts.get("engine") or {}
    instances = engine.get("instances", 1) if isinstance(engine, dict) else 0
    if type(instances) is not int or not 1 <= instances <= MOST_INSTANCES:
        raise CorruptFile(
            f"the bundle asks for {str(instances)[:40]} hosts; 1 to {MOST_INSTANCES} can be had"
        )
    return instances


def _host(bundle: Bundle) -> tuple[dict[str, Any], Inputs, Policy]:
    """What a model host needs: the call that opens the original, and its limits."""
    facts = bundle.facts
    where = bundle.path(facts["source"]).resolve()
    values = opening(
        where,
        facts["format"],
        facts["sample"],
        facts["trusted_types"],
        options=facts["options"],
        fast=facts.get("fast") is True,
    )
    memory = facts["memory_bytes"]
    if type(memory) is not int or not 0 < memory <= _MOST_MEMORY:
        raise CorruptFile(f"bundle {bundle.folder.name} gives its host no memory that there is")
    policy = Policy(read=(where,), memory_bytes=memory, cpu_s=None, wall_s=None)
    return values, _read(bundle, SAMPLE) if bundle.has(SAMPLE) else (), policy


def _read(bundle: Bundle, name: str) -> Inputs:
    return unpack_rows(bundle.path(name).read_bytes())
