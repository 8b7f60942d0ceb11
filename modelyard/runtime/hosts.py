"""Several hosts of one model: a batch goes to the host that has been free for longest.

One rule: a host that is down gets nothing, as long as another one is up. Each is started again by its own
``PythonRuntime``, and hears of nothing that the others do. An answer in pieces stays with the host that made
its first one, because that holds its generator.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING, Any, TypeVar

from modelyard.core.errors import Unavailable
from modelyard.runtime.python import HostStream, PythonRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array
    from modelyard.sandbox.policy import Policy

T = TypeVar("T")

_LOOK_S = 0.05


class PythonHosts:
    """A model that runs in several processes. ``run`` is for ``lanes`` callers at a time.

    Args:
        hosts: two at least, opened alike.
    """

    inline = False
    platform = "python"

    def __init__(self, hosts: Sequence[PythonRuntime]) -> None:
        self.signature = hosts[0].signature
        self.lanes = len(hosts)
        self.streams = hosts[0].streams
        self._all = tuple(hosts)
        self._free = deque(hosts)
        self._working: set[PythonRuntime] = set()
        self._changed = Condition()

    @classmethod
    def open(
        cls,
        target: str,
        values: dict[str, Any],
        arrays: Sequence[Array],
        signature: Signature,
        policy: Policy,
        *,
        instances: int,
        **options: Any,
    ) -> PythonHosts:
        """Start the hosts side by side and open the model in each.

        Args:
            target: this and what follows are of ``PythonRuntime.open``.
            values: likewise.
            arrays: likewise.
            signature: likewise.
            policy: the limits of each host.
            instances: how many hosts.
            options: ``trust``, ``name``, ``run_s``, ``open_s`` and ``streams``.

        Raises:
            FileError: the model cannot be opened in one of them; the message says why, and none is left.
            SandboxUnavailable: this kernel cannot confine a host, and it is not trusted.
        """
        with ThreadPoolExecutor(instances, "modelyard-open") as pool:
            starting = [
                pool.submit(PythonRuntime.open, target, values, arrays, signature, policy, **options)
                for _ in range(instances)
            ]
        troubles = [one.exception() for one in starting]
        hosts = [one.result() for one, trouble in zip(starting, troubles, strict=True) if trouble is None]
        for trouble in troubles:
            if trouble is not None:
                for host in hosts:
                    host.close()
                raise trouble
        return cls(hosts)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes of the hosts that are up."""
        return tuple(pid for host in self._all for pid in host.pids)

    @property
    def last_words(self) -> str:
        """What the hosts printed last and why those before them ended; for the operator."""
        return "\n".join(words for host in self._all if (words := host.last_words))

    def lanes_up(self) -> int:
        """How many hosts can run a batch now, or run one."""
        return sum([host.up for host in self._all])

    def run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Answer one batch in the first host that is free; blocking.

        Raises:
            ModelFailed: see ``PythonRuntime.run``.
            HostDied: the host of this batch ended; the others go on.
            Unavailable: all hosts are being started again, or they are closed.
        """
        return self._first(lambda host: host.run(inputs))

    def stream(self, inputs: tuple[Array, ...]) -> HostsStream:
        """An answer in pieces, see ``PythonRuntime.stream``; the first is made by the host that is free."""
        return HostsStream(self, inputs)

    def _first(self, work: Callable[[PythonRuntime], T]) -> T:
        """Have the first host that is free do something; blocking."""
        while True:
            host = self._take()
            try:
                return work(host)
            except Unavailable:
                # It went down before it had the work, so that another may have it.
                if not self.lanes_up():
                    raise
            finally:
                self._put(host)

    def close(self) -> None:
        """End all hosts and wait until they are gone; may be called twice."""
        for host in self._all:
            host.close()

    def _take(self) -> PythonRuntime:
        with self._changed:
            while True:
                for host in self._free:
                    if host.up:
                        return self._begin(host)
                if self._free and not self.lanes_up():
                    return self._begin(self._free[0])  # its error says what is the matter
                self._changed.wait(_LOOK_S)

    @contextmanager
    def _turn_of(self, host: PythonRuntime) -> Iterator[None]:
        """Have this host, once it is free; blocking."""
        with self._changed:
            while host not in self._free:
                self._changed.wait(_LOOK_S)
            self._begin(host)
        try:
            yield
        finally:
            self._put(host)

    def _begin(self, host: PythonRuntime) -> PythonRuntime:
        self._free.remove(host)
        self._working.add(host)
        return host

    def _put(self, host: PythonRuntime) -> None:
        with self._changed:
            self._working.discard(host)
            self._free.append(host)
            self._changed.notify_all()


class HostsStream:
    """One answer in pieces from one of several hosts; ``next`` and ``close`` as ``HostStream``'s."""

    def __init__(self, hosts: PythonHosts, inputs: tuple[Array, ...]) -> None:
        self._hosts = hosts
        self._inputs = inputs
        self._made: tuple[PythonRuntime, HostStream] | None = None

    @property
    def waits(self) -> bool:
        """Whether its host does something else now, so that the next piece would wait for that."""
        return self._made is not None and self._made[0] in self._hosts._working

    def next(self) -> tuple[Array, ...] | None:
        """The next piece; None is the end. Blocking."""
        if self._made is None:
            return self._hosts._first(self._begin)
        host, stream = self._made
        with self._hosts._turn_of(host):
            return stream.next()

    def close(self) -> None:
        """Close the generator; blocking."""
        if self._made is None:
            return
        host, stream = self._made
        with self._hosts._turn_of(host):
            stream.close()

    def _begin(self, host: PythonRuntime) -> tuple[Array, ...] | None:
        stream = host.stream(self._inputs)
        piece = stream.next()
        self._made, self._inputs = (host, stream), ()
        return piece
