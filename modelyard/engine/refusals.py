"""Why a request is not run: the errors of the engine's door. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.core.errors import DeadlineExceeded, TooLarge, Unavailable

if TYPE_CHECKING:
    from modelyard.engine.timing import RunTimes


def not_taking() -> Unavailable:
    """The engine drains, or is closed or not open yet."""
    return Unavailable("the model is not taking requests now; try again, or ask another replica")


def unloading() -> Unavailable:
    """The engine closes while requests wait."""
    return Unavailable("the model is being unloaded; try again, or ask another replica")


def hanging(max_run_s: float) -> Unavailable:
    """A run has taken longer than any may."""
    return Unavailable(
        f"the model has been busy with one batch for more than {max_run_s:g} s; "
        "try again later, or ask another replica"
    )


def late() -> DeadlineExceeded:
    """Nobody waits any more."""
    return DeadlineExceeded("the time that this request had is over; it was not run to its end")


def check_size(rows: int, times: RunTimes, max_run_s: float) -> None:
    """Refuse what the model could not answer in time.

    Raises:
        TooLarge: it would take longer than ``max_run_s``.
    """
    expected = times.guess(rows)
    if expected > max_run_s:
        raise TooLarge(
            f"{rows} rows would take this model about {expected:.0f} s, and one request may take "
            f"{max_run_s:g} s; send fewer rows at a time"
        )
