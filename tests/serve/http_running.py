"""A real listener on a loop of its own, and raw sockets to talk to it."""

import asyncio
import contextlib
import socket
import threading
import time

import uvloop

from modelyard.serve.budget import BodyBudget
from modelyard.serve.http import HttpLimits, HttpListener

GET = b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"


def ask(path, *lines, method=b"GET", version=b"1.1"):
    return b"\r\n".join([b"%b %b HTTP/%b" % (method, path, version), b"Host: a", *lines, b"", b""])


def post(body, path=b"/echo", extra=b""):
    return b"POST %b HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n%b" % (path, extra, len(body), body)


def chunked(*chunks, path=b"/echo", extra=b""):
    lines = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in chunks)
    return b"POST %b HTTP/1.1\r\nHost: a\r\n%bTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % (
        path,
        extra,
        lines,
    )


class Answer:
    def __init__(self, status, headers, body, raw):
        self.status, self.headers, self.body, self.raw = status, headers, body, raw

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:200]!r}>"


class Client:
    """One raw connection."""

    def __init__(self, port, timeout=15, receive_bytes=None):
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self.rest = b""

    def send(self, data):
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)
        return self

    def _fill(self):
        more = self.socket.recv(1 << 20)
        self.rest += more
        return bool(more)

    def answer(self, *, head=False, interim=False):
        """The next answer; None at the end."""
        while b"\r\n\r\n" not in self.rest:
            if not self._fill():
                assert not self.rest, self.rest
                return None
        top, _, self.rest = self.rest.partition(b"\r\n\r\n")
        line, *rows = top.split(b"\r\n")
        status = int(line.split()[1])
        if status == 100 and not interim:
            return self.answer(head=head)
        headers = {}
        for row in rows:
            name, _, value = row.partition(b": ")
            assert name.lower() not in headers, row
            headers[name.lower()] = value
        size = 0 if head or status in (100, 204) else int(headers[b"content-length"])
        parts, have = [self.rest], len(self.rest)
        while have < size:
            more = self.socket.recv(1 << 20)
            assert more, f"the body ended after {have} of {size} bytes"
            parts.append(more)
            have += len(more)
        whole = b"".join(parts)
        body, self.rest = whole[:size], whole[size:]
        return Answer(status, headers, body, top)

    def ended(self):
        """Whether the server closes without another byte."""
        try:
            return not self.rest and not self.socket.recv(1)
        except ConnectionError:
            return True

    def close(self):
        self.socket.close()

    def reset(self):
        """Close as a crash would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Running:
    """A listener whose application does what the path says; ``calls`` are those it was given."""

    def __init__(self, total_bytes=1 << 30, **limits):
        limits.setdefault("tick_s", 0.05)
        self.limits = HttpLimits(**limits)
        self.budget = BodyBudget(total_bytes)
        self.calls = []
        self.held = []
        self.cancelled = []
        self.problems = []
        self.loop = uvloop.new_event_loop()
        self.loop.set_exception_handler(lambda _, context: self.problems.append(context))
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def app(self, call):
        path = call.path
        if path == b"/echo":
            self.calls.append((call.method, call.path, call.query, bytes(call.body)))
            call.respond(200, bytes(call.body) or b"{}")
        elif path == b"/big":
            call.respond(200, [memoryview(bytes(1 << 20))] * int(call.query), b"application/octet-stream")
        elif path == b"/hold":
            self.held.append(call)
            call.on_cancel = lambda: self.cancelled.append(call)
        elif path == b"/late":
            self.loop.call_later(float(call.query), call.respond, 200, b"late " + call.query)
        elif path == b"/raise":
            raise RuntimeError("told to")
        elif path == b"/header":
            call.respond(200, repr(call.header(call.query)).encode(), b"text/plain", b"X-Extra: yes\r\n")
        elif path == b"/status":
            call.respond(int(call.query), b"body")
        else:
            call.respond(404, b"no")

    def wait(self, work, timeout=30):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout)

    def do(self, work):
        """Run a function on the loop and wait for it."""

        async def run():
            return work()

        return self.wait(run())

    def __enter__(self):
        self.thread.start()

        async def start():
            self.listener = HttpListener(
                self.app, self.limits, self.budget, lambda status, message: f"{status} {message}".encode()
            )
            return await self.listener.open("127.0.0.1", 0)

        self.port = self.wait(start())
        return self

    def __exit__(self, kind, *_):
        self.wait(self.listener.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()
        if kind is None:
            assert self.budget.held == 0
            assert not self.problems, self.problems

    def client(self, **how):
        return Client(self.port, **how)

    def polite(self):
        """A client beside the others is served."""
        with self.client() as client:
            assert client.send(post(b"polite")).answer().body == b"polite"


def until(condition, seconds=10.0):
    """Wait for something that another thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)
