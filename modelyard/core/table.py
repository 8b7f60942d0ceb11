"""What can be extended: a table of ``name -> "module:attr"`` rows.

A row is imported only when it is used, so a backend whose package is absent costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from modelyard.core.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


class Table(Generic[T]):
    """An ordered, closed set of named rows.

    >>> Table({"json": "json:loads"}).load("json")("[1]")
    [1]
    """

    def __init__(self, rows: dict[str, str], what: str = "row") -> None:
        self._rows = dict(rows)
        self._what = what

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def load(self, name: str) -> T:
        """Import a row.

        Raises:
            KeyError: no such row.
            MissingExtra: the row needs a package that is not installed.
        """
        module, _, attr = self._rows[name].partition(":")
        try:
            found: Any = getattr(import_module(module), attr)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("modelyard"):
                raise
            raise MissingExtra(
                f"{self._what} {name!r} needs the package {error.name!r}; run: pip install 'modelyard[all]'"
            ) from error
        return found  # type: ignore[no-any-return]
