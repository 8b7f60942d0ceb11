"""What a caller of the inference port asks of the registry, by way of control."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING

from modelyard.core.errors import Overloaded, Unavailable, error_of
from modelyard.serve.link import Ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.serve.link import Answer

MOST_OPEN = 256
"""Asks that may wait for their answers at one time."""


class Asks:
    """Questions on their way, and who waits for their answers.

    Args:
        send: says it to control; False when nobody listens.
        wait_s: how long an answer may take.
    """

    def __init__(self, send: Callable[[Ask], bool], wait_s: float) -> None:
        self._send = send
        self._wait_s = wait_s
        self._ids = count(1)
        self._open: dict[int, asyncio.Future[Answer]] = {}

    async def ask(self, verb: str, model: str, version: int = 0) -> None:
        """Ask, and wait until it is carried out.

        Raises:
            Unavailable: no control is connected, or it went away, or did not answer in time.
            Overloaded: too many others wait.
            ModelyardError: what control said against it.
        """
        if len(self._open) >= MOST_OPEN:
            raise Overloaded(f"{MOST_OPEN} such requests wait already; try again")
        own = next(self._ids)
        self._open[own] = waiting = asyncio.get_running_loop().create_future()
        try:
            if not self._send(Ask(own, verb, model, version)):
                raise _nobody()
            answer = await asyncio.wait_for(waiting, self._wait_s)
        except TimeoutError:
            raise Unavailable(
                "the control process did not answer in time; look before you try again"
            ) from None
        finally:
            self._open.pop(own, None)
        if answer.code:
            raise error_of(answer.code, answer.message)

    def answered(self, answer: Answer) -> None:
        """Control answered."""
        waiting = self._open.get(answer.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def left(self) -> None:
        """Control is gone: nobody will answer any more."""
        for waiting in self._open.values():
            if not waiting.done():
                waiting.set_exception(_nobody())


def _nobody() -> Unavailable:
    return Unavailable("the control process is not there now, so nothing can be changed; try again")
