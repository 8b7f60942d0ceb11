"""TorchServe's management service over gRPC: messages in, ``control.torchserve`` asked, its texts out.

Source: pytorch/serve, management.proto and ``ManagementImpl``.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from modelyard.control.torchserve_words import Said, read_page, read_register, read_scale, said_of
from modelyard.core.errors import ModelyardError
from modelyard.serve.budget import BodyBudget
from modelyard.serve.grpc import open_grpc
from modelyard.serve.status import (
    ABORTED,
    DEADLINE_EXCEEDED,
    FAILED_PRECONDITION,
    INTERNAL,
    INVALID_ARGUMENT,
    NOT_FOUND,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    UNIMPLEMENTED,
)
from modelyard.wire.dialects.torchserve_rpc import MANAGEMENT_METHODS, read_management, write_management

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.control.torchserve import Management
    from modelyard.serve.grpc import GrpcCall, GrpcListener

log = logging.getLogger("modelyard.control")

SERVICE = "/org.pytorch.serve.grpc.management.ManagementAPIsService/"
MESSAGE_BYTES = 1 << 20
_CODES = {
    400: INVALID_ARGUMENT,
    403: FAILED_PRECONDITION,
    404: NOT_FOUND,
    405: UNIMPLEMENTED,
    408: DEADLINE_EXCEEDED,
    409: ABORTED,
    413: RESOURCE_EXHAUSTED,
    501: UNIMPLEMENTED,
    503: UNAVAILABLE,
}


class ManagementRpc:
    """The service on a port of its own.

    Args:
        management: what answers.
        engine: of ``serve.grpc``; "" is the first that this machine has.
    """

    def __init__(self, management: Management, engine: str = "") -> None:
        self._management = management
        self._engine = engine
        self._listener: GrpcListener | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, host: str, port: int) -> str:
        """Listen; the address.

        Raises:
            PortBusy: another process holds the port.
        """
        methods = [SERVICE + name for name in MANAGEMENT_METHODS]
        budget = BodyBudget(16 * MESSAGE_BYTES)
        self._listener = open_grpc(methods, self._hear, MESSAGE_BYTES, budget, engine=self._engine)
        bound = await self._listener.open(host, port)
        return f"[{host}]:{bound}" if ":" in host else f"{host}:{bound}"

    async def close(self) -> None:
        """Stop; what is under way is given up."""
        if self._listener is not None:
            await self._listener.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _hear(self, calls: Sequence[GrpcCall]) -> None:
        for call in calls:
            task = asyncio.ensure_future(self._answer(call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, call: GrpcCall) -> None:
        try:
            said = await self._said(call)
        except ModelyardError as error:
            said = said_of(error)
        except Exception:
            log.exception("%s: a bug in modelyard", call.method)
            said = Said(500, "internal error; the server's log says more", "InternalServerException")
        if said.status < 300:
            call.respond(write_management(said.text))
        else:
            # TorchServe adds the exception's name in a line of its own.
            call.fail(_CODES.get(said.status, INTERNAL), f"{said.text}\n{said.kind}")

    async def _said(self, call: GrpcCall) -> Said:
        method = call.method.removeprefix(SERVICE)
        words = read_management(method, call.payload)
        name, version = str(words.get("model_name", "")), str(words.get("model_version", ""))
        who, asked = "torchserve-grpc", self._management
        match method:
            case "DescribeModel":
                return await asked.describe(name, version, bool(words.get("customized")))
            case "ListModels":
                return await asked.list(*read_page(words))
            case "RegisterModel":
                return await asked.register(read_register(words), who)
            case "ScaleWorker":
                return await asked.scale(name, version, read_scale(words), who)
            case "SetDefault":
                return await asked.set_default(name, version, who)
            case _:
                return await asked.unregister(name, version, who)
