"""The steps of a pipeline: as a person writes them (TOML), and as a folder keeps them (JSON)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.core.errors import BadConfig, CorruptFile

if TYPE_CHECKING:
    from pathlib import Path

MARK = "pipeline.json"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_TOML_BYTES = 1 << 20


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step as it is written.

    Args:
        name: of the step; outputs are called ``name.output`` elsewhere.
        model: a model file, or
        function: ``file.py:function``; one of the two.
        inputs: input of the step -> ``step.output``; what is left out comes from the step before, by name.
        options: what else is to be said of the file, as on the command line: ``input = ["x:float32[N,4]"]``.
    """

    name: str
    model: str = ""
    function: str = ""
    inputs: dict[str, str] = {}
    options: dict[str, Any] = {}


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pipeline as it is written: its steps in order, and which outputs it answers (those of the last)."""

    step: tuple[Step, ...]
    outputs: tuple[str, ...] = ()


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step in its folder.

    Args:
        name: of the step.
        format: a row of ``FORMATS``.
        path: of its file or folder, below the pipeline's.
        inputs: as in ``Step``.
        options: as in ``Ask``.
        signature: of a graph, which does not say all of it.
        names: of the columns of a sample that it was opened with.
        sample: those columns.
        note: what its own road found, for the report of the whole.
    """

    name: str
    format: str
    path: str
    inputs: dict[str, str] = {}
    options: dict[str, Any] = {}
    signature: dict[str, Any] | None = None
    names: tuple[str, ...] | None = None
    sample: tuple[tuple[str | float | int | bool | None, ...], ...] = ()
    note: str = ""


class Parts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole pipeline in its folder."""

    parts: tuple[Part, ...]
    outputs: tuple[str, ...] = ()


def read_toml(path: Path) -> Plan:
    """Read a pipeline.

    Raises:
        BadConfig: it is none; the message says what is wrong.
    """
    data = path.read_bytes()
    if len(data) > _TOML_BYTES:
        raise BadConfig(f"{path} has {len(data)} bytes, which no list of steps needs")
    try:
        plan = msgspec.toml.decode(data, type=Plan)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadConfig(f"{path} is no pipeline: {error}") from error
    return checked(plan, str(path))


def checked(plan: Plan, what: str) -> Plan:
    """The same plan, if its steps make sense.

    Raises:
        BadConfig: they do not.
    """
    names = [step.name for step in plan.step]
    if not names:
        raise BadConfig(f"{what}: a pipeline needs [[step]] tables")
    for at, step in enumerate(plan.step):
        if not _NAME.fullmatch(step.name) or names.count(step.name) > 1:
            raise BadConfig(f"{what}: a step cannot be called {step.name[:60]!r}; use one plain word, once")
        if bool(step.model) == bool(step.function):
            raise BadConfig(f"{what}: step {step.name!r} needs either a model or a function")
        for source in step.inputs.values():
            if source.partition(".")[0] not in names[:at]:
                raise BadConfig(
                    f"{what}: step {step.name!r} takes {source!r}; name an output of an earlier step, "
                    "as step.output"
                )
    return plan


def read_parts(folder: Path) -> Parts:
    """Read a pipeline's folder.

    Raises:
        CorruptFile: it is none.
    """
    try:
        found = msgspec.json.decode((folder / MARK).read_bytes(), type=Parts)
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise CorruptFile(f"{MARK} cannot be read: {str(error)[:200]}") from error
    for part in found.parts:
        if part.path.startswith("/") or ".." in part.path.split("/"):
            raise CorruptFile(f"step {part.name[:40]!r} lies outside of its pipeline")
    return found
