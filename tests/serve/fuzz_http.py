"""Fuzz the HTTP listener: mutate valid streams; nothing may raise, leak a call, or leak the budget.

python tests/serve/fuzz_http.py [seconds] [seed]
"""

import asyncio
import gzip
import random
import sys
import time
from itertools import pairwise

from http_running import GET, ask, chunked, post

from modelyard.serve.budget import BodyBudget
from modelyard.serve.http import HttpLimits, HttpListener
from modelyard.serve.http_connection import Connection
from modelyard.serve.steps import Steps


class Transport:
    """A socket's stand-in that keeps what is written."""

    def __init__(self):
        self.out = bytearray()
        self.closed = False
        self.reading = True

    def write(self, data):
        self.out += data

    def writelines(self, pieces):
        for piece in pieces:
            self.out += piece

    def get_write_buffer_size(self):
        return 0

    def set_write_buffer_limits(self, high):
        pass

    def write_eof(self):
        pass

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def close(self):
        self.closed = True

    abort = close


class Wire:
    """One connection without a socket."""

    def __init__(self, loop, *, hold=False):
        self.loop = loop
        self.hold = hold
        self.seen, self.held, self.problems, self.cancelled = [], [], [], 0
        self.budget = BodyBudget(1 << 24)
        limits = HttpLimits(body_bytes=1 << 20)
        listener = HttpListener(self.app, limits, self.budget, lambda status, message: message.encode())
        listener.loop, listener.steps = loop, Steps(loop)
        self.transport = Transport()
        self.connection = Connection(listener)
        self.connection.connection_made(self.transport)

    def app(self, call):
        self.seen.append((call.method, call.path, call.query, bytes(call.body)))
        if self.hold:
            self.held.append(call)
        else:
            call.respond(200, b"ok")

    def turn(self):
        """Let what waits for another turn of the loop happen."""
        for _ in range(1000):
            self.loop.run_until_complete(asyncio.sleep(0))
            if not self.loop._ready:
                return

    def feed(self, pieces):
        for piece in pieces:
            if piece and not self.transport.closed:
                try:
                    self.connection.data_received(piece)
                except Exception as error:
                    self.problems.append(error)
            self.turn()

    def lose(self):
        try:
            self.connection.connection_lost(None)
        except Exception as error:
            self.problems.append(error)
        self.turn()

    def answers(self):
        rest, found = bytes(self.transport.out), []
        while rest:
            top, _, rest = rest.partition(b"\r\n\r\n")
            status = int(top.split()[1])
            size = 0
            if status != 100:
                size = int(top.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            assert len(rest) >= size
            found.append((status, rest[:size]))
            rest = rest[size:]
        return found

    def statuses(self):
        return [status for status, _ in self.answers()]

    def bodies(self):
        return [body for _, body in self.answers()]


def streams():
    """Valid streams to start from."""
    packed = gzip.compress(b"hello " * 1000)
    return [
        GET * 3,
        post(b"hello") + ask(b"/x?y", b"Connection: keep-alive", version=b"1.0"),
        chunked(b"hello", b"x" * 300) + GET,
        post(packed, extra=b"Content-Encoding: gzip\r\n") + post(b"after"),
        chunked(packed[:20], packed[20:], extra=b"Content-Encoding: gzip\r\n"),
        b"POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello" + GET,
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n0\r\nT: u\r\n\r\n"
        + GET,
        ask(b"http://a/b?c", b"Upgrade: h2c", b"Connection: close"),
    ]


TOKENS = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b",", b"chunked", b"Content-Length: 3\r\n", b"0\r\n\r\n", b"-1",
    b"Transfer-Encoding: chunked\r\n", b"Content-Encoding: deflate\r\n", b"Connection: close\r\n", b"\xff",
    b"ffffffffffffffff", b"Expect: 100-continue\r\n", b"HTTP/1.0", b"HEAD", b";", b"A" * 9000,
]  # fmt: skip


def mutated(seeds, *, seed, count):
    """``count`` streams, each a list of pieces as they might arrive."""
    chance = random.Random(seed)
    for _ in range(count):
        data = bytearray(b"".join(chance.choices(seeds, k=chance.randint(1, 3))))
        for _ in range(chance.randint(0, 6)):
            at = chance.randrange(len(data) + 1)
            what = chance.randrange(4)
            if what == 0:
                data[at:at] = chance.choice(TOKENS)
            elif what == 1:
                del data[at : at + chance.randint(1, 20)]
            elif what == 2 and at < len(data):
                data[at] = chance.randrange(256)
            else:
                other = chance.randrange(len(data) + 1)
                data[at:at] = data[other : other + chance.randint(1, 60)]
        cuts = sorted({0, len(data), *(chance.randrange(len(data) + 1) for _ in range(chance.randint(0, 8)))})
        yield [bytes(data[a:b]) for a, b in pairwise(cuts)]


def main(seconds=5.0, seed=0):
    """Fuzz for a while; the number of streams tried."""
    loop = asyncio.new_event_loop()
    end, tried = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        seed += 1
        for stream in mutated(streams(), seed=seed, count=50):
            wire = Wire(loop, hold=seed % 2 == 0)
            wire.feed(stream)
            for call in wire.held[::-1]:
                call.respond(200, b"late")
            wire.answers()
            wire.lose()
            assert wire.problems == [], (seed, stream, wire.problems)
            assert wire.budget.held == 0, (seed, stream)
            tried += 1
    loop.close()
    return tried


if __name__ == "__main__":
    print(
        main(*(float(each) if i == 0 else int(each) for i, each in enumerate(sys.argv[1:]))),
        "streams, none broke it",
    )
