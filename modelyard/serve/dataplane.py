"""The data plane: permit, route, check, run, observe. Once, for every protocol.

A listener's adapter makes an ``Exchange`` of each inference call: it knows how to decode and how to
answer, and nothing else. Routes are a published snapshot: the whole mapping is built aside and swapped in
by one assignment, so that a request takes no lock.
"""

from __future__ import annotations

from collections import defaultdict
from time import monotonic
from typing import TYPE_CHECKING

from modelyard.core.errors import Unavailable
from modelyard.core.limits import WireLimits
from modelyard.monitor.observations import Observations
from modelyard.monitor.sums import merge, observe
from modelyard.serve.failures import FailureLog
from modelyard.serve.metrics import add_process
from modelyard.serve.mirror import Mirror
from modelyard.serve.parking import Parking
from modelyard.serve.routes import Routes
from modelyard.serve.steps import Steps

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from modelyard.core.errors import ModelyardError
    from modelyard.core.routing import Split
    from modelyard.monitor.counters import ModelCounters
    from modelyard.serve.regions import SystemRegions
    from modelyard.serve.routes import Slot


class DataPlane:
    """What every adapter shares: routes, limits, steps, counts of what never reached a model.

    Whoever owns the process sets what it has of the following; without them, nothing is cold, nobody else
    is observed, and models are not loaded or unloaded by callers.

    Args:
        request_s: the longest that a request may take when its caller gives no time of its own, seconds.

    Attributes:
        wake: asked to load a cold version; asking again is harmless.
        ask: carries out "load" or "unload" of a model and a version (0: whichever is meant); it raises.
        repository: rows of the repository's index: name, version, state, reason.
        elsewhere: what the other processes of this host saw.
        gauges: open HTTP connections, and bytes of request bodies in flight.
        heard: called after each change of the routes.
        complete: False while what should be loaded from the start on is not.
        settled: what was wanted at first has come or failed; a model that is not here is not wanted.
        unloaded: what versions counted that are cold now.
        shared: regions of shared memory that callers registered; None: it is off.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: WireLimits | None = None,
        request_s: float = 60.0,
    ) -> None:
        self.loop = loop
        self.limits = limits or WireLimits()
        self.request_s = request_s
        self.routes = Routes()
        self.steps = Steps(loop)
        self.refused: dict[tuple[str, str], int] = defaultdict(int)
        self.failures = FailureLog(monotonic)
        self.mirror = Mirror(loop)
        self.parking = Parking(loop, self._wake)
        self.wake: Callable[[str, str], None] | None = None
        self.ask: Callable[[str, str, int], Awaitable[None]] | None = None
        self.repository: Sequence[tuple[str, str, str, str]] = ()
        self.elsewhere: Observations | None = None
        self.gauges: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self.heard: list[Callable[[], None]] = []
        self.complete = True
        self.settled = False
        self.unloaded: Callable[[], Sequence[ModelCounters]] = tuple
        self.shared: SystemRegions | None = None

    @property
    def started(self) -> bool:
        """Whether there is anything to answer with, or it is known that there is to be nothing."""
        return self.settled or bool(self.routes.by_version)

    @property
    def ready(self) -> bool:
        """Whether every model that should answer does."""
        return self.started and self.complete and all(route.ready for route in self.routes.by_name.values())

    def publish(
        self,
        slots: tuple[Slot, ...],
        splits: Mapping[str, Split | None] | None = None,
        cold: Collection[tuple[str, str]] = (),
    ) -> None:
        """Swap in what is served from now on, and go on with what waited for it; see ``Routes.of``."""
        self.routes = Routes.of(slots, splits, cold, self.routes)
        for hear in self.heard:
            hear()
        self.parking.look()

    def refuse(self, surface: str, error: ModelyardError) -> None:
        """Count a request that reached no model."""
        self.refused[surface, error.code] += 1

    def observe(self) -> Observations:
        """What this process saw."""
        slots = self.routes.slots
        connections, bodies_bytes = self.gauges()
        models = [observe(slot.counters, slot.batcher.waiting, slot.ready) for slot in slots]
        models += [observe(counters, 0, False) for counters in self.unloaded()]
        seen = Observations(
            models,
            [(surface, code, count) for (surface, code), count in sorted(self.refused.items())],
            connections,
            bodies_bytes,
            parked=len(self.parking),
            parked_total=self.parking.total,
        )
        add_process(seen)
        return seen

    def host(self) -> Observations:
        """What all processes of this host saw."""
        own = self.observe()
        return own if self.elsewhere is None else merge(own, self.elsewhere)

    def _wake(self, name: str, version: str) -> None:
        if self.wake is not None:
            self.wake(name, version)


def not_ready() -> Unavailable:
    """What a caller hears before the first model is up."""
    return Unavailable("the server is starting: the model is being prepared; ask /v2/health/ready")
