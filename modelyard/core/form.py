"""What is said of a model's form that may answer sooner: ``formats`` makes it, ``compiler`` judges it."""

from __future__ import annotations

from msgspec import Struct


class Form(Struct, frozen=True):
    """Such a form.

    Args:
        what: as a report names it; empty: there is none.
        sizes: rows of the runs that are timed.
        gain: how much faster it must be over all sizes, the geometric mean. Most forms take memory of their
            own, and less is not worth that.
    """

    what: str
    sizes: tuple[int, ...] = (1, 16)
    gain: float = 1.25
