"""What `serve` and its job say to each other: lines of JSON, the job's on its standard output."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from modelyard.serve.link import Desired


class ServeJob(msgspec.Struct, frozen=True):
    """A file to take down the road, and how.

    Args:
        file: the operator's.
        model: the name that it is served under.
        compiled: where compiled models are kept.
        parent: the process that waits for it; the job ends with it.
        sample: a file of real rows; empty is none.
        native: serve the original; do not convert.
        trust: go on where this kernel cannot confine a child.
        wall_s: what a child of the road may take.
        memory_bytes: likewise.
        options: what else was said of the file.
        instances: how many hosts answer, where the original does.
    """

    file: str
    model: str
    compiled: str
    parent: int
    sample: str = ""
    native: bool = False
    trust: bool = False
    wall_s: float = 180.0
    memory_bytes: int = 4 << 30
    options: dict[str, Any] = {}
    instances: int = 1


class Step(msgspec.Struct, frozen=True, tag=True):
    """What goes on, and which share of it is done, if that is known."""

    text: str
    share: float | None = None


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The model is released.

    Args:
        desired: what a worker should serve.
        report: what was done and proved, as ``CompileReport.to_json`` has it.
        cached: the work had been done before.
    """

    desired: Desired
    report: dict[str, Any]
    cached: bool


class Failed(msgspec.Struct, frozen=True, tag=True):
    """It came to nothing: an error's code and message."""

    code: str
    message: str


Word: TypeAlias = Step | Ready | Failed

WORD: msgspec.json.Decoder[Word] = msgspec.json.Decoder(Word)
_ENCODER = msgspec.json.Encoder()


def line(word: Word | ServeJob) -> bytes:
    """One line.

    >>> WORD.decode(line(Step("reading the file")))
    Step(text='reading the file', share=None)
    """
    return _ENCODER.encode(word) + b"\n"
