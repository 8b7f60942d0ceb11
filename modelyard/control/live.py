"""What the admin API asks of the processes of this host; the supervisor answers, or nobody does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.client.admin_values import CopyRow, WorkerRow
    from modelyard.monitor.observations import Observations


class Live(Protocol):
    """A running control process; every method but the last answers at once, from memory."""

    def workers(self) -> Sequence[WorkerRow]:
        """The workers of every host that is known, this one's first."""
        ...

    def copies(self) -> Sequence[CopyRow]:
        """Which versions every worker holds."""
        ...

    def observations(self) -> Observations:
        """The sums of this host's workers."""
        ...

    def problems(self) -> Sequence[str]:
        """What is wrong now, a sentence each; none means that all is well."""
        ...

    async def settle(self, model: str, revision: int, timeout_s: float) -> bool:
        """Wait until every worker of this host serves what that revision of a model says.

        Returns:
            False when the time was over first, or when a version of it failed to load.
        """
        ...
