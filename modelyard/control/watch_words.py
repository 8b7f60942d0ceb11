"""What a watcher and the children that push for it say to each other."""

from __future__ import annotations

import msgspec


class PushJob(msgspec.Struct, frozen=True):
    """What to push.

    Args:
        file: the model's file or folder.
        model: its name.
        note: what the version is called by.
        compiled: where compiled models are kept.
        home: of the yard; ``registry`` and ``artifacts`` are its addresses, if elsewhere.
        config: the text of its ``config.pbtxt``.
        config_file: how that file is called in messages.
        trust: open an unsafe file even where this kernel cannot confine it.
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


class Pushed(msgspec.Struct, frozen=True):
    """What came of it: a version, or a message and whether another try may end otherwise."""

    version: int = 0
    message: str = ""
    again: bool = False
