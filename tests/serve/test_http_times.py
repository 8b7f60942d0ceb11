"""Clients that are slow, silent, half gone or gone; and the end of the server."""

import socket
import time

import pytest
from http_running import GET, Running, ask, chunked, post, until


@pytest.fixture(scope="module")
def running():
    with Running() as each:
        yield each


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (b"GET / HTT", 408),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX:", 408),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", 408),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", 408),
        (b"", None),
    ],
)
@pytest.mark.parametrize("before", [b"", GET])
def test_silence_is_ended(before, start, status):
    with Running(header_s=0.2, stall_s=0.2, idle_s=0.3, linger_s=0.3) as running, running.client() as client:
        client.send(before + start)
        if before:
            assert client.answer().status == 200
        answer = client.answer()
        assert (answer and answer.status) == status
        assert client.ended()
        until(lambda: running.listener.open_connections == 0)


def test_dripping_head_is_ended():
    with Running(header_s=0.3, linger_s=0.1) as running, running.client() as client:
        client.send(b"GET / HTTP/1.1\r\n")
        until(lambda: client.send(b"X: y\r\n") and not running.listener.open_connections)


def test_dripping_body_is_ended():
    with Running(body_s=0.3, linger_s=0.1) as running, running.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        until(lambda: client.send(b"x") and not time.sleep(0.01) and not running.listener.open_connections)


def test_slow_but_honest_body_may_take_longer():
    with Running(body_s=0.2, body_rate=1000) as running, running.client() as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n")
        for _ in range(10):
            time.sleep(0.05)
            client.send(bytes(200))
        assert client.answer().status == 200


def test_waiting_for_the_application_is_not_silence():
    with Running(idle_s=0.1, header_s=0.1) as running, running.client() as client:
        assert client.send(ask(b"/late?0.5")).answer().body == b"late 0.5"


def test_half_closed_client_hears_its_answer(running):
    with running.client() as client:
        client.send(ask(b"/late?0.3") + post(b"two"))
        client.socket.shutdown(socket.SHUT_WR)
        assert client.answer().body == b"late 0.3"
        answer = client.answer()
        assert (answer.body, answer.headers.get(b"connection")) == (b"two", None)
        assert client.ended()


@pytest.mark.parametrize("start", [b"GET / HT", post(b"abc")[:-1], chunked(b"abc")[:-2]])
def test_half_closed_in_the_middle(running, start):
    with running.client() as client:
        client.send(start)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.answer().status == 400
        assert client.ended()


@pytest.mark.parametrize("how", ["close", "reset"])
def test_thousand_clients_that_vanish(how):
    with Running() as running:
        for _ in range(5):
            clients = [running.client() for _ in range(200)]
            for client in clients:
                client.send(post(b"x" * 100, path=b"/hold"))
            until(lambda: len(running.held) == 200)
            for client in clients:
                getattr(client, how)()
            until(lambda: len(running.cancelled) == 200)
            running.do(lambda: [call.respond(200, b"late") for call in running.held])
            running.held.clear()
            running.cancelled.clear()
        until(lambda: running.listener.open_connections == 0)
        assert running.budget.held == 0
        running.polite()


def test_slow_reader_is_paused_counted_and_dropped():
    with Running(write_s=0.5, body_rate=1 << 30, write_high=64 << 10) as running:
        with running.client(receive_bytes=4096) as client:
            client.send(ask(b"/big?30") * 3)
            until(lambda: running.budget.held > 1 << 20)
            until(lambda: running.listener.open_connections == 0)
        assert running.budget.held == 0
        running.polite()


def test_slow_reader_that_catches_up(running):
    with running.client(receive_bytes=4096) as client:
        client.send(ask(b"/big?10") * 3 + GET)
        time.sleep(0.2)
        for _ in range(3):
            assert len(client.answer().body) == 10 << 20
        assert client.answer().body == b"{}"
    assert running.budget.held == 0


def test_too_many_connections():
    with Running(connections=3) as running:
        clients = [running.client() for _ in range(3)]
        for client in clients:
            assert client.send(GET).answer().status == 200
        with running.client() as client:
            answer = client.answer()
            assert (answer.status, answer.headers[b"retry-after"]) == (503, b"1")
            assert client.ended()
        clients.pop().close()
        until(lambda: running.listener.open_connections == 2)
        running.polite()
        for client in clients:
            client.close()


def test_drain_answers_what_is_under_way_and_closes():
    with Running() as running, running.client() as busy, running.client() as idle, running.client() as half:
        idle.send(GET).answer()
        busy.send(ask(b"/late?0.3"))
        half.send(post(b"hello")[:-2])
        until(lambda: running.budget.held == 3)
        time.sleep(0.05)
        running.do(lambda: running.loop.create_task(running.listener.drain(5)) and None)
        assert idle.ended()
        answer = busy.answer()
        assert (answer.body, answer.headers[b"connection"]) == (b"late 0.3", b"close")
        answer = half.send(b"lo").answer()
        assert (answer.body, answer.headers[b"connection"]) == (b"hello", b"close")
        until(lambda: running.listener.open_connections == 0)
        with pytest.raises(ConnectionRefusedError):
            running.client()


def test_drain_lets_a_busy_client_and_one_that_just_came_ask_once_more():
    with Running() as running, running.client() as busy, running.client() as fresh, running.client() as quiet:
        busy.send(GET).answer()
        quiet.send(GET).answer()
        until(lambda: running.listener.open_connections == 3)
        running.do(lambda: running.loop.create_task(running.listener.drain(5)) and None)
        until(lambda: running.listener.draining)
        for client in (busy, fresh):
            answer = client.send(post(b"again")).answer()
            assert (answer.body, answer.headers[b"connection"]) == (b"again", b"close")
            assert client.ended()
        assert quiet.ended()
        until(lambda: running.listener.open_connections == 0)


def test_drain_cuts_what_takes_too_long():
    with Running() as running, running.client() as client:
        client.send(ask(b"/hold"))
        until(lambda: running.held)
        running.wait(running.listener.drain(0.1))
        assert client.ended()
        assert len(running.cancelled) == 1
