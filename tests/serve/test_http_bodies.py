"""Compressed bodies, bombs, and the bound on all bodies together."""

import gzip
import time
import zlib

import pytest
from http_running import GET, Running, chunked, post, until


@pytest.fixture(scope="module")
def running():
    with Running() as each:
        yield each


@pytest.fixture
def client(running):
    with running.client() as each:
        yield each


BODY = b'{"numbers": [1, 2, 3]}' * 20_000


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        (b"gzip", gzip.compress(BODY)),
        (b"x-gzip", gzip.compress(BODY, 0)),
        (b"GZIP", gzip.compress(BODY[:1000]) + gzip.compress(BODY[1000:])),
        (b"deflate", zlib.compress(BODY)),
        (b"deflate", raw_deflate(BODY)),
        (b"identity", BODY),
    ],
)
def test_compressed_bodies(client, coding, packed):
    extra = b"Content-Encoding: %b\r\n" % coding
    client.send(post(packed, extra=extra) + chunked(packed[:10], packed[10:], extra=extra) + GET)
    assert client.answer().body == BODY
    assert client.answer().body == BODY
    assert client.answer().body == b"{}"


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        (b"gzip", b"no gzip"),
        (b"gzip", gzip.compress(BODY)[:-9]),
        (b"gzip", gzip.compress(BODY) + b"more"),
        (b"gzip", gzip.compress(b"") * 200),
        (b"deflate", zlib.compress(BODY) + b"more"),
        (b"deflate", zlib.compress(BODY)[:50]),
        (b"deflate", b"\xff"),
    ],
)
def test_broken_compressed_bodies(client, coding, packed):
    assert client.send(post(packed, extra=b"Content-Encoding: %b\r\n" % coding)).answer().status == 400
    assert client.send(GET).answer().status == 200


def bomb(size):
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join([*parts, packer.flush()])


def test_gzip_bomb_is_refused_beside_a_polite_client(running):
    packed = bomb(1 << 30)
    with running.client() as evil, running.client() as good:
        evil.send(post(packed, extra=b"Content-Encoding: gzip\r\n"))
        rounds = 0
        evil.socket.settimeout(0.0)
        answer = None
        while answer is None:
            assert good.send(post(b"x")).answer().body == b"x"
            rounds += 1
            try:
                answer = evil.answer()
            except BlockingIOError:
                continue
        assert answer.status == 413
        assert rounds > 5  # it took many slices, and others were served between them


def test_bomb_within_the_limit_needs_room_in_the_budget():
    with Running(total_bytes=8 << 20) as running, running.client() as client:
        answer = client.send(post(bomb(32 << 20), extra=b"Content-Encoding: gzip\r\n")).answer()
        assert (answer.status, answer.headers[b"retry-after"]) == (503, b"1")
        until(lambda: running.budget.held == 0)


def test_client_gone_while_its_body_is_decompressed(running):
    packed = bomb(60 << 20)
    for _ in range(10):
        with running.client() as client:
            client.send(post(packed, path=b"/hold", extra=b"Content-Encoding: gzip\r\n"))
            time.sleep(0.01)
            client.reset()
    until(lambda: running.listener.open_connections == 0)
    until(lambda: running.budget.held == 0)


def test_many_large_bodies_are_bounded_together():
    with Running(total_bytes=4 << 20) as running:
        holders = [running.client() for _ in range(3)]
        for holder in holders:
            holder.send(post(bytes(1 << 20), path=b"/hold"))
        until(lambda: len(running.held) == 3)
        with running.client() as client:
            answer = client.send(post(bytes(2 << 20))).answer()
            assert (answer.status, answer.headers[b"retry-after"]) == (503, b"1")
        running.polite()
        running.do(lambda: [call.respond(200, b"") for call in running.held])
        with running.client() as client:
            assert client.send(post(bytes(2 << 20))).answer().status == 200
        for holder in holders:
            holder.close()


def test_announced_bytes_hold_nothing(running):
    idle = [running.client() for _ in range(40)]
    for each in idle:
        each.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 67000000\r\n\r\nabc")
    until(lambda: running.budget.held == 120)
    for each in idle:
        each.close()
    until(lambda: running.budget.held == 0)
