"""What this host is: its workers, what they hold, what they counted; and what they are told to hold.

One rule: everything here is answered from memory, at once. It is what the admin API asks (``live.Live``) and
what hears the workers (``running.Crew``).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from modelyard.client.admin_values import CopyRow, WorkerRow
from modelyard.control.sums import HostSums
from modelyard.serve.link import Actual, Ask, Desired, Elsewhere, Repository, Seen, frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from modelyard.control.reconcile import Reconciler
    from modelyard.control.running import Berth, Running
    from modelyard.control.supervisor import Supervisor
    from modelyard.monitor.observations import Observations
    from modelyard.serve.link import Copy, WantedModel

_COMING = frozenset(("absent", "loading", "proving", "warming"))
_PAUSE_S = 0.05
"""Changes that come together are sent together."""


class Others(Protocol):
    """What the other hosts say of themselves."""

    def workers(self) -> Sequence[WorkerRow]:
        """Their workers."""

    def copies(self) -> Sequence[CopyRow]:
        """What those hold."""


class Host:
    """See the module.

    Args:
        name: the host's.
        asked: hears what callers of the inference ports ask of the registry.
        problems: what else is wrong.
    """

    def __init__(
        self,
        name: str,
        asked: Callable[[Running, Ask], None],
        problems: Callable[[], Iterable[str]],
    ) -> None:
        self.name = name
        self.sums = HostSums()
        self.supervisor: Supervisor | None = None
        self.reconciler: Reconciler | None = None
        self.others: Others | None = None
        self.changed = asyncio.Event()
        self.buried = asyncio.Event()
        self.trouble = ""
        self._asked = asked
        self._problems = problems
        self._desired: bytes | None = None
        self._index: bytes | None = None
        self._models: dict[str, WantedModel] = {}
        self._told_generation: dict[Running, int] = {}
        self._sending: asyncio.TimerHandle | None = None
        self._told: dict[Running, Observations] = {}

    # what workers say

    def heard(self, worker: Running, message: Actual | Seen | Ask) -> None:
        """A worker said something."""
        if isinstance(message, Seen):
            self.sums.hear(worker, message.seen)
        elif isinstance(message, Ask):
            self._asked(worker, message)
        else:
            worker.served = worker.served or (message.settled and message.generation > 0)
            self.changed.set()

    def came(self, worker: Running) -> None:
        """A worker is connected: it is told what it should hold.

        One that an earlier control left serves already; it is told nothing before all is known, or it would
        let go of what is not known yet.
        """
        self.changed.set()
        self._told_generation.pop(worker, None)
        if self._desired is not None:
            self.wish()
        if self._index is not None:
            worker.connection.send(self._index)

    def went(self, worker: Running) -> None:
        """A worker ended: what it counted stays."""
        self.sums.bury(worker)
        self._told.pop(worker, None)
        self._told_generation.pop(worker, None)
        self.buried.set()
        self.changed.set()

    # what workers are told

    @property
    def _complete(self) -> bool:
        return self.reconciler is not None and self.reconciler.complete

    def wish(self) -> None:
        """The desired state changed: the workers are told in a moment."""
        self.changed.set()
        if self._sending is None:
            self._sending = asyncio.get_running_loop().call_later(_PAUSE_S, self._send)

    def _send(self) -> None:
        self._sending = None
        reconciler, supervisor = self.reconciler, self.supervisor
        if reconciler is None or supervisor is None:
            return
        if self._desired is None or reconciler.models != self._models:
            self._models = dict(reconciler.models)
            supervisor.generation += 1
            self._desired = frame(Desired(supervisor.generation, tuple(self._models.values())))
        supervisor.may_replace = supervisor.may_replace or self._complete
        for worker in supervisor.everyone:
            behind = self._told_generation.get(worker, 0) < supervisor.generation
            if behind and (self._complete or not worker.adopted):
                self._told_generation[worker] = supervisor.generation
                worker.connection.send(self._desired)

    def tell_index(self, repository: Repository) -> None:
        """The index of the model repository, when it changed."""
        made = frame(repository)
        if made != self._index and self.supervisor is not None:
            self._index = made
            self.supervisor.send(made)

    def tell_sums(self) -> None:
        """Every worker hears what all others counted, when that changed."""
        if self.supervisor is None:
            return
        for worker in self.supervisor.everyone:
            others = self.sums.others(worker)
            if others != self._told.get(worker):
                self._told[worker] = others
                worker.connection.send(Elsewhere(others))

    # what is asked of it

    def copies_of(self, model: str) -> dict[int, list[Copy]]:
        """Version -> its copies in the workers that follow the newest wish."""
        found: dict[int, list[Copy]] = {}
        for worker in self._following():
            for copy in worker.actual.copies:
                if copy.model == model:
                    found.setdefault(copy.number, []).append(copy)
        return found

    def told(self, model: str) -> WantedModel | None:
        """What workers were told last of a model."""
        return self._models.get(model)

    def following(self) -> int:
        """How many workers follow the newest wish."""
        return len(self._following())

    def _following(self) -> list[Running]:
        supervisor = self.supervisor
        if supervisor is None:
            return []
        return [one for one in supervisor.running if one.actual.generation >= supervisor.generation]

    def holds(self, model: str, number: int) -> bool:
        """Whether some worker may still hold a version."""
        supervisor = self.supervisor
        if supervisor is None or len(self._following()) < len(supervisor.berths):
            return True
        copies = (copy for worker in supervisor.everyone for copy in worker.actual.copies)
        return any((copy.model, copy.number) == (model, number) for copy in copies)

    def serves(self, model: str, revision: int) -> bool | None:
        """Whether every worker serves what a revision says; None when a version of it failed."""
        reconciler, supervisor = self.reconciler, self.supervisor
        wanted = None if reconciler is None else reconciler.wanted.get(model)
        if wanted is None or supervisor is None or self._sending is not None:
            return False
        if wanted.current.revision < revision:
            return False
        told = self._models.get(model)
        entries = wanted.current.release.entries
        if entries and (told is None or told.revision < revision):
            return False
        workers = self._following()
        if not workers or len(workers) < len(supervisor.berths):
            return False
        for worker in workers:
            states = {copy.number: copy.state for copy in worker.actual.copies if copy.model == model}
            here = [states.get(entry.version, "absent") for entry in entries]
            if "failed" in here:
                return None
            if not all(state in ("serving", "cold") for state in here):
                return False
        return True

    def loading(self) -> int:
        """How many copies are on their way up in this host's workers."""
        return sum(copy.state in _COMING for copy in self.own_copies())

    def settled(self) -> bool:
        """Whether all that the registry says is here or was tried, and nothing is on its way any more."""
        supervisor = self.supervisor
        if supervisor is None or not self._complete or self._sending is not None:
            return False
        workers = self._following()
        return len(workers) == len(supervisor.berths) and all(one.actual.settled for one in workers)

    async def settle(self, model: str, revision: int, timeout_s: float) -> bool:
        """Wait until every worker of this host serves what that revision of a model says."""
        loop = asyncio.get_running_loop()
        stop = loop.time() + timeout_s
        while True:
            found = self.serves(model, revision)
            if found is None or found:
                return bool(found)
            if loop.time() >= stop:
                return False
            await asyncio.sleep(0.02)

    def observations(self) -> Observations:
        """The sums of this host's workers."""
        return self.sums.total()

    def problems(self) -> list[str]:
        """What is wrong now, a sentence each."""
        found = [self.trouble] if self.trouble else []
        found += self.supervisor.problems() if self.supervisor is not None else []
        found += self.reconciler.problems() if self.reconciler is not None else []
        failed = {
            f"{copy.model}:{copy.number} is not served: {copy.reason}"
            for worker in self._following()
            for copy in worker.actual.copies
            if copy.state == "failed"
        }
        return [*found, *sorted(failed), *self._problems()]

    def workers(self) -> list[WorkerRow]:
        """The workers of every host that is known, this one's first."""
        return [*self.own_workers(), *(self.others.workers() if self.others else ())]

    def own_workers(self) -> list[WorkerRow]:
        """The workers of this host."""
        return [self._row(berth) for berth in (self.supervisor.berths if self.supervisor is not None else [])]

    def copies(self) -> list[CopyRow]:
        """Which versions every worker holds."""
        return [*self.own_copies(), *(self.others.copies() if self.others else ())]

    def own_copies(self) -> list[CopyRow]:
        """Which versions the workers of this host hold."""
        return [
            CopyRow(
                self.name, f"worker-{worker.name.berth}", copy.model, copy.number,
                copy.state, copy.reason, copy.size_bytes, copy.load_s,
            )
            for worker in (self.supervisor.running if self.supervisor is not None else [])
            for copy in worker.actual.copies
        ]  # fmt: skip

    def _row(self, berth: Berth) -> WorkerRow:
        name, running = f"worker-{berth.number}", berth.running
        if running is None:
            return WorkerRow(self.name, name, 0, "waiting", restarts=berth.restarts)
        hello = running.connection.hello
        age_s = asyncio.get_running_loop().time() - running.connection.heard_s
        state = "draining" if running.draining else "ready" if running.served else "starting"
        return WorkerRow(
            self.name, name, running.child.pid, state, hello.http_port, hello.grpc_port,
            running.actual.generation, berth.restarts, round(time.time() - age_s, 3),
        )  # fmt: skip
