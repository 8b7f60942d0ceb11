"""How a handler says how far it is; silent where nobody listens."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Listener: TypeAlias = Callable[[str, float | None], None]


class _Line:
    """The one listener of this process: a handler has no other way to be given it."""

    listener: Listener | None = None


def report_progress(text: str, fraction: float | None = None) -> None:
    """Tell the parent what is being done.

    Args:
        text: a few words.
        fraction: 0 to 1, or None when it cannot be known.
    """
    if _Line.listener is not None:
        _Line.listener(text, fraction)


def listen(listener: Listener | None) -> None:
    """Send what ``report_progress`` is told to ``listener``; None silences it."""
    _Line.listener = listener
