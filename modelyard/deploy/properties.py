"""Java's ``.properties`` format, as far as configuration files use it.

Source: the documentation of ``java.util.Properties.load``. A pure function of the text.
"""

from __future__ import annotations

import re

from msgspec import Struct

from modelyard.core.errors import BadConfig

MOST_BYTES = 1 << 20
_PAIR = re.compile(r"((?:\\.|[^\\\s:=])*)\s*[:=]?\s*(.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_LETTERS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


class Property(Struct, frozen=True):
    """One property; ``line`` is where it begins, from 1 on."""

    line: int
    key: str
    value: str


def read_properties(text: str, file: str) -> tuple[Property, ...]:
    """The properties in their order.

    >>> read_properties(chr(10).join(["# a comment", "a=1", "b : two"]), "x")[1]
    Property(line=3, key='b', value='two')

    Raises:
        BadConfig: a key that stands there twice, an escape that is none, or too much text.
    """
    if len(text) > MOST_BYTES:
        raise BadConfig(f"{file}: more than {MOST_BYTES} characters are no configuration")
    found: dict[str, Property] = {}
    for number, line in _logical(text):
        pair = _PAIR.fullmatch(line)
        if pair is None:
            raise BadConfig(f"{file}, line {number}: not a property; write it as key=value")
        key, value = (_plain(part, file, number) for part in pair.groups())
        if key in found:
            raise BadConfig(f"{file}, line {number}: {key[:80]!r} is in line {found[key].line} already")
        found[key] = Property(number, key, value.strip())
    return tuple(found.values())


def _logical(text: str) -> list[tuple[int, str]]:
    """Lines without comments, those that go on joined."""
    found: list[tuple[int, str]] = []
    held, begun = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.lstrip()
        if not held and (not stripped or stripped[0] in "#!"):
            continue
        held, begun = held + stripped, begun or number
        if (len(stripped) - len(stripped.rstrip("\\"))) % 2:
            held = held[:-1] or " "
            continue
        found.append((begun, held))
        held, begun = "", 0
    if held:
        found.append((begun, held))
    return found


def _plain(text: str, file: str, number: int) -> str:
    def letter(found: re.Match[str]) -> str:
        mark = found[1]
        if len(mark) == 5:
            return chr(int(mark[1:], 16))
        if mark == "u":
            raise BadConfig(f"{file}, line {number}: \\u is followed by four hexadecimal digits")
        return _LETTERS.get(mark, mark)

    return _ESCAPE.sub(letter, text)
