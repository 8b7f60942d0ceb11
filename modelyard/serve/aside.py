"""Blocking work beside the event loop."""

from __future__ import annotations

import asyncio
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def aside(work: Callable[[], T], name: str = "aside") -> T:
    """Do ``work`` in a thread of its own and hand back what it gives or raises.

    A daemon thread, and no executor: a model file that never ends opening must not keep the process from
    ending.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(value)  # type: ignore[arg-type]  # there is a value where there is no error

    def run() -> None:
        value: T | None = None
        finding: BaseException | None = None
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            finding = error
        try:
            loop.call_soon_threadsafe(settle, value, finding)
        except RuntimeError:
            return  # the loop is closed: nobody is left to hear

    Thread(target=run, name=name, daemon=True).start()
    return await done
