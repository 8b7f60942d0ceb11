"""What a client does, in steps, without doing any I/O.

One rule: each verb is a generator that yields what should be sent (``Send``) or waited for (``Pause``) and is
given the answers, so the blocking and the asyncio client run the very same steps, and a test needs no socket.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import count
from random import random
from time import monotonic
from typing import Any, NamedTuple, TypeAlias, TypeVar

from msgspec import Struct

from modelyard.client.call import Answer, Call, Dialect, Inference, ModelInfo, Order, ServerInfo
from modelyard.client.codec import wire_array
from modelyard.client.errors import Unreachable
from modelyard.client.feed import to_inputs
from modelyard.client.prediction import Prediction, read_prediction
from modelyard.core.errors import BadInput, BadRequest, DeadlineExceeded

T = TypeVar("T")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0


class Send(NamedTuple):
    """Send this call; it may take this long."""

    call: Call[Any]
    timeout_s: float


class Pause(NamedTuple):
    """Wait."""

    wait_s: float


Steps: TypeAlias = Generator["Send | Pause", "Answer | None", T]


class Patience(Struct, frozen=True):
    """How long to wait and how often to try again.

    Args:
        timeout_s: for one verb, tries and pauses included.
        retries: tries after the first when nobody answers or the server says that it is busy.
    """

    timeout_s: float = 60.0
    retries: int = 0


def pause_s(attempt: int, asked: str | None, chance: float) -> float:
    """How long to wait before try ``attempt`` + 1: as the server asks, else doubling, with jitter.

    >>> pause_s(0, None, 1.0), pause_s(2, None, 0.0), pause_s(0, "2", 0.0)
    (0.1, 0.2, 2.0)
    """
    if asked is not None and asked.isascii() and asked.isdigit() and len(asked) < 7:
        return float(asked) + chance * FIRST_PAUSE_S
    longest: float = min(FIRST_PAUSE_S * 2**attempt, LONGEST_PAUSE_S)
    return longest * (0.5 + chance / 2)


class Verbs:
    """The steps of every verb; owns the metadata that has been read, and nothing else."""

    def __init__(
        self, dialect: Dialect, url: str, patience: Patience, clock: Callable[[], float] = monotonic
    ) -> None:
        self._dialect = dialect
        self._url = url
        self._patience = patience
        self._clock = clock
        self._known: dict[tuple[str, str], ModelInfo] = {}

    def server(self) -> Steps[ServerInfo]:
        """Who answers."""
        return self._ask(self._dialect.server(), self._until())

    def live(self) -> Steps[bool]:
        """Whether a server is there."""
        return self._health(self._dialect.health(ready=False))

    def ready(self) -> Steps[bool]:
        """Whether it takes requests."""
        return self._health(self._dialect.health(ready=True))

    def model_ready(self, model: str, version: str | int | None) -> Steps[bool]:
        """Whether a model takes requests."""
        return self._health(self._dialect.model_ready(model, _version(version)))

    def metadata(self, model: str, version: str | int | None) -> Steps[ModelInfo]:
        """What a model takes and gives; read anew each time."""
        return self._metadata(model, _version(version), self._until())

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        outputs: Sequence[str] | None,
        version: str | int | None,
        timeout_s: float | None,
        priority: int,
        parameters: Mapping[str, Any] | None,
    ) -> Steps[Inference]:
        """Named tensors, sent as they are."""
        arrays = {name: wire_array(name, value) for name, value in inputs.items()}
        order = Order(
            model,
            _version(version),
            arrays,
            outputs,
            priority=priority,
            timeout_s=timeout_s,
            parameters=parameters,
        )
        return self._ask(self._dialect.infer(order), self._until(timeout_s))

    def predict(
        self, model: str, rows: Any, *, version: str | int | None, timeout_s: float | None, priority: int
    ) -> Steps[Prediction]:
        """Rows in any form, fitted to what the model takes.

        What the model takes is asked once. When the rows do not fit what was known from earlier, or the
        server says so, it is asked again: the model may have been replaced meanwhile.
        """
        until, text = self._until(timeout_s), _version(version)
        info = self._known.get((model, text))
        while True:
            known_before = info is not None
            if info is None:
                info = yield from self._metadata(model, text, until)
            try:
                order = Order(
                    model, text, to_inputs(rows, info.signature), priority=priority, timeout_s=timeout_s
                )
                inference = yield from self._ask(self._dialect.infer(order), until)
            except (BadInput, BadRequest):
                if not known_before:
                    raise
                fresh = yield from self._metadata(model, text, until)
                if fresh.signature == info.signature:
                    raise
                info = fresh
                continue
            return read_prediction(inference, info.signature)

    def _metadata(self, model: str, version: str, until: float) -> Steps[ModelInfo]:
        info = yield from self._ask(self._dialect.model(model, version), until)
        self._known[model, version] = info
        return info

    def _health(self, call: Call[bool]) -> Steps[bool]:
        """Nobody there is an answer too."""
        try:
            return (yield from self._ask(call, self._until(), retries=0))
        except Unreachable:
            return False

    def _ask(self, call: Call[T], until: float, retries: int | None = None) -> Steps[T]:
        """Send a call, again if that may help, and read its answer."""
        most = self._patience.retries if retries is None else retries
        for attempt in count():
            answer, failure, asked = None, None, None
            try:
                answer = yield Send(call, self._left(until))
            except Unreachable as error:
                failure = error
            if answer is not None:
                asked = answer.headers.get("retry-after")
            again = answer is None or call.busy(answer)
            wait_s = pause_s(attempt, asked, random())  # noqa: S311 - jitter
            if again and attempt < most and wait_s < until - self._clock():
                yield Pause(wait_s)
                continue
            if answer is None:
                raise failure or Unreachable(f"nobody answers at {self._url}")
            return call.read(answer)
        raise AssertionError  # pragma: no cover - count() does not end

    def _until(self, timeout_s: float | None = None) -> float:
        return self._clock() + (self._patience.timeout_s if timeout_s is None else timeout_s)

    def _left(self, until: float) -> float:
        left = until - self._clock()
        if left <= 0:
            raise DeadlineExceeded(f"the time for this call to {self._url} is over")
        return left


def _version(version: str | int | None) -> str:
    return "" if version is None else str(version)
