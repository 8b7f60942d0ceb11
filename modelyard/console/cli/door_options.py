"""Ports of one protocol: what ``--dialect NAME@PORT`` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.core.errors import BadInput
from modelyard.serve.dialects.table import DIALECTS
from modelyard.serve.options import Door

if TYPE_CHECKING:
    from collections.abc import Sequence

HELP = "Another port with one protocol, " + ", ".join(DIALECTS) + "; may be repeated."


def parse_doors(texts: Sequence[str], taken: Sequence[int | None] = ()) -> tuple[Door, ...]:
    """The doors that were asked for.

    >>> parse_doors(["tfserving@8501"])
    (Door(dialect='tfserving', port=8501),)

    Raises:
        BadInput: no such dialect, no port, or a port that is taken twice.
    """
    doors: list[Door] = []
    used = {port for port in taken if port}
    for text in texts:
        name, _, port = text.partition("@")
        if name not in DIALECTS:
            raise BadInput(f"--dialect {text[:60]!r}: {name[:40]!r} is none of {', '.join(DIALECTS)}")
        if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
            raise BadInput(f"--dialect {text[:60]!r}: give it a port from 1 to 65535, as {name}@8501")
        if int(port) in used:
            raise BadInput(f"--dialect {text[:60]!r}: port {port} is taken by another option")
        used.add(int(port))
        doors.append(Door(name, int(port)))
    return tuple(doors)
