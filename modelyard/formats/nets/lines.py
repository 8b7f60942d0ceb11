"""What a model takes, as one line of a command: ``x:float32[N,3,224,224]``.

Some files hold a program and no shapes. The operator says them with ``--input``; a name in the brackets is
any size, and the first axis counts rows when it is one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from modelyard.core.errors import BadInput
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import DTYPES, dtype_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelyard.core.tensor import Array

_WORDS = {
    **{name.lower(): name for name in DTYPES},
    "float16": "FP16",
    "half": "FP16",
    "float32": "FP32",
    "float": "FP32",
    "float64": "FP64",
    "double": "FP64",
    "int": "INT64",
    "long": "INT64",
    "string": "BYTES",
}
_SPELLED = {"FP16": "float16", "FP32": "float32", "FP64": "float64", "BYTES": "string"}
_LINE = re.compile(r"\s*(?P<name>[^:\[\]\s]{1,200})\s*:\s*(?P<dtype>\w+)\s*\[(?P<sizes>[^\[\]]*)\]\s*")
_SIZE = re.compile(r"[1-9]\d{0,9}")
_OPEN = re.compile(r"-1|\?|[A-Za-z_]\w*")
_AXES = 16


def read_lines(lines: Iterable[str]) -> tuple[TensorSpec, ...]:
    """Read ``--input`` lines.

    >>> [one.wire_shape() for one in read_lines(["x:float32[N,3,224,224]"])]
    [[-1, 3, 224, 224]]

    Raises:
        BadInput: a line that says something else, or one name twice.
    """
    found: dict[str, TensorSpec] = {}
    for line in lines:
        spec = read_line(line)
        if spec.name in found:
            raise BadInput(f"--input names {spec.name!r} twice; give each input once")
        found[spec.name] = spec
    return tuple(found.values())


def read_line(line: str) -> TensorSpec:
    """Read one.

    Raises:
        BadInput: it says something else; the message shows the form.
    """
    match = _LINE.fullmatch(str(line))
    if match is None:
        raise BadInput(f"--input {str(line)[:80]!r} is not of the form name:datatype[sizes], as {EXAMPLE}")
    dtype = _WORDS.get(match["dtype"].lower())
    if dtype is None:
        known = ", ".join(_SPELLED.get(name, name.lower()) for name in DTYPES)
        raise BadInput(f"--input {line[:80]!r}: there is no datatype {match['dtype']!r}; use one of {known}")
    words = [word.strip() for word in match["sizes"].split(",")] if match["sizes"].strip() else []
    if len(words) > _AXES:
        raise BadInput(f"--input {line[:80]!r} has {len(words)} axes; at most {_AXES} are read")
    return TensorSpec(match["name"], DTYPES[dtype], tuple(_size(word, line) for word in words))


EXAMPLE = "x:float32[N,3,224,224]"
"""How a line looks."""


def _size(word: str, line: str) -> int | None:
    if _SIZE.fullmatch(word):
        return int(word)
    if _OPEN.fullmatch(word):
        return None
    raise BadInput(f"--input {line[:80]!r}: {word[:20]!r} is no size; give a number, or a name for any size")


def line_of(spec: TensorSpec) -> str:
    """The line that says a spec.

    >>> line_of(read_line("x:fp32[-1,4,?]"))
    'x:float32[N,4,A]'
    """
    sizes = []
    letters = iter("ABCDEFGHIJKLMNOP")
    for at, size in enumerate(spec.shape):
        sizes.append(str(size) if size is not None else "N" if at == 0 else next(letters))
    return f"{spec.name}:{_SPELLED.get(spec.dtype.name, spec.dtype.name.lower())}[{','.join(sizes)}]"


def spec_of_rows(name: str, rows: Array) -> TensorSpec:
    """What one array of rows shows: any number of rows, and the shape of one.

    Numbers without a stated width are taken as float32, which networks take.

    Raises:
        BadInput: a datatype that no protocol carries.
    """
    try:
        dtype = dtype_of(rows)
    except KeyError as error:
        raise BadInput(f"the sample holds {rows.dtype}, which no protocol carries") from error
    if dtype.name == "FP64":
        dtype = DTYPES["FP32"]
    return TensorSpec(name, dtype, (None, *rows.shape[1:]))


def in_order(specs: Sequence[TensorSpec], names: Sequence[str]) -> tuple[TensorSpec, ...]:
    """Stated inputs in the order of a function's parameters: by name where all names fit, else as given.

    Raises:
        BadInput: more inputs than parameters.
    """
    if len(specs) > len(names):
        raise BadInput(f"--input is given {len(specs)} times, the model takes {', '.join(names)}")
    by_name = {spec.name: spec for spec in specs}
    if set(by_name) <= set(names):
        return tuple(by_name[name] for name in names if name in by_name)
    return tuple(specs)
