"""The model repository extension and statistics, the same for REST and gRPC.

Sources: Triton's extension_model_repository.md and extension_statistics.md.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import InternalError, ModelyardError, Overloaded, Unsupported
from modelyard.monitor.sums import untouched
from modelyard.serve.statistics import model_statistics
from modelyard.serve.streaming import streams
from modelyard.wire.triton import IndexRow, describe_config

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.routes import Slot

log = logging.getLogger("modelyard.serve")

_BASE = (
    "binary_tensor_data",
    "parameters",
    "classification",
    "statistics",
    "model_configuration",
    "trace",
    "logging",
)
_REPOSITORY = ("model_repository", "model_repository(unload_dependents)")
_MOST_ASKED = 64


class Repository:
    """What callers may know and ask of the repository behind a data plane."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._asked: set[asyncio.Task[None]] = set()

    @property
    def extensions(self) -> tuple[str, ...]:
        """Extensions of the protocol that are really there."""
        shared = () if self._plane.shared is None else ("system_shared_memory",)
        return _BASE + shared + (() if self._plane.ask is None else _REPOSITORY)

    def index(self, ready: bool) -> list[IndexRow]:
        """Every version that is known, whichever is loaded here.

        Args:
            ready: only those that would answer a request.
        """
        rows = {(row[0], row[1]): IndexRow(*row) for row in self._plane.repository}
        for (name, version), route in self._plane.routes.by_version.items():
            slot = route.slot
            if slot is None:
                rows[name, version] = IndexRow(name, version, "READY", "cold: its first request loads it")
            elif slot.ready:
                rows[name, version] = IndexRow(name, version, "READY", "")
            else:
                rows[name, version] = IndexRow(name, version, "UNAVAILABLE", "it takes no requests now")
        return [row for row in rows.values() if not ready or row.state == "READY"]

    def move(
        self,
        verb: str,
        model: str,
        parameters: Mapping[str, Any],
        done: Callable[[], None],
        fail: Callable[[ModelyardError], None],
    ) -> None:
        """Load or unload a model; one of ``done`` and ``fail`` is called when it is.

        Raises:
            Unsupported: there is no registry behind this server, or a parameter that is not offered.
            Overloaded: too many are asked for at one time.
        """
        ask = self._plane.ask
        if ask is None:
            raise Unsupported(
                "models are not loaded or unloaded by callers here: this server has no registry behind it"
            )
        check_parameters(verb, parameters)
        if len(self._asked) >= _MOST_ASKED:
            raise Overloaded(f"{_MOST_ASKED} models are being loaded or unloaded already; try again")

        async def carry_out() -> None:
            try:
                await ask(verb, model, 0)
            except ModelyardError as error:
                fail(error)
            except Exception:  # the edge of a request: it is answered and logged
                log.exception("a bug in %s of %s; please report it", verb, model[:80])
                fail(InternalError("internal error; the server's log says more"))
            else:
                done()

        task = self._plane.loop.create_task(carry_out())
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    def config(self, slot: Slot) -> dict[str, Any]:
        """The configuration of a model as Triton writes it."""
        limits = slot.batcher.limits
        return describe_config(
            slot.name,
            slot.platform,
            slot.signature,
            [int(version) for version in self._plane.routes.versions(slot.name) if version.isdigit()],
            limits.max_batch_rows,
            int(limits.max_wait_s * 1e6),
            streams(slot),
        )

    def statistics(self, name: str, version: str) -> list[dict[str, Any]]:
        """Statistics of all versions, of one model, or of one version, over the whole host.

        Raises:
            ModelNotFound: no such model or version.
        """
        routes = self._plane.routes
        if name and (version or not routes.versions(name)):
            routes.route(name, version)
        found = {(seen.model, seen.version): seen for seen in self._plane.host().models}
        return [
            model_statistics(found.get(key) or untouched(*key))
            for key in sorted(routes.by_version)
            if (not name or key[0] == name) and (not version or key[1] == version)
        ]


def check_parameters(verb: str, parameters: Mapping[str, Any]) -> None:
    """Obey or refuse the parameters of a load or an unload.

    Raises:
        Unsupported: a configuration or files to load instead of what the registry holds.
    """
    for key in parameters:
        if verb == "load" and (key == "config" or key.startswith("file:")):
            raise Unsupported(
                f"parameter {key[:80]!r} is not offered: what the registry holds is loaded as it is; "
                "push another version instead"
            )
        # No model depends on another here, so there is never more to unload.
        if not (verb == "unload" and key == "unload_dependents"):
            raise Unsupported(f"parameter {key[:80]!r} of {verb} is not offered")
