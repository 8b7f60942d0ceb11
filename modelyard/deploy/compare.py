"""Two versions side by side, by what their manifests say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from modelyard.artifact.manifest import Manifest

_MOST_TEXT = 200
_NOTHING = ""


class Line(Struct, frozen=True):
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
    return tuple(
        Line(what, left.get(what, _NOTHING), right.get(what, _NOTHING))
        for left, right in zip(_facts(a), _facts(b), strict=True)
        for what in dict.fromkeys((*left, *right))
    )


def _facts(manifest: Manifest) -> tuple[dict[str, str], ...]:
    size = sum(part.size for part in manifest.parts)
    files = {f"file {part.name}": f"{part.sha256[:12]}, {part.size:,} bytes" for part in manifest.parts}
    return {"bundle": manifest.digest, "size": f"{size:,} bytes"}, dict(_flat("", manifest.facts)), files


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every leaf with its path; a row of a list is one line and goes by its name."""
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _flat(f"{path}.{key}" if path else str(key), value[key])
        return
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        for at, row in enumerate(value):
            yield f"{path}.{_name(row, at)}", _row(row)
        return
    yield path, _text(value)


def _name(row: Mapping[str, Any], at: int) -> str:
    name = row.get("name")
    return name if isinstance(name, str) else str(at)


def _row(row: Mapping[str, Any]) -> str:
    told = [(key, _text(row[key])) for key in row if key != "name" and row[key] not in (None, [], "")]
    return _text(", ".join(f"{key} {text}" for key, text in told))


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
