"""Bundles on their way to this machine's disk: each once, a few at a time, again when it failed."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from modelyard.control.fetched import Fetched, read_fetched
from modelyard.core.errors import ModelyardError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from modelyard.artifact.bundle import Bundle

log = logging.getLogger("modelyard.control")

AT_ONCE = 4
FIRST_WAIT_S, MOST_WAIT_S = 0.5, 30.0


class Fetcher:
    """Fetches what is asked for until it is there or nobody wants it any more.

    Args:
        fetch: digest -> bundle; it blocks, and runs in threads.
        done: called on the loop when something was fetched, or was not.
    """

    def __init__(self, fetch: Callable[[str], Bundle], done: Callable[[str], None]) -> None:
        self._fetch = fetch
        self._done = done
        self._pool = ThreadPoolExecutor(AT_ONCE, "fetch")
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._tried: set[str] = set()
        self.there: dict[str, Fetched] = {}
        self.failed: dict[str, str] = {}

    @property
    def idle(self) -> bool:
        """Whether everything that is wanted is there, or was tried."""
        return all(digest in self._tried for digest in self._tasks)

    def want(self, digests: Collection[str]) -> None:
        """What is wanted from now on; what is not among them is forgotten, its files stay."""
        for digest in [digest for digest in self._tasks if digest not in digests]:
            self._tasks.pop(digest).cancel()
        for known in (self.there, self.failed):
            for digest in [digest for digest in known if digest not in digests]:
                del known[digest]
        self._tried &= set(digests)
        for digest in digests:
            if digest not in self.there and digest not in self._tasks:
                self._tasks[digest] = asyncio.ensure_future(self._bring(digest))

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _bring(self, digest: str) -> None:
        loop, wait_s = asyncio.get_running_loop(), FIRST_WAIT_S
        while True:
            try:
                found = await loop.run_in_executor(self._pool, self._read, digest)
            except (ModelyardError, OSError) as error:
                said = error.message if isinstance(error, ModelyardError) else str(error)
                if self.failed.get(digest) != said:
                    log.warning("bundle %s cannot be fetched: %s", digest[:12], said)
                self.failed[digest] = said
                # A store that is away comes back soon; what is damaged has to be mended by somebody.
                wait_s = min(wait_s * 2, MOST_WAIT_S) if isinstance(error, Unavailable) else MOST_WAIT_S
            else:
                self.there[digest] = found
                self.failed.pop(digest, None)
                del self._tasks[digest]
                self._done(digest)
                return
            self._tried.add(digest)
            self._done(digest)
            await asyncio.sleep(wait_s)

    def _read(self, digest: str) -> Fetched:
        return read_fetched(self._fetch(digest))
