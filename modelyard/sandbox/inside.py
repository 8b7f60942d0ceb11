"""What runs in the child behind its walls: import the target, take the ceilings, answer calls.

One rule: by the time the first call is read, this process can do nothing but compute.
"""

from __future__ import annotations

import errno
import importlib
import mmap
import os
import threading
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from modelyard.core.errors import ModelyardError
from modelyard.sandbox.arrays import from_inline, pack, unpack
from modelyard.sandbox.frames import INLINE_BYTES, FrameReader, Head, head_bytes
from modelyard.sandbox.loan import Loan
from modelyard.sandbox.progress import listen
from modelyard.sandbox.seal import ceilings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from modelyard.core.tensor import Array

    Handler: TypeAlias = Callable[[dict[str, Any], list[Array]], tuple[dict[str, Any], Sequence[Array]]]

_CHUNK = 64 << 10
_MESSAGE_CHARS = 2000
_KEEPS = "open"
"""The verb that may keep its arrays: rows from which a model learns what it takes."""


class _Channel:
    """The child's end: blocking, trusting the parent."""

    def __init__(self, end: int, memory: int, reader: FrameReader) -> None:
        self._end = end
        self._memory = memory
        self._map: mmap.mmap | None = None
        self._loan: Loan | None = None
        self._half = 0
        self._reader = reader
        self._sending = threading.Lock()

    def open_memory(self, half_bytes: int) -> None:
        """Map the memory file; before the limit on address space, which it must not count against."""
        self._half = half_bytes
        self._map = mmap.mmap(self._memory, 2 * half_bytes)
        self._loan = Loan(self._memory, half_bytes)
        os.close(self._memory)

    def receive(self) -> tuple[Head, list[Array]]:
        """The next call; the arrays of a large one lie in the shared memory until ``settle``."""
        while (found := self._reader.next()) is None:
            data = os.read(self._end, _CHUNK)
            if not data:
                os._exit(0)  # the parent is gone or has closed us
            self._reader.feed(data)
        head, payload = found
        loan = self._loan
        if head.shared and loan is not None:
            lend = None if loan.over or head.verb == _KEEPS else loan.lend
            return head, unpack(head.blocks, head.shared, self._fill, lend)
        return head, unpack(head.blocks, head.inline, from_inline(payload))

    def settle(self) -> None:
        """The call is over and nobody here holds its arrays: see ``Loan``."""
        if self._loan is not None:
            self._loan.settle()

    def send(self, head: Head, arrays: Sequence[Array] = ()) -> None:
        self.post(self.lay(head, arrays))

    def lay(self, head: Head, arrays: Sequence[Array] = ()) -> memoryview:
        """A frame, with its large arrays in the shared memory already."""
        blocks, parts, size = pack(arrays)
        if size > self._half:
            raise ValueError(f"an answer of {size} bytes; at most {self._half} fit")
        shared = size > INLINE_BYTES
        room: Any = memoryview(self._map)[self._half :] if shared else bytearray(size)  # type: ignore[arg-type]
        for block, part in zip(blocks, parts, strict=True):
            room[block.at : block.at + block.size] = part
        framed = Head(
            head.kind, head.id, head.verb, head.values, blocks, 0 if shared else size, size if shared else 0
        )
        return memoryview(head_bytes(framed) + (b"" if shared else bytes(room)))

    def post(self, data: memoryview) -> None:
        """Send a frame."""
        with self._sending:
            while data:
                data = data[os.write(self._end, data) :]

    def _fill(self, at: int, out: memoryview) -> None:
        assert self._map is not None  # noqa: S101 (a payload can only come after open_memory)
        out[:] = memoryview(self._map)[at : at + len(out)]


def run(end: int, memory: int, statm: int, reader: FrameReader, setup: dict[str, Any], held: str) -> NoReturn:
    """Load the target, take the ceilings, serve until the parent is done.

    Args:
        end: our end of the channel.
        memory: the memory file.
        statm: /proc/self/statm, opened before the walls.
        reader: what has been read of the channel so far.
        setup: what the parent sent first.
        held: what step one of the sealing put in force.
    """
    channel = _Channel(end, memory, reader)
    try:
        channel.open_memory(setup["channel_bytes"])
        handlers = _load(setup["target"])
        held = f"{held}, {ceilings(setup, statm)}"
    except Exception as error:  # noqa: BLE001 (the edge of the process: said to the parent, which ends us)
        traceback.print_exc()
        channel.send(_failure(0, error))
        os._exit(1)
    channel.send(Head("ready", verb=held))
    _serve(channel, handlers)


def _load(target: str) -> Mapping[str, Handler]:
    module, _, function = target.partition(":")
    made: Mapping[str, Handler] = getattr(importlib.import_module(module), function)()
    return made


def _serve(channel: _Channel, handlers: Mapping[str, Handler]) -> NoReturn:
    number = 0

    def tell(text: str, fraction: float | None) -> None:
        channel.send(Head("progress", number, str(text)[:200], {"fraction": fraction}))

    while True:
        head, arrays = channel.receive()
        number = head.id
        listen(tell)
        answer: Sequence[Array] = ()
        try:
            handler = handlers.get(head.verb)
            if handler is None:
                raise LookupError(f"no such verb {head.verb[:80]!r}")
            values, answer = handler(head.values, arrays)
            frame = channel.lay(Head("reply", number, values=values), answer)
        except Exception as error:  # noqa: BLE001 (the edge of the plug-in call: said to the parent)
            traceback.print_exc()
            frame = channel.lay(_failure(number, error))
        finally:
            listen(None)
        del arrays, answer
        channel.settle()
        channel.post(frame)


def _failure(number: int, error: Exception) -> Head:
    if isinstance(error, ModelyardError):
        return Head("failure", number, error.code, {"message": error.message[:_MESSAGE_CHARS]})
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return Head("failure", number, "limit-memory")
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return Head("failure", number, "limit-file")
    message = f"{type(error).__name__}: {error}"[:_MESSAGE_CHARS]
    return Head("failure", number, "model-failed", {"message": message})
