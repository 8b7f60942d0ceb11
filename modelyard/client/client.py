"""``Client`` and ``AsyncClient``: the same verbs, blocking and asyncio, over HTTP or gRPC by the URL.

One rule: what a verb does is in ``steps``; here its steps are only carried out.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from modelyard.client.address import parse_address
from modelyard.client.grpc_channels import AsyncGrpc, BlockingGrpc
from modelyard.client.http_async import AsyncHttp
from modelyard.client.http_blocking import BlockingHttp
from modelyard.client.rest import Rest
from modelyard.client.rpc import Rpc
from modelyard.client.steps import Patience, Pause, Verbs
from modelyard.core.errors import ModelyardError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from modelyard.client.address import Address
    from modelyard.client.call import Answer, Call, ModelInfo, ServerInfo
    from modelyard.client.prediction import Prediction
    from modelyard.client.steps import Steps
    from modelyard.core.tensor import Array

T = TypeVar("T")


class _Blocking(Protocol):
    def send(self, call: Call[Any], timeout_s: float) -> Answer: ...
    def close(self) -> None: ...


class _Async(Protocol):
    async def send(self, call: Call[Any], timeout_s: float) -> Answer: ...
    async def close(self) -> None: ...


class Client:
    """Calls a server of the Open Inference Protocol V2: Modelyard, Triton, KServe, MLServer.

    A connection is made when the first verb needs one, and kept. Threads may share a client.

    >>> Client("grpc://127.0.0.1:8001").url
    'grpc://127.0.0.1:8001'

    Args:
        url: ``http://``, ``https://``, ``grpc://`` or ``grpcs://`` and a host.
        timeout_s: seconds that a verb may take, retries included.
        retries: how often a verb is tried again when nobody answers or the server is busy (429, 503).
        binary: HTTP carries tensors as raw bytes; False is for servers without that extension.
        headers: sent with every call, such as ``{"Authorization": "Bearer ..."}``.

    Raises:
        BadInput: ``url`` is not one of a server.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 60.0,
        retries: int = 0,
        binary: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        address = parse_address(url)
        pairs = tuple((headers or {}).items())
        self.url = address.url
        self._verbs = _verbs(address, binary, Patience(timeout_s, retries))
        self._transport: _Blocking = (
            BlockingGrpc(address, pairs) if address.is_grpc else BlockingHttp(address, pairs)
        )

    def predict(
        self,
        model: str,
        rows: Any,
        *,
        version: str | int | None = None,
        timeout_s: float | None = None,
        priority: int = 0,
    ) -> Prediction:
        """Predict rows.

        The model's columns and datatypes are asked from the server once; rows are ordered and cast to them.

        Args:
            model: its name.
            rows: an array, lists, a list of records, a dict of columns, or a frame (pandas, polars, pyarrow).
            version: None is whatever the server routes to.
            timeout_s: seconds for this call; also told to the server.
            priority: 1 goes before 0.

        Raises:
            BadInput: the rows are not what the model takes; the message names the column.
            ModelNotFound: no such model or version.
            Unreachable: nobody answers.
            DeadlineExceeded: not in time.
            Overloaded: the server's queue is full.
            Unavailable: the server is starting or draining.
            ModelFailed: the model raised.
        """
        return self._run(
            self._verbs.predict(model, rows, version=version, timeout_s=timeout_s, priority=priority)
        )

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        outputs: Sequence[str] | None = None,
        version: str | int | None = None,
        timeout_s: float | None = None,
        priority: int = 0,
        parameters: Mapping[str, Any] | None = None,
    ) -> dict[str, Array]:
        """Send named tensors as they are and get named tensors back (strings as ``bytes``).

        Raises: as ``predict``.
        """
        found = self._run(
            self._verbs.infer(
                model,
                inputs,
                outputs=outputs,
                version=version,
                timeout_s=timeout_s,
                priority=priority,
                parameters=parameters,
            )
        )
        return found.outputs

    def metadata(self, model: str, version: str | int | None = None) -> ModelInfo:
        """What a model takes and gives."""
        return self._run(self._verbs.metadata(model, version))

    def server(self) -> ServerInfo:
        """Who answers: name, version, extensions."""
        return self._run(self._verbs.server())

    def live(self) -> bool:
        """Whether a server answers there at all."""
        return self._run(self._verbs.live())

    def ready(self) -> bool:
        """Whether the server takes requests."""
        return self._run(self._verbs.ready())

    def model_ready(self, model: str, version: str | int | None = None) -> bool:
        """Whether a model takes requests.

        Raises:
            ModelNotFound: no such model or version.
        """
        return self._run(self._verbs.model_ready(model, version))

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self.url}>"

    def _run(self, steps: Steps[T]) -> T:
        answer: Answer | None = None
        failure: ModelyardError | None = None
        while True:
            try:
                step = steps.send(answer) if failure is None else steps.throw(failure)
            except StopIteration as end:
                value: T = end.value
                return value
            answer = failure = None
            if isinstance(step, Pause):
                time.sleep(step.wait_s)
                continue
            try:
                answer = self._transport.send(step.call, step.timeout_s)
            except ModelyardError as error:
                failure = error


class AsyncClient:
    """``Client`` for asyncio: the same verbs, awaited. It belongs to the event loop that first uses it.

    Args:
        url: as for ``Client``.
        timeout_s: as for ``Client``.
        retries: as for ``Client``.
        binary: as for ``Client``.
        headers: as for ``Client``.
        connections: HTTP connections at most; calls beyond them wait for one.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 60.0,
        retries: int = 0,
        binary: bool = True,
        headers: Mapping[str, str] | None = None,
        connections: int = 32,
    ) -> None:
        address = parse_address(url)
        pairs = tuple((headers or {}).items())
        self.url = address.url
        self._verbs = _verbs(address, binary, Patience(timeout_s, retries))
        self._transport: _Async = (
            AsyncGrpc(address, pairs) if address.is_grpc else AsyncHttp(address, pairs, connections)
        )

    async def predict(
        self,
        model: str,
        rows: Any,
        *,
        version: str | int | None = None,
        timeout_s: float | None = None,
        priority: int = 0,
    ) -> Prediction:
        """As ``Client.predict``."""
        return await self._run(
            self._verbs.predict(model, rows, version=version, timeout_s=timeout_s, priority=priority)
        )

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        outputs: Sequence[str] | None = None,
        version: str | int | None = None,
        timeout_s: float | None = None,
        priority: int = 0,
        parameters: Mapping[str, Any] | None = None,
    ) -> dict[str, Array]:
        """As ``Client.infer``."""
        found = await self._run(
            self._verbs.infer(
                model,
                inputs,
                outputs=outputs,
                version=version,
                timeout_s=timeout_s,
                priority=priority,
                parameters=parameters,
            )
        )
        return found.outputs

    async def metadata(self, model: str, version: str | int | None = None) -> ModelInfo:
        """As ``Client.metadata``."""
        return await self._run(self._verbs.metadata(model, version))

    async def server(self) -> ServerInfo:
        """As ``Client.server``."""
        return await self._run(self._verbs.server())

    async def live(self) -> bool:
        """As ``Client.live``."""
        return await self._run(self._verbs.live())

    async def ready(self) -> bool:
        """As ``Client.ready``."""
        return await self._run(self._verbs.ready())

    async def model_ready(self, model: str, version: str | int | None = None) -> bool:
        """As ``Client.model_ready``."""
        return await self._run(self._verbs.model_ready(model, version))

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncClient {self.url}>"

    async def _run(self, steps: Steps[T]) -> T:
        answer: Answer | None = None
        failure: ModelyardError | None = None
        while True:
            try:
                step = steps.send(answer) if failure is None else steps.throw(failure)
            except StopIteration as end:
                value: T = end.value
                return value
            answer = failure = None
            if isinstance(step, Pause):
                await asyncio.sleep(step.wait_s)
                continue
            try:
                answer = await self._transport.send(step.call, step.timeout_s)
            except ModelyardError as error:
                failure = error


def _verbs(address: Address, binary: bool, patience: Patience) -> Verbs:
    return Verbs(Rpc() if address.is_grpc else Rest(binary), address.url, patience)
