"""Two versions side by side, by what their manifests say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from modelyard.artifact.manifest import Manifest

_MOST_TEXT = 200
_NOTHING = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One fact of two versions; an empty text is a fact that is not there."""

    what: str
    a: str
    b: str

    @property
    def same(self) -> bool:
        """Whether both say the same."""
        return self.a == self.b


def compare(a: Manifest, b: Manifest) -> tuple[Line, ...]:
    """Every fact of either, in one order: the bundle, its facts by path, its files."""
    left, right = dict(_facts(a)), dict(_facts(b))
    order = list(dict.fromkeys((*left, *right)))
    return tuple(Line(what, left.get(what, _NOTHING), right.get(what, _NOTHING)) for what in order)


def _facts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield "bundle", manifest.digest
    yield "size", str(sum(part.size for part in manifest.parts))
    yield from _flat("", manifest.facts)
    for part in manifest.parts:
        yield f"file {part.name}", f"{part.sha256[:12]}, {part.size:,} bytes"


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every leaf with its path; named rows of a list go by their names."""
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _flat(f"{path}.{key}" if path else str(key), value[key])
        return
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        for at, row in enumerate(value):
            yield from _flat(f"{path}.{_name(row, at)}", {key: row[key] for key in row if key != "name"})
        return
    yield path, _text(value)


def _name(row: Mapping[str, Any], at: int) -> str:
    name = row.get("name")
    return name if isinstance(name, str) else str(at)


def _text(value: Any) -> str:
    if value is None:
        return _NOTHING
    if isinstance(value, list):
        text = "[" + ", ".join(_text(item) if item is not None else "any" for item in value) + "]"
    elif isinstance(value, float):
        text = f"{value:.6g}"
    else:
        text = str(value)
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1] + "…"
