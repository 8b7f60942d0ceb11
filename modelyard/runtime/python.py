"""The model host: code that is not ours, in a sandboxed process beside this one.

One rule: whatever the host does, ``run`` ends with an answer or one clear error, and never waits for a host
that is down. A host that dies is started again in the background, after 0.1 s and then twice as long each
time, up to 10 s; a good spell forgives what was before.
"""

from __future__ import annotations

import threading
import time
from itertools import count
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import ChildFailed, HostDied, ModelFailed, ModelyardError, Unavailable
from modelyard.sandbox.child import Child

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array
    from modelyard.sandbox.child import Reply
    from modelyard.sandbox.policy import Policy

FIRST_PAUSE_S, LONGEST_PAUSE_S, GOOD_SPELL_S = 0.1, 10.0, 30.0


class PythonRuntime:
    """A model that runs in a process of its own. ``run`` is for one caller at a time.

    Args:
        target: what the host runs, as "module:function".
        values: the call "open".
        arrays: its arrays.
        signature: what the model takes and gives.
        policy: the limits of the host.
        trust: start it even where the kernel cannot confine it.
        name: for messages.
        run_s: a batch that takes longer ends the host, and so does a piece of a stream.
        open_s: opening that takes longer ends the host.
        streams: the model can answer piece by piece, see ``stream``.
    """

    inline = False
    platform = "python"

    def __init__(
        self,
        target: str,
        values: dict[str, Any],
        arrays: Sequence[Array],
        signature: Signature,
        policy: Policy,
        *,
        trust: bool = False,
        name: str = "",
        run_s: float = 60.0,
        open_s: float = 180.0,
        streams: bool = False,
    ) -> None:
        self.signature = signature
        self.streams = streams
        self._numbers = count(1)
        self._opening = (target, values, tuple(arrays), policy, trust, open_s)
        self._who = f"model {name!r}" if name else "this model"
        self._run_s = run_s
        self._files: tuple[object, ...] = ()
        self._child: Child | None = None
        self._starting: Child | None = None
        self._trouble = ""
        self._up_since = 0.0
        self._lock = threading.Lock()
        self._bell = threading.Event()
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="modelyard-host-keeper", daemon=True)

    @classmethod
    def open(
        cls,
        target: str,
        values: dict[str, Any],
        arrays: Sequence[Array],
        signature: Signature,
        policy: Policy,
        *,
        trust: bool = False,
        name: str = "",
        run_s: float = 60.0,
        open_s: float = 180.0,
        streams: bool = False,
    ) -> PythonRuntime:
        """Start the host and open the model in it; the arguments are those of the class.

        Raises:
            FileError: the model cannot be opened; the message says why.
            SandboxUnavailable: this kernel cannot confine the host, and it is not trusted.
        """
        runtime = cls(
            target,
            values,
            arrays,
            signature,
            policy,
            trust=trust,
            name=name,
            run_s=run_s,
            open_s=open_s,
            streams=streams,
        )
        runtime._files = _identity(policy)
        runtime._child = runtime._start()
        runtime._up_since = time.monotonic()
        runtime._keeper.start()
        return runtime

    @property
    def pid(self) -> int | None:
        """The process of the host; None while it is down."""
        child = self._child
        return None if child is None or not child.alive else child.pid

    @property
    def pids(self) -> tuple[int, ...]:
        """The same as a list of processes, empty while it is down."""
        pid = self.pid
        return () if pid is None else (pid,)

    @property
    def up(self) -> bool:
        """Whether the host is there to answer."""
        child = self._child
        return child is not None and child.alive

    @property
    def last_words(self) -> str:
        """The end of what the host printed, and why the one before it ended; for the operator."""
        child = self._child
        return "\n".join(part for part in (self._trouble, child.last_words if child else "") if part)

    def run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Answer one batch; blocking.

        Args:
            inputs: in the order of the signature.

        Returns:
            arrays that own their memory, in the order of the signature.

        Raises:
            ModelFailed: the model raised, broke a limit that it survived, or answered something else than
                its signature says.
            HostDied: the process ended, or was ended because it took longer than ``run_s``.
            Unavailable: the process is being started again, or the runtime is closed.
        """
        outputs = self._ask(self._host(), "predict", {}, inputs).arrays
        self._check(inputs, outputs)
        return tuple(outputs)

    def stream(self, inputs: tuple[Array, ...]) -> HostStream:
        """An answer in pieces; nothing runs before the first is asked for.

        Between two pieces the host is free for ``run`` and for other streams: it holds the generators of
        all of them, and goes on with the one that is asked.
        """
        return HostStream(self, inputs)

    def _host(self) -> Child:
        child = self._child
        if child is None or not child.alive:  # the keeper may not have heard of its end yet
            raise Unavailable(self._down())
        return child

    def _ask(self, child: Child, verb: str, values: dict[str, Any], inputs: tuple[Array, ...] = ()) -> Reply:
        try:
            return child.call(verb, values, inputs, timeout_s=self._run_s)
        except ChildFailed as error:
            if self._closing.is_set():
                raise Unavailable(self._down()) from error
            if child.alive:
                raise ModelFailed(error.message) from error
            raise HostDied(
                f"the process that runs {self._who} ended; it is being restarted, try again",
                f"{error.message}\n{child.last_words}",
            ) from error

    def close(self) -> None:
        """End the host and wait until it is gone, and its memory with it; may be called twice."""
        with self._lock:
            self._closing.set()
            children = [child for child in (self._child, self._starting) if child is not None]
        self._bell.set()
        for child in children:
            child.close()
        if self._keeper.is_alive():
            self._keeper.join()
        self._child = None

    def _down(self) -> str:
        if self._closing.is_set():
            return f"{self._who} is closed; try again, or ask another replica"
        return f"the process that runs {self._who} is being restarted; try again"

    def _start(self) -> Child:
        target, values, arrays, policy, trust, open_s = self._opening
        child = Child.start(target, policy, trust=trust, on_end=self._bell.set)
        with self._lock:
            self._starting = child
            closing = self._closing.is_set()
        try:
            if closing:
                raise Unavailable(self._down())
            child.call("open", values, arrays, timeout_s=open_s)
        except BaseException:
            child.close()
            raise
        finally:
            self._starting = None
        return child

    def _keep(self) -> None:
        """Runs on a thread of its own, for as long as the runtime is open."""
        failures = 0
        while not self._closing.is_set():
            self._bell.wait()
            self._bell.clear()
            child = self._child
            if child is None or child.alive or self._closing.is_set():
                continue
            self._child = None
            self._trouble = child.last_words
            child.close()
            if time.monotonic() - self._up_since > GOOD_SPELL_S:
                failures = 0
            while self._child is None:
                if self._closing.wait(pause_s(failures)):
                    return
                failures += 1
                self._revive()

    def _revive(self) -> None:
        if _identity(self._opening[3]) != self._files:
            self._trouble = "the model's file has changed since it was opened; serve it again"
            return
        try:
            child = self._start()
        except ModelyardError as error:
            self._trouble = error.message
            return
        except (OSError, RuntimeError) as error:  # no descriptors or memory left, or this process is ending
            self._trouble = f"{type(error).__name__}: {error}"
            return
        with self._lock:
            if not self._closing.is_set():
                self._child = child
                self._up_since = time.monotonic()
                return
        child.close()

    def _check(self, inputs: tuple[Array, ...], outputs: list[Array]) -> None:
        specs = self.signature.outputs
        if len(outputs) != len(specs):
            raise ModelFailed(f"{self._who} gave {len(outputs)} outputs; its signature has {len(specs)}")
        rows = inputs[0].shape[0] if self.signature.batched and inputs else None
        for spec, array in zip(specs, outputs, strict=True):
            right = array.dtype == spec.dtype.numpy and spec.fits(array.shape)
            if not right or (rows is not None and array.shape[0] != rows):
                raise ModelFailed(
                    f"{self._who} gave output {spec.name!r} as {array.dtype} {list(array.shape)} "
                    f"for {rows} rows; its signature says {spec.dtype.name} {spec.wire_shape()}"
                )


class HostStream:
    """One answer in pieces; for the thread that runs the model, as ``PythonRuntime.run``.

    A piece is one call of the host, as a batch is: bounded and checked in the same way, copied once out of
    the shared memory, and made only when it is asked for. A host that died takes its streams with it.
    """

    def __init__(self, runtime: PythonRuntime, inputs: tuple[Array, ...]) -> None:
        self._runtime = runtime
        self._inputs = inputs
        self._child: Child | None = None
        self._values = {"stream": next(runtime._numbers)}
        self._over = False

    def next(self) -> tuple[Array, ...] | None:
        """The next piece, in the order of the signature; None is the end. Blocking.

        Raises:
            BadInput: the model does not take these rows.
            ModelFailed: the model raised, or gave a piece that is not what its signature says.
            HostDied: the process ended, or a piece took longer than ``run_s``.
            Unavailable: before the first piece: the process is being started again.
        """
        if self._over:
            return None
        runtime, child = self._runtime, self._child
        try:
            if child is None:
                child = self._child = runtime._host()
                reply = runtime._ask(child, "stream", self._values, self._inputs)
                self._inputs = ()
            else:
                reply = runtime._ask(child, "next", self._values)
        except ModelyardError:
            self._over = True
            raise
        if reply.values.get("end") is True:
            self._over = True
            return None
        runtime._check((), reply.arrays)
        return tuple(reply.arrays)

    def close(self) -> None:
        """Close the generator, whose ``finally`` runs; blocking. Nothing to do after the end or an error."""
        child, over = self._child, self._over
        self._over = True
        if child is not None and not over and child.alive:
            self._runtime._ask(child, "stop", self._values)


def pause_s(failures: int) -> float:
    """How long to wait before the next start.

    >>> [pause_s(n) for n in (0, 1, 2, 9)]
    [0.1, 0.2, 0.4, 10.0]
    """
    return min(FIRST_PAUSE_S * 2.0 ** min(failures, 16), LONGEST_PAUSE_S)


def _identity(policy: Policy) -> tuple[object, ...]:
    """What tells that the files of a model are still those that were opened."""
    found: list[object] = []
    for path in policy.read:
        try:
            facts = path.stat()
            found.append((facts.st_ino, facts.st_size, facts.st_mtime_ns))
        except OSError:
            found.append(None)
    return tuple(found)
