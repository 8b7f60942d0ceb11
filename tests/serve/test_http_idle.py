"""Ten thousand idle connections: cheap to hold, and nobody beside them notices."""

import contextlib
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SERVER = """
import asyncio, sys, uvloop
from modelyard.serve.budget import BodyBudget
from modelyard.serve.http import HttpLimits, HttpListener

async def asking():
    loop = asyncio.get_running_loop()
    listener = HttpListener(
        lambda call: call.respond(200, b"ok"), HttpLimits(), BodyBudget(1 << 30), lambda *_: b""
    )
    print(await listener.open("127.0.0.1", 0), flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(listener.open_connections, flush=True)

uvloop.run(asking())
"""


def resident_kib(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() // 1024


def polite(port):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return client.recv(1000)


@pytest.mark.slow
@pytest.mark.parametrize("warm", [False, True], ids=["never spoke", "spoke once"])
def test_ten_thousand_idle_connections(warm):
    most = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < most + 500:
        pytest.skip(f"only {hard} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        server = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
        stack.callback(server.kill)
        port = int(server.stdout.readline())
        assert b"200 OK" in polite(port)
        before = resident_kib(server.pid)
        clients = []
        for _ in range(most):
            client = stack.enter_context(socket.socket())
            client.connect(("127.0.0.1", port))
            if warm:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert client.recv(1000).startswith(b"HTTP/1.1 200")
            clients.append(client)
        end = time.monotonic() + 30
        count = 0
        while count < most and time.monotonic() < end:
            print(file=server.stdin, flush=True)
            count = int(server.stdout.readline())
        assert count == most
        assert b"200 OK" in polite(port)
        each = (resident_kib(server.pid) - before) / most
        print(f"{each:.2f} KiB a connection")
        assert each < 6
