"""Hearing of changes: PostgreSQL says so, SQLite is asked.

One rule: a wake-up is only a hint. Whoever wakes asks ``changes_since``; so a lost one costs a moment, never
a change.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import MissingExtra, Unavailable
from modelyard.store.database import CHANNEL

if TYPE_CHECKING:
    from modelyard.store.ledger import Ledger


class Watch:
    """Waits until the registry changes; for one thread.

    Args:
        ledger: the index, open.
        poll_s: how often SQLite is asked; PostgreSQL ten times as seldom, as a safety net.
    """

    def __init__(self, ledger: Ledger, poll_s: float = 0.1) -> None:
        self._ledger = ledger
        self._poll_s = poll_s
        self._listener: Any = None

    def wait(self, since: int, timeout_s: float) -> int:
        """The number of the last change, as soon as it is not ``since``, or when the time is over.

        Raises:
            Unavailable: the database does not answer. Wait again: it comes back by itself.
        """
        stop = time.monotonic() + timeout_s
        # Listen first, ask then: what changes in between wakes us.
        self._listen()
        while True:
            change = self._ledger.change()
            left = stop - time.monotonic()
            if change != since or left <= 0:
                return change
            if self._listener is None:
                time.sleep(min(self._poll_s, left))
            else:
                self._hear(min(self._poll_s * 10, left))

    def close(self) -> None:
        """Stop listening."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def _listen(self) -> None:
        if self._ledger.database.is_sqlite or self._listener is not None:
            return
        psycopg = _psycopg()
        url = self._ledger.database.url.set(drivername="postgresql")
        try:
            self._listener = psycopg.connect(
                url.render_as_string(hide_password=False), autocommit=True, connect_timeout=5
            )
            self._listener.execute(f"LISTEN {CHANNEL}")
        except psycopg.Error as error:
            self.close()
            raise Unavailable("the registry's database does not answer; try again") from error

    def _hear(self, seconds: float) -> None:
        try:
            for _ in self._listener.notifies(timeout=seconds, stop_after=1):
                pass
        except _psycopg().Error as error:
            self.close()
            raise Unavailable("the registry's database went away; try again") from error


def _psycopg() -> Any:
    try:
        import psycopg
    except ModuleNotFoundError:
        raise MissingExtra(
            "a registry in PostgreSQL needs psycopg; run: pip install 'modelyard[postgres]'"
        ) from None
    return psycopg
