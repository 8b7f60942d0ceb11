"""The listener's manners: keep-alive, order, pipelining, interim answers, errors of the application."""

import shutil
import subprocess
import time

import pytest
from http_running import GET, Running, ask, chunked, post, until

from modelyard.core.errors import PortBusy
from modelyard.serve.http import HttpListener


@pytest.fixture(scope="module")
def running():
    with Running() as each:
        yield each


@pytest.fixture
def client(running):
    with running.client() as each:
        yield each


def test_keep_alive_on_one_connection(client):
    for i in range(50):
        body = b"x" * i
        assert client.send(post(body)).answer().body == (body or b"{}")


def test_headers_of_an_answer(client):
    answer = client.send(ask(b"/header?x-a", b"X-A: 1", b"x-a: 2")).answer()
    assert answer.body == b"b'1, 2'"
    assert answer.headers[b"server"] == b"modelyard"
    assert answer.headers[b"date"].endswith(b" GMT")
    assert answer.headers[b"content-type"] == b"text/plain"
    assert answer.headers[b"x-extra"] == b"yes"
    assert b"connection" not in answer.headers


def test_absent_header(client):
    assert client.send(ask(b"/header?x-b")).answer().body == b"None"


def test_head_has_the_length_and_no_body(client):
    answer = client.send(ask(b"/status?200", method=b"HEAD")).answer(head=True)
    assert answer.headers[b"content-length"] == b"4"
    assert client.send(ask(b"/status?404", method=b"HEAD")).answer(head=True).status == 404
    assert client.send(GET).answer().status == 200


def test_no_content(client):
    answer = client.send(ask(b"/status?204")).answer()
    assert b"content-length" not in answer.headers
    assert client.send(GET).answer().status == 200


def test_old_clients(running):
    with running.client() as client:
        answer = client.send(ask(b"/echo", version=b"1.0")).answer()
        assert answer.headers[b"connection"] == b"close"
        assert client.ended()
    with running.client() as client:
        for _ in range(2):
            answer = client.send(ask(b"/echo", b"Connection: keep-alive", version=b"1.0")).answer()
            assert answer.headers[b"connection"] == b"keep-alive"


def test_connection_close(client):
    answer = client.send(ask(b"/echo", b"Connection: foo, Close")).answer()
    assert answer.headers[b"connection"] == b"close"
    assert client.ended()


def test_pipelined_answers_keep_their_order(client):
    waits = [0.2, 0.0, 0.1, 0.05, 0.15]
    client.send(b"".join(ask(b"/late?%g" % wait) for wait in waits) + GET)
    assert [client.answer().body for _ in waits] == [b"late %g" % wait for wait in waits]
    assert client.answer().body == b"{}"


def test_pipeline_is_bounded_and_goes_on():
    with Running(pipeline=4) as running, running.client() as client:
        client.send(ask(b"/hold") * 10)
        until(lambda: len(running.held) == 4)
        time.sleep(0.1)
        assert len(running.held) == 4
        for i in range(10):
            until(lambda i=i: len(running.held) > i)
            running.do(lambda i=i: running.held[i].respond(200, b"%d" % i))
        assert [client.answer().body for _ in range(10)] == [b"%d" % i for i in range(10)]


def test_thousands_pipelined_at_once(client):
    client.send(post(b"1") * 5000)
    for _ in range(5000):
        assert client.answer().body == b"1"


def test_large_bodies_whole_chunked_and_beside_each_other(client):
    body = bytes(range(256)) * (20 << 12)
    assert client.send(post(body)).answer().body == body
    pieces = [body[i : i + 100_000] for i in range(0, len(body), 100_000)]
    assert client.send(chunked(*pieces) + GET).answer().body == body
    assert client.answer().body == b"{}"


def test_answer_in_pieces(client):
    assert len(client.send(ask(b"/big?5")).answer().body) == 5 << 20


def test_expect_continue(client):
    start = b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n"
    assert client.send(start).answer(interim=True).status == 100
    assert client.send(b"hello").answer(interim=True).body == b"hello"
    assert client.send(start + b"hello").answer(interim=True).status == 200


def test_expect_continue_does_not_overtake_an_answer(client):
    start = b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    client.send(ask(b"/late?0.1") + start)
    assert client.answer(interim=True).body == b"late 0.1"
    assert client.answer(interim=True).status == 100
    assert client.send(b"2\r\nhi\r\n0\r\n\r\n").answer(interim=True).body == b"hi"


def test_expect_continue_is_refused_without_the_body(client):
    start = b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"
    assert client.send(start).answer(interim=True).status == 413


def test_bug_in_the_application(client):
    assert client.send(ask(b"/raise")).answer().status == 500
    assert client.send(GET).answer().status == 200


def test_second_answer_is_ignored(running, client):
    running.held.clear()
    client.send(ask(b"/hold"))
    until(lambda: running.held)
    running.do(lambda: [running.held[0].respond(200, each) for each in (b"one", b"two")])
    assert client.answer().body == b"one"
    assert client.send(GET).answer().body == b"{}"


def test_port_busy_is_one_line(running):
    other = HttpListener(running.app, running.limits, running.budget, lambda *_: b"")
    with pytest.raises(PortBusy, match=f"port {running.port} .*in use"):
        running.wait(other.open("127.0.0.1", running.port))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(
    "arguments",
    [
        ["-d", "hello"],
        ["--http1.0", "-d", "hello"],
        ["--http2", "-d", "hello"],
        ["-H", "Transfer-Encoding: chunked", "-d", "hello"],
        ["-H", "Expect: 100-continue", "-d", "hello"],
    ],
)
def test_curl(running, arguments):
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "10", *arguments, f"http://127.0.0.1:{running.port}/echo"],
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"hello"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_hears_why_a_large_body_was_refused(running, tmp_path):
    (tmp_path / "big").write_bytes(bytes(70 << 20))
    what = ["-H", "Expect:", "--data-binary", f"@{tmp_path / 'big'}", "-w", "%{http_code}"]
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "20", *what, f"http://127.0.0.1:{running.port}/echo"],
        capture_output=True,
        check=False,
    )
    assert done.stdout.endswith(b"413")
