"""One request's place in the engine.

One rule: whoever moves a job to ``DONE`` is the one who answers it, so it is answered once at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.core.errors import ModelyardError
    from modelyard.core.request import Together
    from modelyard.core.tensor import Array

    Reply: TypeAlias = Callable[[tuple[Array, ...] | None, ModelyardError | None], None]
    Shapes: TypeAlias = tuple[tuple[int, ...], ...]

NEW, WAITING, RUNNING, DONE = range(4)


class Job:
    """What one request brings, and where it stands.

    Args:
        inputs: C-contiguous arrays in the order of the signature.
        rows: entries along their first axis; 1 when the model is not batched.
        reply: called on the loop, once at most: with outputs, or with an error. Never after ``cancel``.
        priority: 0 is normal, 1 is urgent, -1 waits behind all other.
        deadline: monotonic seconds after which nobody wants the answer; None is never.

    Attributes:
        together: the outputs of the run that answered it, when that had one row of each of several jobs.
        row: which of these rows is this job's.
    """

    __slots__ = (
        "arrived", "deadline", "inputs", "priority", "reply", "row", "rows", "shapes", "state", "together",
    )  # fmt: skip

    def __init__(
        self,
        inputs: tuple[Array, ...],
        rows: int,
        reply: Reply,
        priority: int = 0,
        deadline: float | None = None,
    ) -> None:
        self.inputs = inputs
        self.rows = rows
        self.reply = reply
        self.priority = priority
        self.deadline = deadline
        self.arrived = 0.0
        self.shapes: Shapes = ()
        self.state = NEW
        self.together: Together | None = None
        self.row = 0
