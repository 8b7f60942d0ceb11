"""Names of models and references to their versions."""

from __future__ import annotations

import re

from msgspec import Struct

from modelyard.core.errors import BadInput

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class ModelRef(Struct, frozen=True):
    """A model and, if stated, one of its versions (a positive integer)."""

    name: str
    version: int | None = None


def check_name(name: str) -> str:
    """The name, if it may be one: it goes into URLs, file names and metrics unquoted.

    Raises:
        BadInput: anything but 1 to 128 ASCII letters, digits, ``.``, ``_`` and ``-`` after a letter or digit.
    """
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"a model cannot be named {name[:80]!r}; use 1 to 128 letters, digits, '.', '_' and '-', "
            "starting with a letter or a digit"
        )
    return name


def parse_ref(text: str) -> ModelRef:
    """Read a reference.

    >>> parse_ref("iris:3").version
    3

    Raises:
        BadInput: not a name, or not a positive version.
    """
    name, colon, version = text.partition(":")
    check_name(name)
    if not colon:
        return ModelRef(name)
    if not version.isascii() or not version.isdigit() or not 0 < int(version[:20]) < 2**63:
        raise BadInput(f"{version[:80]!r} is not a version; a version is a positive whole number")
    return ModelRef(name, int(version))


def name_of_file(stem: str) -> str:
    """A model's name from a file's, when nobody gave one.

    >>> name_of_file("iris_model")
    'iris'
    """
    short = re.sub(r"[_.-]?model$", "", stem, flags=re.IGNORECASE) or stem
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", short).strip("._-")
    return clean[:128] or "model"
