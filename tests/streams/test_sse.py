"""``generate_stream`` over real sockets: pieces when they are made, every kind of end, a slow reader."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess

import pytest
from plane_running import until

pytestmark = pytest.mark.parametrize("shared", ["native"], indirect=True)
PATH = "/v2/models/talk/generate_stream"


def request_of(body):
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (PATH.encode(), len(body))
    return head + body


class Curl:
    """`curl -N`, read event by event."""

    def __init__(self, plane, text, *options, path=PATH):
        url = f"http://127.0.0.1:{plane.port}{path}"
        body = json.dumps({"text": text})
        self.process = subprocess.Popen(
            ["curl", "-sSN", *options, "-d", body, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def event(self):
        """The next event; None at the end."""
        line = self.process.stdout.readline()
        if not line:
            return None
        assert line.startswith(b"data: "), line
        assert self.process.stdout.readline() == b"\n"
        return json.loads(line[6:])

    def say(self):
        return (self.event() or {}).get("prediction")

    def rest(self):
        found = []
        while (event := self.event()) is not None:
            found.append(event)
        assert self.process.wait(30) == 0, self.process.stderr.read()
        return found


@pytest.mark.proves("dialect:triton", call="generate_stream, piece by piece", client="curl")
def test_a_piece_comes_before_the_next_is_made(plane, tmp_path):
    gate = tmp_path / "gate"
    with Curl(plane, f"first wait:{gate} second") as curl:
        assert curl.event() == {"model_name": "talk", "model_version": "1", "prediction": "first "}
        assert not gate.exists()
        gate.touch()
        assert [event["prediction"] for event in curl.rest()] == ["second "]


def test_the_body_is_chunked_and_the_connection_goes_on(plane):
    body = json.dumps({"text": "a b", "id": "7"}).encode()
    request = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (
        PATH.encode(),
        len(body),
        body,
    )
    with socket.create_connection(("127.0.0.1", plane.port), timeout=30) as client:
        client.sendall(request * 2 + b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        found = b""
        while part := client.recv(65536):
            found += part
    first, second, live, *more = found.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert not more
    assert live.endswith(b'{"live":true}')
    for answer in (first, second):
        head, _, chunks = answer.partition(b"\r\n\r\n")
        assert b"Transfer-Encoding: chunked" in head
        assert b"Content-Type: text/event-stream; charset=utf-8" in head
        assert b"Content-Length" not in head
        events = [b'data: {"model_name":"talk","model_version":"1","id":"7","prediction":"%b "}\n\n' % word
                  for word in (b"a", b"b")]  # fmt: skip
        assert chunks == b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in events) + b"0\r\n\r\n"


def test_http_1_0_gets_a_body_that_ends_with_the_connection(plane):
    with Curl(plane, "a b c", "--http1.0") as curl:
        assert [event["prediction"] for event in curl.rest()] == ["a ", "b ", "c "]


def test_generate_is_joined_and_infer_is_too(plane):
    assert plane.host_says("a b c") == ["a b c "]
    value = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["x y"]}
    status, found = plane.ask("POST", "/v2/models/talk/infer", json.dumps({"inputs": [value]}))
    assert (status, found["outputs"][0]["data"]) == (200, ["x y "])


def test_an_error_before_the_first_piece_is_a_status(plane):
    for text, status in (("refuse", 400), ("raise", 500)):
        found, answer = plane.ask("POST", PATH, json.dumps({"text": text}))
        assert found == status
        assert set(answer) == {"error", "code"}
    assert plane.ask("POST", PATH, json.dumps({"text": ["a", "b"]}))[0] == 400


def test_an_error_midway_is_the_last_event(plane):
    with Curl(plane, "one two raise three") as curl:
        assert [curl.say(), curl.say()] == ["one ", "two "]
        (last,) = curl.rest()
    assert last["code"] == "model-failed"
    assert "told to" in last["error"]


def test_a_client_that_leaves_closes_the_generator(plane, tmp_path):
    gate = tmp_path / "gate"
    with Curl(plane, f"left {'word ' * 50} wait:{gate} {'word ' * 50}") as curl:
        assert curl.say() == "left "
    gate.touch()
    until(plane.rests)
    assert "left" in plane.closed()


def test_requests_are_answered_while_a_stream_is_open(plane, tmp_path):
    with Curl(plane, "open " + "many:400") as stream:
        assert stream.say() == "open "
        assert plane.host_says("between") == ["between "]
        with Curl(plane, "other stream") as other:
            assert [event["prediction"] for event in other.rest()] == ["other ", "stream "]
        assert stream.say() is not None


def test_a_slow_reader_holds_no_more_than_its_window(plane):
    """The model could say 320 MB; what is made is what the sockets and one write buffer hold."""
    body = b'{"text": "many:10000"}'
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        client.connect(("127.0.0.1", plane.port))
        client.sendall(request_of(body))
        client.recv(1024)
        (job,) = plane.do(lambda: list(plane.batcher._streams))
        made = -1
        until(lambda: plane.do(lambda: not job.turning))
        while made != job.count:
            made = job.count
            assert plane.host_says("meanwhile") == ["meanwhile "]
        assert 0 < made * 32768 < 16 << 20
        client.settimeout(30)
        while plane.do(lambda: job.count) < made + 200:
            assert client.recv(1 << 20)
    until(plane.rests)


def test_the_deadline_ends_a_stream_that_nobody_reads_on(plane, tmp_path):
    gate = tmp_path / "gate"
    body = {"text": f"late wait:{gate} never", "parameters": {"timeout": 1_000_000}}
    done = subprocess.Popen(
        ["curl", "-sSN", "-d", json.dumps(body), f"http://127.0.0.1:{plane.port}{PATH}"],
        stdout=subprocess.PIPE,
    )
    found, _ = done.communicate(timeout=60)
    gate.touch()
    events = [json.loads(line[6:]) for line in found.splitlines() if line]
    assert events[0]["prediction"] == "late "
    assert events[-1]["code"] == "deadline-exceeded"
    until(plane.rests)
    assert "late" in plane.closed()


@pytest.mark.parametrize("how", ["kill", "die"])
def test_a_host_that_dies_midway_is_said_and_comes_back(plane, tmp_path, how):
    gate = tmp_path / "gate"
    with Curl(plane, f"one wait:{gate} {'die' if how == 'die' else 'two'}") as curl:
        assert curl.say() == "one "
        if how == "kill":
            os.kill(plane.host.pid, signal.SIGKILL)
        gate.touch()
        (last,) = curl.rest()
    assert last["code"] == "host-died"
    assert plane.host_says("again") == ["again "]


def test_models_that_answer_once_give_one_event(plane):
    body = json.dumps({"x": [1, 2]})
    done = subprocess.run(
        ["curl", "-sS", "-d", body, f"http://127.0.0.1:{plane.port}/v2/models/double/generate_stream"],
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert json.loads(done.stdout.removeprefix(b"data: "))["y"] == [2.0, 4.0]
