"""The parent's side of a child: start it, call it, end it.

Every way in which a child can fail ends in one exception with one line: ``ChildFailed`` when it broke a
limit, died or answered garbage; the handler's own ``ModelyardError``; ``ModelFailed`` for any other
exception that the handler raised. What the child printed is in ``last_words``, for the operator only.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from modelyard.core.errors import ChildFailed, ModelFailed, ModelyardError, SandboxUnavailable
from modelyard.core.tensor import Array
from modelyard.sandbox.channel import Channel, Closed, Late, make_memory
from modelyard.sandbox.frames import Garbage, Head
from modelyard.sandbox.spawn import search_path, spawn
from modelyard.sandbox.watch import Watch, memory_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from modelyard.sandbox.policy import Policy
    from modelyard.sandbox.progress import Listener

MESSAGE_CHARS = 2000
_PROGRESS_FRAMES = 100_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class Reply(Struct, frozen=True):
    """What a handler answered; the arrays own their memory."""

    values: dict[str, Any]
    arrays: list[Array]


class Child:
    """One confined process that answers calls; a context manager that ends it.

    ``start`` makes it; ``call`` may be used from any thread, one call at a time.
    """

    def __init__(self, target: str, policy: Policy, channel: Channel, watch: Watch, pid: int) -> None:
        self.pid = pid
        self._target = target
        self._policy = policy
        self._channel = channel
        self._watch = watch
        self._turn = threading.Lock()
        self._ready = False
        self._calls = 0
        self._confinement = ""

    @classmethod
    def start(
        cls,
        target: str,
        policy: Policy,
        *,
        trust: bool = False,
        on_end: Callable[[], None] | None = None,
    ) -> Child:
        """Start a child; returns at once, while it still imports.

        Args:
            target: "module:function"; the function gives the handlers by verb.
            policy: what it may use.
            trust: go on where the kernel cannot confine it; ``confinement`` says what is in force.
            on_end: called once, on a thread of ours, when the process has ended for whatever reason.
        """
        ours, theirs = socket.socketpair()
        memory = make_memory(policy.channel_bytes)
        hears, says = os.pipe()
        try:
            process = spawn(policy, theirs.fileno(), memory, says)
        except BaseException:
            for fd in (hears, memory):
                os.close(fd)
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(says)
        watch = Watch(process, hears, policy, on_end)
        child = cls(target, policy, Channel(ours, memory, policy.channel_bytes), watch, process.pid)
        watch.start()
        # A child that died already says why at the first call.
        with suppress(Closed, Late):
            setup = child._channel.prepare(Head("setup", values=_setup(target, policy, trust)), ())
            child._channel.send(setup, time.monotonic() + 10)
        return child

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return not self._watch.ended.is_set()

    @property
    def last_words(self) -> str:
        """The end of what the child printed, for the operator; never for a client."""
        return self._watch.words

    @property
    def confinement(self) -> str:
        """What holds the child, as "landlock 7, seccomp, rlimits"; empty until it is ready."""
        return self._confinement

    def ready(self, timeout_s: float | None = None) -> str:
        """Wait until the child has imported its target and sealed itself; gives ``confinement``.

        Raises:
            SandboxUnavailable: this kernel cannot confine it, and it is not trusted.
            ChildFailed: it broke a limit or died first, or was not ready in time and is ended.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._turn_by(deadline, timeout_s):
            self._await_ready(deadline, timeout_s)
        return self._confinement

    def call(
        self,
        verb: str,
        values: dict[str, Any] | None = None,
        arrays: Sequence[Array] = (),
        *,
        timeout_s: float | None = None,
        on_progress: Listener | None = None,
    ) -> Reply:
        """Ask a handler and wait for its answer.

        Args:
            verb: which handler.
            values: JSON values; a float that is not finite becomes null, so send such in arrays.
            arrays: copied once into the child's memory and once out of it.
            timeout_s: when the answer is not there in time, the child is ended.
            on_progress: hears what the handler reports.

        Raises:
            ChildFailed: the child broke a limit, died, did not answer in time, or answered garbage.
            ModelFailed: the handler raised; the message is "TypeName: message".
            ModelyardError: the same class and message that the handler raised.
            TooLarge: the arrays do not fit ``policy.channel_bytes``.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        # On the road of every batch of a model host: no context managers, which are generators to go on with.
        if not self._turn.acquire(blocking=False):
            self._take_turn(deadline, timeout_s)
        try:
            if not self._ready:
                self._await_ready(deadline, timeout_s)
            if not self.alive:
                raise ChildFailed(f"the sandboxed child failed: {self._watch.reason}")
            self._calls += 1
            frame = self._channel.prepare(Head("call", self._calls, verb, values or {}), arrays)
            try:
                self._channel.send(frame, deadline)
                return self._answer(deadline, on_progress)
            except ModelyardError:
                raise
            except BaseException as error:  # noqa: BLE001 (``_end`` raises what it does not know)
                self._end(error, timeout_s)
        finally:
            self._turn.release()
        raise self._failed()

    def kill(self) -> None:
        """End the process without waiting for it; a call in flight raises ``ChildFailed``."""
        self._watch.kill("it was ended")

    def close(self) -> None:
        """End the process, reap it and give everything back; may be called twice."""
        self._watch.kill("it was closed")
        self._watch.join()
        with self._turn:
            self._channel.close()

    @contextmanager
    def _turn_by(self, deadline: float | None, timeout_s: float | None) -> Iterator[None]:
        self._take_turn(deadline, timeout_s)
        try:
            yield
        finally:
            self._turn.release()

    def _take_turn(self, deadline: float | None, timeout_s: float | None) -> None:
        left = -1.0 if deadline is None else max(deadline - time.monotonic(), 0.0)
        if not self._turn.acquire(timeout=left):
            raise ChildFailed(
                f"the sandboxed child was busy with another call for {timeout_s:g} s; try again"
            )

    def _end(self, error: BaseException, timeout_s: float | None) -> None:
        """One of the ways of not answering, of which the child does not come back; others are raised on."""
        if isinstance(error, Late):
            self._watch.kill(f"it did not answer within {timeout_s:g} s")
        elif isinstance(error, Garbage):
            self._watch.kill(f"it answered garbage: {error}")
        elif isinstance(error, Closed):
            # Dead already, or alive with its channel closed: then it ends here.
            if not self._watch.ended.wait(1.0):
                self._watch.kill("it closed its channel")
        else:
            # Ctrl-C, or a listener that raised: what is left of the answer would be taken for the next one.
            self._watch.kill("its call was abandoned")
            raise error

    def _failed(self) -> ChildFailed:
        # Killed, it ends in milliseconds; but one that waits for a dead disk must not make us wait too.
        self._watch.ended.wait(5.0)
        return ChildFailed(f"the sandboxed child failed: {self._watch.reason}")

    def _await_ready(self, deadline: float | None, timeout_s: float | None) -> None:
        if self._ready:
            return
        if self._channel.closed:
            raise ChildFailed(f"the sandboxed child failed: {self._watch.reason}")
        try:
            head, _ = self._channel.receive(deadline)
            if head.kind == "failure":
                self._watch.kill("it could not start")
                raise _as_error(head, self._policy, starting=True)
            if head.kind != "ready":
                raise Garbage("an answer before it was asked")
        except ModelyardError:
            raise
        except BaseException as error:  # noqa: BLE001 (``_end`` raises what it does not know)
            self._end(error, timeout_s)
        else:
            self._confinement = _line(head.verb, 200)
            self._ready = True
            return
        raise self._failed()

    def _answer(self, deadline: float | None, on_progress: Listener | None) -> Reply:
        for _ in range(_PROGRESS_FRAMES):
            head, arrays = self._channel.receive(deadline)
            if head.id != self._calls:
                raise Garbage("an answer to another call")
            if head.kind == "reply":
                return Reply(head.values, arrays)
            if head.kind == "failure":
                raise _as_error(head, self._policy, starting=False)
            if head.kind != "progress":
                raise Garbage(f"a frame of kind {head.kind}")
            if on_progress is not None:
                fraction = head.values.get("fraction")
                known = isinstance(fraction, int | float) and 0 <= fraction <= 1
                on_progress(_line(head.verb, 200), float(fraction) if known else None)  # type: ignore[arg-type]
        raise Garbage(f"more than {_PROGRESS_FRAMES} reports of progress in one call")


def _setup(target: str, policy: Policy, trust: bool) -> dict[str, Any]:
    return {
        "target": target,
        "trust": trust,
        "read": [str(path.resolve()) for path in policy.read],
        "write": None if policy.write is None else str(policy.write.resolve()),
        "code": search_path(),
        "memory_bytes": policy.memory_bytes,
        "channel_bytes": policy.channel_bytes,
        "file_bytes": policy.file_bytes,
        "cpu_s": policy.cpu_s,
    }


def _line(text: object, most: int) -> str:
    """One line for a person, whatever the child sent: no control characters, no end of the screen."""
    clean = _CONTROL.sub(" ", str(text)).strip()
    return clean if len(clean) <= most else f"{clean[: most - 3]}..."


def _leaves(kind: type[ModelyardError]) -> Iterator[type[ModelyardError]]:
    yield kind
    for sub in kind.__subclasses__():
        yield from _leaves(sub)


# By code, never by a name that the child sends. ChildFailed is ours to say; and a handler may not claim that
# the sandbox is missing: the answer to that is more trust.
_BY_CODE = {
    kind.code: kind for kind in _leaves(ModelyardError) if kind not in {ChildFailed, SandboxUnavailable}
}


def _as_error(head: Head, policy: Policy, *, starting: bool) -> ModelyardError:
    message = _line(head.values.get("message", ""), MESSAGE_CHARS)
    if head.verb == "limit-memory":
        return ChildFailed(f"the sandboxed child failed: {memory_reason(policy)}")
    if head.verb == "limit-file":
        size = f"{policy.file_bytes / (1 << 30):.3g} GiB"
        return ChildFailed(
            f"the sandboxed child failed: it wrote a file of more than {size}; raise file_bytes in its policy"
        )
    if starting and head.verb == SandboxUnavailable.code:
        return SandboxUnavailable(message)
    if starting and head.verb == ModelFailed.code:
        return ChildFailed(f"the sandboxed child could not start: {message}")
    return _BY_CODE.get(head.verb, ModelFailed)(message)
