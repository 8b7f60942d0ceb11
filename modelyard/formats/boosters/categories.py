"""Values that a booster knows by number: the numbering that its training table had.

One rule: a value that training never saw never gets a neighbour's number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from modelyard.core.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.tensor import Array


class Codes(Struct, frozen=True):
    """One column's numbering.

    Args:
        values: texts or numbers, in order; the place is the number.
        unseen: what stands for a value that is not among them.
        missing: what stands for an empty text or NaN.
    """

    values: tuple[str | float, ...]
    unseen: float
    missing: float = np.nan

    @classmethod
    def of(cls, values: Sequence[object], unseen: float) -> Codes:
        """Numbering of a list as a library kept it.

        >>> Codes.of(["x", "y"], np.nan).of_texts(np.array([b"y"], dtype=object)).tolist()
        [1.0]
        """
        plain = tuple(item if isinstance(item, str) else float(str(item)) for item in values)
        return cls(plain, unseen)

    @property
    def are_texts(self) -> bool:
        """Whether clients send text."""
        return any(isinstance(value, str) for value in self.values)

    def of_texts(self, part: Array) -> Array:
        """Numbers for a column of ``bytes``.

        Raises:
            BadInput: text that is not UTF-8.
        """
        known = {str(value): float(at) for at, value in enumerate(self.values)}
        known.setdefault("", self.missing)
        return np.array([known.get(text, self.unseen) for text in self.texts(part)], dtype=np.float64)

    def of_numbers(self, part: Array) -> Array:
        """Numbers for a column of numbers."""
        known = {float(value): float(at) for at, value in enumerate(self.values)}
        wide = part.astype(np.float64).tolist()
        return np.array(
            [self.missing if item != item else known.get(item, self.unseen) for item in wide]  # noqa: PLR0124  (NaN)
        )

    @staticmethod
    def texts(part: Array) -> list[str]:
        """A column of ``bytes`` as text.

        Raises:
            BadInput: text that is not UTF-8.
        """
        try:
            return [item.decode() for item in part]
        except UnicodeDecodeError as error:
            raise BadInput("a text value is not UTF-8; encode strings as UTF-8") from error
