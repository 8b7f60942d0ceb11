"""Questions about a model that need it loaded: its metadata, its configuration."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from modelyard.core.errors import ModelyardError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.routes import Route, Slot


class Lookup:
    """One question, which waits like a request when the model is cold.

    Args:
        answer: called with the slot; it may raise a ``ModelyardError``.
        fail: called with the error instead.
        surface: under which a failure is counted.
    """

    __slots__ = ("_answer", "_fail", "_plane", "_route", "_slot", "deadline", "surface")

    size_bytes = 0

    def __init__(
        self,
        plane: DataPlane,
        route: Route,
        surface: str,
        answer: Callable[[Slot], None],
        fail: Callable[[ModelyardError], None],
    ) -> None:
        self._plane = plane
        self._route = route
        self._answer = answer
        self._fail = fail
        self._slot: Slot | None = None
        self.surface = surface
        self.deadline = monotonic() + plane.request_s

    def start(self) -> None:
        """Answer now, or when the model is loaded.

        Raises:
            ModelyardError: what the answer raises, or that too many wait.
        """
        wanted = self.place()
        if wanted is None:
            self._answer(self._found())
        else:
            self._plane.parking.put(self, wanted)

    def place(self) -> tuple[str, str] | None:
        """Look at the routes again; see ``Parked``."""
        self._route = route = self._plane.routes.route(self._route.name, self._route.version)
        self._slot = route.main
        return (route.name, route.versions[0]) if self._slot is None else None

    def resume(self) -> None:
        """The model is loaded."""
        try:
            self._answer(self._found())
        except ModelyardError as error:
            self.finish(error)

    def finish(self, error: ModelyardError) -> None:
        """It ends with an error."""
        self._plane.refuse(self.surface, error)
        self._fail(error)

    def cancel(self) -> None:
        """The caller went away."""
        self._plane.parking.drop(self)

    def _found(self) -> Slot:
        if self._slot is None:
            raise Unavailable(f"model {self._route.name[:80]!r} is not loaded; try again")
        return self._slot
