"""One HTTP connection: bytes in, calls out.

The road of a small request on a warm connection is ``data_received`` -> ``_dispatch`` -> the application ->
``settle``: the same head as last time is not parsed again, only compared.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from modelyard.serve.http_answer import CONTINUE
from modelyard.serve.http_body import ChunkReader, LengthReader
from modelyard.serve.http_call import HttpCall
from modelyard.serve.http_head import CHUNKED, LARGE_BYTES, NO_HEAD, check_start
from modelyard.serve.http_inflate import Inflation
from modelyard.serve.http_limits import Refused
from modelyard.serve.http_outgoing import BODY, DEAF, HEAD, Outgoing, answer_refusal, no_room

if TYPE_CHECKING:
    import asyncio

    from modelyard.serve.http import HttpListener
    from modelyard.serve.http_call import Body
    from modelyard.serve.http_head import Head

log = logging.getLogger("modelyard.serve")

# Requests of one connection that are handled before others have their turn; a spell of chunks counts as
# several, because it costs as much. A read of
# more than a few ends the turn too: libuv reads a busy socket up to 32 times before it looks at the next.
_TURN = 32
_FEW = 8
_SPELL_TURNS = 8
# A socket that is full is read up to 32 times in one turn of the loop, a quarter of a megabyte each time:
# after one piece of a body that is at least this long, others have their turn.
_TURN_BYTES = 64 << 10


class Connection(Outgoing):
    """The protocol of one connection; made by ``HttpListener``."""

    __slots__ = ("_app", "_body", "_head", "_started")

    def __init__(self, listener: HttpListener) -> None:
        super().__init__(listener)
        self._app = listener.app
        self._head = NO_HEAD
        self._body: LengthReader | ChunkReader | None = None
        self._started = 0.0  # when the head or body that is being read began; 0: none is

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept, or say that there are too many."""
        self._transport = transport = cast("asyncio.Transport", transport)
        listener = self._listener
        transport.set_write_buffer_limits(high=listener.limits.write_high)
        self.deadline = listener.idle_at
        listener.connections.add(self)
        if len(listener.connections) > listener.limits.connections:
            self._refuse(Refused(503, "too many connections; try again"))
        elif listener.draining:
            self.last = True  # it was in the queue of the socket: it may ask once, soon
            self.deadline = listener.now + listener.limits.linger_s

    def data_received(self, data: bytes) -> None:
        """Read what arrived."""
        if self._neutral:
            head = self._head
            if len(data) == head.whole and data.startswith(head.raw):
                self._neutral = False
                length = head.length
                if head.plain and self._budget.held + length <= self._budget.total:
                    self._budget.held += length
                    self._first = call = HttpCall(self, head, data[head.size :], length)
                    self._hand_over(call)
                else:
                    self._dispatch(head, data[head.size :], length)
                return
            self._neutral = False
        self._read(data)

    def eof_received(self) -> bool:
        """The client sends no more; it may still read."""
        self.eof = True
        if self._mode != DEAF:
            if self._mode != HEAD or (self._rest and not self._blocked()):
                self._refuse(Refused(400, "the request ends too early"))
            else:
                self.last = True
        if self._first is None:
            return False
        self._listener.half_closed.add(self)
        return True

    def _read(self, data: bytes | bytearray) -> bool:
        """Parse what is there; True: there is more to parse, in a later turn."""
        if self._mode == DEAF:
            return False
        rest = self._rest
        if rest:
            # One growing buffer: a head that drips in byte by byte is not copied for each of them.
            joined = rest if type(rest) is bytearray else bytearray(rest)
            joined += data
            data = joined
            self._rest = b""
        at, size, turns = 0, len(data), _TURN
        self._parsing = True
        try:
            while at < size and turns > 0 and self._mode != DEAF and not self._blocked():
                if self._mode == HEAD:
                    after = self._take_head(data, at)
                    if after < 0:
                        break
                    at = after
                    turns -= 1
                else:
                    at = self._take_body(data, at)
                    turns -= _SPELL_TURNS if self._mode == BODY and at < size else 1
        except Refused as refused:
            self._refuse(refused)
        finally:
            self._parsing = False
        self._keep(data, at)
        blocked = self._blocked()
        tired = turns < _TURN - _FEW or (size >= _TURN_BYTES and self._mode == BODY)
        if tired or (self._rest and blocked):
            self._pause()
        if tired and not blocked:
            self._listener.loop.call_soon(self._resume)
            return True
        self._rested()
        return False

    def _resume(self) -> None:
        """Go on after an answer, a turn of others, or a slow reader."""
        transport = self._transport
        if self._parsing or transport is None or self._blocked():
            return
        if self._rest and self._read(b""):
            return
        if self._paused and not self._blocked() and self._transport is not None:
            self._paused = False
            transport.resume_reading()
        self._rested()

    def _keep(self, data: bytes | bytearray, at: int) -> None:
        """Hold on to what was not parsed, within the budget."""
        if self._mode == DEAF or at >= len(data):
            kept = 0
            self._rest = b""
        else:
            self._rest = data[at:] if at else data
            kept = len(self._rest)
        if self._mode == HEAD:
            self._budget.held += kept - self._held
            self._held = kept

    def _take_head(self, data: bytes | bytearray, at: int) -> int:
        """Read a head; the index after it and what of its body was taken at once, or -1."""
        head = self._head
        if data.startswith(head.raw, at) and head.size:
            end = at + head.size
        else:
            if data.startswith(b"\r\n", at) and len(data) > at + 2:
                at += 2  # RFC 9112, 2.2: one empty line before a request is ignored
            found = data.find(b"\r\n\r\n", at)
            check_start(data, at, found, self._listener.limits)
            if found < 0:
                self._started_head()
                return -1
            end = found + 4
            head = self._listener.head_of(bytes(data[at:end]))
            self._head = head
        if head.waits and self._first is not None and end == len(data):
            self._hold = True  # "100 Continue" must not overtake the answers before it
            return at
        self._release()
        size = len(data)
        whole = head.whole
        if whole >= 0 and end + head.length <= size:
            stop = end + head.length
            self._dispatch(head, bytes(data[end:stop]), head.length)
            return stop
        if head.length == 0:
            self._dispatch(head, b"", 0)
            return end
        self._begin_body(head, arrived=end < size)
        return end

    def _started_head(self) -> None:
        if self._started == 0.0:
            self._started = self._listener.now
            self.deadline = self._started + self._listener.limits.header_s

    def _begin_body(self, head: Head, *, arrived: bool) -> None:
        listener = self._listener
        if self._budget.held >= self._budget.total:
            raise no_room()
        self._started = listener.now
        self._set_body_deadline(0)
        if head.waits and not arrived and self._transport is not None:
            self._transport.write(CONTINUE)
        self._mode = BODY
        steps = listener.steps
        if head.length == CHUNKED:
            self._body = ChunkReader(listener.limits, steps)
        else:
            self._body = LengthReader(head.length, steps, listener.slabs)

    def _set_body_deadline(self, have: int) -> None:
        limits = self._listener.limits
        self.deadline = min(
            self._listener.now + limits.stall_s, self._started + limits.body_s + have / limits.body_rate
        )

    def _take_body(self, data: bytes | bytearray, at: int) -> int:
        reader = self._body
        assert reader is not None  # noqa: S101 - the mode says so; for the type checker
        had = reader.body.size
        at = reader.feed(data, at)
        have = reader.body.size
        if not self._budget.take(have - had):
            raise no_room()
        self._held += have - had
        if reader.done:
            self._body = None
            self._release()
            self._mode = HEAD
            self._dispatch(self._head, reader.body.whole(), have)
        else:
            self._set_body_deadline(have)
        return at

    def _release(self) -> None:
        """Give back what belongs to no call."""
        self._budget.held -= self._held
        self._held = 0

    def _forget(self) -> None:
        self._release()
        self._body = None
        self._rest = b""

    def _dispatch(self, head: Head, body: Body, held: int) -> None:
        budget = self._budget
        budget.held += held
        call = HttpCall(self, head, body, held)
        if self._first is None:
            self._first = call
        else:
            self._queue(call)
        self._started = 0.0
        if not head.keep or held > LARGE_BYTES:
            self._hold = True
            if not head.keep:
                self._mode = DEAF
        if budget.held > budget.total:
            answer_refusal(call, self._listener, no_room())
            return
        if head.coding and body:
            self._inflate(call)
            return
        self._hand_over(call)

    def _hand_over(self, call: HttpCall) -> None:
        try:
            self._app(call)
        except Exception:
            log.exception(
                "a bug in the application: %s %s", call.method.decode(), call.path.decode("latin-1")
            )
            call.respond(500, self._listener.on_error(500, "internal error; the server's log says more"))

    def _inflate(self, call: HttpCall) -> None:
        self._hold = True
        listener = self._listener
        most, steps = listener.limits.body_bytes, listener.steps
        inflation = Inflation(call.body, call.head.coding, most, self._budget, steps)

        def done(plain: Body | None, error: Exception | None) -> None:
            call.on_cancel = None
            if call.connection is None:
                self._budget.held -= inflation.held
                return
            self._budget.held -= call.held
            call.held = inflation.held
            if plain is not None:
                call.body = plain
                self._hand_over(call)
            else:
                answer_refusal(call, listener, error)

        work = steps.run(inflation.steps(), done)

        def cancelled() -> None:
            work.stop()
            self._budget.held -= inflation.held

        call.on_cancel = cancelled
