"""Bodies that hurt servers, sent over and over: `python -m benchmarks.abuse NAME PORT PATH SECONDS`.

Every body is built before the clock runs. Prints one JSON line: how many were sent, and how each ended.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import selectors
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable

HEAD = "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n{more}\r\n"
TENSOR = b'{"name":"a","shape":[1],"datatype":"FP32","data":[1]}'


def _whole(path: str, body: bytes, *more: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in (*more, f"Content-Length: {len(body)}"))
    return HEAD.format(path=path, more=lines).encode() + body


def large_json(path: str) -> bytes:
    """64 MB of numbers in one tensor."""
    numbers = b",".join([b"0.12345"] * 8_000_000)
    head = b'{"inputs":[{"name":"X","datatype":"FP32","shape":[2000000,4],"data":['
    return _whole(path, head + numbers + b"]}]}")


def tiny_tensors(path: str) -> bytes:
    """A million tensors of one number each."""
    return _whole(path, b'{"inputs":[' + b",".join([TENSOR] * 1_000_000) + b"]}")


def many_tensors(path: str) -> bytes:
    """As many one-number tensors as 4 MB hold: small enough to pass a size limit."""
    return _whole(path, b'{"inputs":[' + b",".join([TENSOR] * 75_000) + b"]}")


def deep_json(path: str) -> bytes:
    """A hundred thousand nested brackets."""
    return _whole(path, b"[" * 100_000 + b"]" * 100_000)


def gzip_bomb(path: str) -> bytes:
    """A gigabyte of zeros in a megabyte."""
    return _whole(path, gzip.compress(bytes(1 << 30), 6), "Content-Encoding: gzip")


def one_byte_chunks(path: str) -> bytes:
    """A million chunks of one byte."""
    head = HEAD.format(path=path, more="Transfer-Encoding: chunked\r\n").encode()
    return head + b"1\r\n1\r\n" * 1_000_000 + b"0\r\n\r\n"


BODIES: dict[str, Callable[[str], bytes]] = {
    "64 MB of JSON numbers": large_json,
    "a million tiny tensors": tiny_tensors,
    "75,000 tensors in 4 MB": many_tensors,
    "100,000 nested brackets": deep_json,
    "1 GB gzip bomb": gzip_bomb,
    "a million one-byte chunks": one_byte_chunks,
}
SLOW = "200 slow bodies"
PIECE = 32 << 10
"""Sent by one call: the kernel copies it without giving way, and megabytes would keep the polite client from
this core for 20 ms, which it would then blame on the server."""
NAMES = (*BODIES, SLOW)


def send_over_and_over(port: int, data: bytes, seconds: float) -> Counter[str]:
    """One connection after the other, each with the whole body; counts how they ended."""
    ends: Counter[str] = Counter()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ends[_send(port, data, until)] += 1
    return ends


def _send(port: int, data: bytes, until: float) -> str:
    pieces = memoryview(data)
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as one:
            one.settimeout(max(0.1, until - time.monotonic()))
            # Refused early, the rest cannot be sent: the answer is there all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for at in range(0, len(data), PIECE):
                    one.sendall(pieces[at : at + PIECE])
            answer = one.recv(64)
            return answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/") else "closed"
    except TimeoutError:
        return "no answer in time"
    except OSError:
        return "closed"


def drip(port: int, path: str, seconds: float, connections: int = 200) -> Counter[str]:
    """Many connections that promise a body and send a byte of it every fifth of a second."""
    ends: Counter[str] = Counter()
    head = HEAD.format(path=path, more="Content-Length: 100000\r\n").encode()
    watch = selectors.DefaultSelector()
    for _ in range(connections):
        one = socket.create_connection(("127.0.0.1", port), 2)
        one.sendall(head)
        one.setblocking(False)
        watch.register(one, selectors.EVENT_READ)
    until = time.monotonic() + seconds
    while time.monotonic() < until and watch.get_map():
        for key in list(watch.get_map().values()):
            with contextlib.suppress(OSError):
                os.write(key.fd, b"1")
        for key, _ in watch.select(0.2):
            watch.unregister(key.fileobj)
            ends["ended by the server"] += 1
    ends["still open"] = len(watch.get_map())
    return ends


def main() -> None:
    """Say "ready" once the body is built, wait for a line, then send until time is up."""
    name, port, path, seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    # The polite client shares this core and must not wait for us: an idle process gives way at once, while
    # one that is only nice keeps the core for the rest of its time slice, which is milliseconds.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    data = BODIES[name](path) if name in BODIES else b""
    print("ready", flush=True)
    sys.stdin.readline()
    ends = drip(port, path, seconds) if name == SLOW else send_over_and_over(port, data, seconds)
    print(json.dumps(ends), flush=True)


if __name__ == "__main__":
    main()
