"""What those who push files for control, and the children that do it, say to each other."""

from __future__ import annotations

from typing import Literal

import msgspec


class PushJob(msgspec.Struct, frozen=True):
    """What to push.

    Args:
        file: the model's file or folder.
        model: its name; "": as its archive or its file calls it.
        note: what the version is called by.
        compiled: where compiled models are kept.
        home: of the yard; ``registry`` and ``artifacts`` are its addresses, if elsewhere.
        config: the text of its ``config.pbtxt``.
        config_file: how that file is called in messages.
        trust: open an unsafe file even where this kernel cannot confine it.
        who: in whose name.
        max_batch_rows: rows that run together at most; None: as the server does it.
        max_wait_s: how long a batch may wait for more; likewise.
        same: an equal version has the same bundle, and the same "note", or is ready ("bundle").
    """

    file: str
    model: str
    note: str
    compiled: str
    home: str
    registry: str = ""
    artifacts: str = ""
    config: str | None = None
    config_file: str = ""
    trust: bool = False
    who: str = "watch"
    max_batch_rows: int | None = None
    max_wait_s: float | None = None
    same: Literal["note", "bundle"] = "note"


class Pushed(msgspec.Struct, frozen=True):
    """What came of it: a version, or a message and whether another try may end otherwise.

    Args:
        version: 0 when there is none.
        message: why there is none.
        again: another try may end otherwise.
        code: of the error.
        model: what the model is called.
        known: an equal version was there already.
    """

    version: int = 0
    message: str = ""
    again: bool = False
    code: str = ""
    model: str = ""
    known: bool = False
