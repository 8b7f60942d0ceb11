"""Several hosts of one model: a batch goes to the host that has been free for longest.

One rule: a host that is down gets nothing, as long as another one is up. Each is started again by its own
``PythonRuntime``, and hears of nothing that the others do.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from threading import Condition
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import Unavailable
from modelyard.runtime.python import PythonRuntime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array
    from modelyard.sandbox.policy import Policy

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
        self._all = tuple(hosts)
        self._free = deque(hosts)
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
            options: ``trust``, ``name``, ``run_s`` and ``open_s``.

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
        while True:
            host = self._take()
            try:
                return host.run(inputs)
            except Unavailable:
                # It went down before it had the batch, so that the batch may go to another.
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
                        self._free.remove(host)
                        return host
                if self._free and not self.lanes_up():
                    return self._free.popleft()  # its error says what is the matter
                self._changed.wait(_LOOK_S)

    def _put(self, host: PythonRuntime) -> None:
        with self._changed:
            self._free.append(host)
            self._changed.notify()
