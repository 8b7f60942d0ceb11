"""The way out of one HTTP connection: answers in the order of their requests, and the ends it can have.

What comes in is read by ``Connection``, which builds on this.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from socket import IPPROTO_TCP, TCP_INFO
from typing import TYPE_CHECKING

from modelyard.serve.http_answer import CONTINUE
from modelyard.serve.http_call import HttpCall
from modelyard.serve.http_head import NO_HEAD
from modelyard.serve.http_limits import Refused
from modelyard.serve.http_stream import HttpStream

if TYPE_CHECKING:
    from modelyard.serve.http import HttpListener
    from modelyard.serve.http_call import Pieces

log = logging.getLogger("modelyard.serve")

HEAD, BODY, DEAF = range(3)
LEAVE_S = 1.0
"""How long a server that stops waits for the next request of a client that asked less than this ago."""
_NEVER = float("inf")
_TCP_CLOSED = 7  # TCP_CLOSE of the kernel's enum: the peer answered with a reset


class Outgoing(asyncio.Protocol):
    """Answers and ends of one connection.

    ``mode`` is ``HEAD`` (waiting for a request, or in the middle of its head), ``BODY``, or ``DEAF``: what
    arrives is thrown away, because the last answer was given or is on its way.
    """

    __slots__ = (
        "_budget", "_first", "_held", "_hold", "_later", "_listener", "_mode", "_neutral", "_parsing",
        "_paused", "_rest", "_stuck", "_transport", "answers", "deadline", "eof", "last", "probed",
    )  # fmt: skip

    def __init__(self, listener: HttpListener) -> None:
        self._listener = listener
        self._budget = listener.budget
        self.answers = listener.answers
        self._transport: asyncio.Transport | None = None
        self._mode = HEAD
        self._neutral = True  # nothing is read in part, nothing waits for an answer
        self._first: HttpCall | None = None  # the oldest call without an answer on the wire
        self._later: deque[HttpCall] | None = None  # the calls after it
        self._rest: bytes | bytearray = b""  # received, not yet parsed
        self._held = 0  # bytes of the budget that belong to no call yet
        self._hold = False  # nothing is parsed until every call is answered
        self._paused = False
        self._parsing = False  # in the middle of what was received
        self._stuck = 0  # bytes of the budget for answers that nobody reads; > 0: the reader is slow
        self.last = False
        self.eof = False
        self.probed = False
        self.deadline = _NEVER

    def closes_after(self, call: HttpCall) -> bool:
        """Whether the answer to ``call`` is the last on this connection."""
        if not call.head.keep:
            return True
        return self.last and not self._later and self._mode in (HEAD, DEAF) and not self._rest

    def settle(self, call: HttpCall, answer: Pieces) -> None:
        """Write an answer now, or when those before it are written."""
        self._budget.held -= call.held
        call.held = 0
        if call is not self._first:
            call.answer = answer
            return
        later = self._later
        transport = self._transport
        if type(answer) is bytes and transport is not None and call.head.plain and self._quiet():
            # The only call of a connection on which nothing else happens.
            transport.write(answer)
            self._first = None
            if not self._stuck:
                self._neutral = True
                self.deadline = self._listener.idle_at
            return
        self._write(answer)
        while later:
            call = later.popleft()
            answered = call.answer
            if answered is None or isinstance(answered, HttpStream):
                self._first = call
                if answered is not None:
                    self._listener.loop.call_soon(answered.proceed)
                break
            self._write(answered)
        else:
            self._first = None
            self._hold = False
        if self._first is None and (
            self._mode == DEAF or (self.last and self._mode == HEAD and not self._rest)
        ):
            self._finish()
        elif self._paused or self._rest:
            self._resume()
        else:
            self._rested()

    def _quiet(self) -> bool:
        """Whether nothing is to be done after an answer but to wait for the next request."""
        return not (
            self._later
            or self._mode
            or self._hold
            or self.last
            or self._paused
            or self._rest
            or self._parsing
        )

    def _write(self, answer: Pieces) -> None:
        transport = self._transport
        if transport is not None:
            if isinstance(answer, bytes):
                transport.write(answer)
            else:
                transport.writelines(answer)

    # What an answer in pieces asks of its connection.

    def turn_of(self, call: HttpCall) -> bool:
        """Whether all answers before that to ``call`` are written."""
        return call is self._first

    def open_for(self, call: HttpCall) -> bool:
        """Whether a piece of the answer to ``call`` would leave at once."""
        return call is self._first and not self._stuck and self._transport is not None

    def write_part(self, part: bytes) -> None:
        """Write a part of the answer whose turn it is."""
        self._write(part)

    def end_after(self, call: HttpCall) -> None:
        """The answer to ``call`` ends with the connection: nothing that came after it is answered."""
        later, self._later = self._later, None
        self.last = True
        self._mode = DEAF
        self._forget()
        for each in later or ():
            self._budget.held -= each.held
            each.held = 0
            if each is not call and each.connection is not None:
                each.connection = None
                _cancel(each)

    def _queue(self, call: HttpCall) -> None:
        if self._first is None:
            self._first = call
        elif self._later is None:
            self._later = deque((call,))
        else:
            self._later.append(call)

    def _rested(self) -> None:
        """If nothing is under way, the next request may take the short road."""
        if self._parsing or self._first is not None or self._mode != HEAD or self._rest:
            return
        if not self._stuck:
            self._neutral = True
            self.deadline = self._listener.idle_at

    def _blocked(self) -> bool:
        if self._stuck:
            return True
        if self._first is None:
            return False
        later = self._later
        return self._hold or (later is not None and len(later) + 1 >= self._listener.limits.pipeline)

    def _pause(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        """Go on reading."""
        raise NotImplementedError

    def _forget(self) -> None:
        """Drop what was read of a request that will not be complete."""
        raise NotImplementedError

    # A slow reader.

    def pause_writing(self) -> None:
        """Too much is unsent: read nothing more, and count it against the budget."""
        transport = self._transport
        if transport is not None and not self._stuck:
            limits = self._listener.limits
            self._stuck = max(transport.get_write_buffer_size(), 1)
            self._budget.held += self._stuck
            self.deadline = self._listener.now + limits.write_s + self._stuck / limits.body_rate
            self._pause()

    def resume_writing(self) -> None:
        """The reader caught up."""
        if self._stuck:
            self._budget.held -= self._stuck
            self._stuck = 0
            self.deadline = self._listener.idle_at
            if self._mode == DEAF and self._first is None:
                self._finish()
            first = self._first
            if first is not None and isinstance(first.answer, HttpStream):
                first.answer.proceed()
            self._resume()

    # Ends.

    def _refuse(self, refused: Refused) -> None:
        """Answer in place of the application, after the answers before it, and read nothing more."""
        self._mode = DEAF
        self._neutral = False
        self._forget()
        call = HttpCall(self, NO_HEAD, b"", 0)
        self._queue(call)
        answer_refusal(call, self._listener, refused)

    def connection_lost(self, _exc: Exception | None) -> None:
        """The client is gone: tell the application, once a call."""
        self._transport = None
        self._mode = DEAF
        listener = self._listener
        listener.connections.discard(self)
        listener.half_closed.discard(self)
        calls = [] if self._first is None else [self._first, *(self._later or ())]
        self._first = self._later = None
        self._budget.held -= self._stuck
        self._stuck = 0
        self._forget()
        for call in calls:
            self._budget.held -= call.held
            call.held = 0
            if call.connection is not None:
                call.connection = None
                _cancel(call)
        listener.lost()

    def _finish(self) -> None:
        """The last answer is written: end our side, and give the client time to read it and end its own.

        Closing at once while it still sends would reset the connection and could lose it the answer.
        """
        self._mode = DEAF
        self._neutral = False
        transport = self._transport
        if transport is None:
            return
        listener = self._listener
        unsent = transport.get_write_buffer_size()
        limits = listener.limits
        wait = limits.write_s + unsent / limits.body_rate if unsent else limits.linger_s
        self.deadline = listener.now + wait
        if self.eof:
            transport.close()
            return
        transport.write_eof()
        if self._paused and not self._stuck:
            self._paused = False
            transport.resume_reading()

    def leave(self) -> None:
        """The server is stopping: finish what is under way, then close.

        A client that asked just now may be asking again, and would take an end for a failure: it may ask once
        more, soon. So may one that has yet to ask.
        """
        self.last = True
        if self._first is not None or self._mode != HEAD or self._rest:
            return
        listener = self._listener
        if listener.idle_at - self.deadline < LEAVE_S:
            self._neutral = False
            self.deadline = listener.now + LEAVE_S
        else:
            self._close()

    def _close(self) -> None:
        self._mode = DEAF
        self._neutral = False
        if self._transport is not None:
            self.deadline = self._listener.now + self._listener.limits.linger_s
            self._transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def expire(self, now: float) -> None:
        """The deadline is over."""
        if self._stuck or (self._mode == DEAF and self._first is None):
            self.abort()
        elif self._mode == BODY:
            self._refuse(Refused(408, "the request body did not arrive in time"))
        elif self._mode == HEAD and self._rest and not self._blocked():
            self._refuse(Refused(408, "the request head did not arrive in time"))
        elif self._first is not None:
            self.deadline = now + self._listener.limits.idle_s  # the application keeps its own time
        else:
            self._close()

    def probe(self) -> None:
        """Find out whether a client that ended its side still listens.

        TCP does not tell a client that will read from one that is gone until something is sent to it, so an
        interim answer is; RFC 9110, 15.2: a client must take any number of those.
        """
        transport, first = self._transport, self._first
        if transport is None or first is None or self._stuck:
            return
        if not self.probed:
            if isinstance(first.answer, HttpStream) and first.answer.probe():
                self.probed = True
            elif first.head.minor:
                self.probed = True
                transport.write(CONTINUE)
        elif transport.get_extra_info("socket").getsockopt(IPPROTO_TCP, TCP_INFO, 1)[0] == _TCP_CLOSED:
            transport.abort()


def no_room() -> Refused:
    """The refusal of a body that the budget has no room for."""
    return Refused(503, "too many request bodies in flight; try again")


def answer_refusal(call: HttpCall, listener: HttpListener, error: Exception | None) -> None:
    """Answer with a finding of the listener's own."""
    if not isinstance(error, Refused):
        log.error("a bug while a body was decompressed; please report it", exc_info=error)
        error = Refused(500, "internal error; the server's log says more")
    extra = b"Retry-After: 1\r\n" if error.status == 503 else b""
    call.respond(error.status, listener.on_error(error.status, error.message), extra=extra)


def _cancel(call: HttpCall) -> None:
    hear = call.on_cancel
    if hear is None:
        return
    call.on_cancel = None
    try:
        hear()
    except Exception:
        log.exception("a bug in the application's on_cancel")
