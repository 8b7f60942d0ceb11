"""A real worker process, its real socket, real graphs."""

import http.client
import os
import signal
import socket
import threading
import time
from itertools import count
from pathlib import Path

import pytest
from worker_parts import Control, Shelf, WorkerProcess, ask, ask_on, states

from modelyard.flow import Wishes, prepare
from modelyard.serve.link import (
    Answer,
    Ask,
    Drain,
    Elsewhere,
    Hello,
    Repository,
    Seen,
    WantedModel,
    WantedSplit,
    WantedVersion,
)
from modelyard.serve.options import options_digest


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    return Shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture
def worker(tmp_path):
    with WorkerProcess(tmp_path) as worker:
        yield worker


def test_it_says_who_it_is(worker):
    hello = worker.hello
    assert hello.pid == worker.process.pid
    assert hello.options == options_digest(worker.options)
    assert hello.generation == 0
    assert hello.grpc_port


def test_it_serves_what_is_wanted(worker, shelf):
    actual = worker.control.serve(shelf.model("a", 2, 1))
    assert states(actual) == {("a", 1): "serving", ("a", 2): "serving"}
    assert all(copy.size_bytes > 0 and copy.load_s > 0 for copy in actual.copies)
    assert ask(worker.port, "a", 5.0) == (200, ("2", 7.0))
    assert ask(worker.port, "a", 5.0, "1") == (200, ("1", 6.0))


class Load:
    """Users on keep-alive connections who check that each version answers its own number."""

    def __init__(self, port, model, users=8):
        self.port, self.model = port, model
        self.wrong, self.versions, self.done = [], set(), 0
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.user) for _ in range(users)]

    def user(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        for turn in count():
            if self.stop.is_set():
                break
            status, answer = ask_on(connection, self.model, float(turn % 100))
            self.done += 1
            if status == 200 and answer[1] == turn % 100 + int(answer[0]):
                self.versions.add(int(answer[0]))
            else:
                self.wrong.append((status, answer))
        connection.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def test_swaps_drop_nothing_and_give_memory_back(worker, shelf):
    weights = 1 << 21  # 8 MB a version
    worker.control.serve(shelf.model("a", 1, weights=weights))
    with Load(worker.port, "a") as load:
        for number in range(2, 7):
            worker.control.serve(shelf.model("a", number, weights=weights))
        before = worker.resident_bytes()
        for number in [1, 2, 3, 4, 5, 6] * 4:
            worker.control.serve(shelf.model("a", number, weights=weights))
    assert load.wrong == []
    assert load.done > 100
    assert load.versions == {1, 2, 3, 4, 5, 6}
    time.sleep(1.5)  # the trim comes a second after the last copy went
    assert worker.resident_bytes() - before < 24 << 20  # 24 copies of 8 MB came and went


def test_a_version_that_fails_its_replay_never_answers(worker, shelf):
    worker.control.serve(shelf.model("a", 1))
    liar = shelf.version(2, lie=True)
    wanted = WantedModel("a", 2, (shelf.version(1), liar), WantedSplit((2,), (10_000,)))
    actual = worker.control.serve(wanted)
    assert states(actual) == {("a", 1): "serving", ("a", 2): "failed"}
    reasons = {copy.number: copy.reason for copy in actual.copies}
    assert "differ" in reasons[2]
    assert ask(worker.port, "a") == (200, ("1", 1.0))
    assert ask(worker.port, "a", version="2")[0] != 200


def test_the_old_version_stays_while_the_new_one_fails_even_if_only_the_new_is_wanted(worker, shelf):
    worker.control.serve(shelf.model("a", 1))
    actual = worker.control.serve(shelf.model("a", 3, broken=True))
    assert states(actual) == {("a", 1): "serving", ("a", 3): "failed"}
    assert ask(worker.port, "a") == (200, ("1", 1.0))
    actual = worker.control.serve(shelf.model("a", 4))
    assert states(actual) == {("a", 4): "serving"}
    assert ask(worker.port, "a") == (200, ("4", 4.0))


def test_a_failed_copy_is_tried_again_when_its_model_changes(worker, shelf, tmp_path):
    gone = shelf.version(8)
    moved = tmp_path / "away"
    os.rename(gone.folder, moved)
    wanted = WantedModel("a", 1, (gone,), WantedSplit((8,), (10_000,)))
    assert states(worker.control.serve(wanted)) == {("a", 8): "failed"}
    os.rename(moved, gone.folder)
    again = WantedModel("a", 2, (gone,), WantedSplit((8,), (10_000,)))
    assert states(worker.control.serve(again)) == {("a", 8): "serving"}


def test_what_is_not_wanted_goes(worker, shelf):
    worker.control.serve(shelf.model("a", 1), shelf.model("b", 2))
    assert ask(worker.port, "b") == (200, ("2", 2.0))
    actual = worker.control.serve(shelf.model("a", 1))
    assert states(actual) == {("a", 1): "serving"}
    assert ask(worker.port, "b")[0] == 404
    actual = worker.control.serve(WantedModel("a", 2, (shelf.version(1),), None))
    assert states(actual) == {("a", 1): "serving"}  # stands by
    assert ask(worker.port, "a", version="1") == (200, ("1", 1.0))
    assert ask(worker.port, "a")[0] == 404
    assert worker.control.serve().copies == ()


def test_another_digest_of_the_same_number_is_another_copy(worker, shelf):
    worker.control.serve(shelf.model("a", 1))
    with Load(worker.port, "a", users=2) as load:
        actual = worker.control.serve(shelf.model("a", 1, weights=64))
    assert [copy.digest for copy in actual.copies] == [shelf.version(1, weights=64).digest]
    assert load.wrong == []


def test_a_split_without_meaning_changes_nothing(worker, shelf):
    worker.control.serve(shelf.model("a", 1))
    odd = WantedModel("a", 2, (shelf.version(1),), WantedSplit((1, 1), (3, 4)))
    actual = worker.control.serve(odd)
    assert states(actual) == {("a", 1): "serving"}
    assert ask(worker.port, "a") == (200, ("1", 1.0))


def test_losing_control_changes_nothing_and_another_finds_it(worker, shelf):
    worker.control.serve(shelf.model("a", 1))
    worker.control.close()
    assert ask(worker.port, "a") == (200, ("1", 1.0))
    worker.control = Control(worker.path)
    hello = worker.control.wait(Hello)
    assert hello.generation == 1
    worker.control.generation = hello.generation
    assert states(worker.control.settle()) == {("a", 1): "serving"}
    assert isinstance(worker.control.wait(Seen), Seen)


def test_a_newer_connection_replaces_an_older(worker):
    with Control(worker.path) as newer:
        newer.wait(Hello)
        with pytest.raises((EOFError, ConnectionError)):
            worker.control.read_to_end()
        newer.wait(Seen)
        newer.wait(Seen)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 64,
        b"\0\0\0\0",
        (5).to_bytes(4, "little") + b"hello",
        (2).to_bytes(4, "little") + b"\x81\xa4",
        (1 << 27).to_bytes(4, "little"),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_garbage_ends_the_connection_and_nothing_else(worker, shelf, garbage):
    worker.control.serve(shelf.model("a", 1))
    worker.control.socket.sendall(garbage)
    with pytest.raises((EOFError, ConnectionError)):
        worker.control.read_to_end()
    assert ask(worker.port, "a") == (200, ("1", 1.0))
    worker.control = Control(worker.path)
    assert worker.control.wait(Hello).generation == 1


def test_an_older_generation_is_not_followed(worker, shelf):
    worker.control.want(shelf.model("a", 2), generation=9)
    worker.control.settle()
    worker.control.want(shelf.model("a", 1), generation=3)
    worker.control.want(shelf.model("a", 2), shelf.model("b", 1), generation=10)
    assert states(worker.control.settle()) == {("a", 2): "serving", ("b", 1): "serving"}


@pytest.mark.parametrize("how", ["signal", "message"])
def test_a_drain_answers_what_is_in_flight_and_ends(worker, shelf, how):
    worker.control.serve(shelf.model("a", 1))
    waiting = socket.create_connection(("127.0.0.1", worker.port))
    body = b'{"inputs":[{"name":"x","shape":[1,1],"datatype":"FP32","data":[4]}]}'
    head = b"POST /v2/models/a/infer HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    waiting.sendall(head + body[:10])
    time.sleep(0.2)
    if how == "signal":
        worker.process.send_signal(signal.SIGTERM)
    else:
        worker.control.send(Drain())
    time.sleep(0.2)
    waiting.sendall(body[10:])
    answer = waiting.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert worker.process.wait(30) == 0
    assert not worker.path.exists()


def test_a_thousandth_of_a_core_a_model(tmp_path, shelf):
    """Many models: no thread each, and one more swap is quick to settle."""
    models = [shelf.model(f"m{at}", 1 + at % 3) for at in range(320)]
    with WorkerProcess(tmp_path) as worker:
        quiet = worker.threads()
        actual = worker.control.serve(*models, timeout_s=150)
        assert set(states(actual).values()) == {"serving"}
        assert len(actual.copies) == 320
        assert worker.threads() < quiet + 20
        assert ask(worker.port, "m319") == (200, (str(1 + 319 % 3), 1.0 + 319 % 3))
        worker.control.serve(*models[:-1], shelf.model("m319", 4))
        assert ask(worker.port, "m319") == (200, ("4", 4.0))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_worker_beside_another_takes_no_request_before_it_can_answer(tmp_path, shelf):
    """Workers come and go on one port while users ask on connections of their own: nobody is refused."""
    port = free_port()
    shared = {"http_port": port, "grpc_port": None, "reuse_port": True}
    with WorkerProcess(tmp_path, name="worker-0.sock", **shared) as first:
        first.control.serve(shelf.model("a", 1))
        wait_for(port)
        wrong, stop = [], threading.Event()

        def user():
            while not stop.is_set():
                answer = ask(port, "a", 1.0)
                if answer != (200, ("1", 2.0)):
                    wrong.append(answer)

        users = [threading.Thread(target=user) for _ in range(4)]
        for each in users:
            each.start()
        for serial in range(2):
            with WorkerProcess(tmp_path, name=f"worker-1-{serial}.sock", **shared) as second:
                assert second.hello.http_port == port
                time.sleep(0.3)  # it is wanted nothing yet
                second.control.serve(shelf.model("a", 1))
                time.sleep(0.3)
        stop.set()
        for each in users:
            each.join()
        assert wrong == []


def wait_for(port):
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except ConnectionError:
            time.sleep(0.02)
    raise AssertionError("nobody listens")


def test_a_busy_port_is_said_and_ends_it(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        worker = WorkerProcess(tmp_path, http_port=port, grpc_port=None, reuse_port=True)
        assert worker.process.wait(30) == 69


def test_what_callers_ask_goes_to_control_and_back(worker, shelf):
    worker.control.serve(shelf.model("a", 1))
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(post(worker.port, "/v2/repository/models/a/unload"))
    )
    asking.start()
    asked = worker.control.wait(Ask)
    assert (asked.verb, asked.model) == ("unload", "a")
    worker.control.send(Answer(asked.id, "illegal-move", "it is on trial"))
    asking.join()
    assert answers[0][0] == 409
    assert "it is on trial" in answers[0][1]
    worker.control.close()
    time.sleep(0.1)
    status, text = post(worker.port, "/v2/repository/models/a/load")
    assert status == 503
    assert "control" in text


def post(port, path, body="{}"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", path, body)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_the_index_and_the_sums_of_the_host_come_from_control(worker, shelf):
    worker.control.serve(shelf.model("a", 1))
    worker.control.send(Repository((("a", "1", "READY", ""), ("z", "7", "UNAVAILABLE", "not released"))))
    assert ask(worker.port, "a")[0] == 200
    seen = worker.control.wait(Seen, lambda seen: any(sums.requests for sums in seen.seen.models)).seen
    worker.control.send(Elsewhere(seen))
    until = time.monotonic() + 10
    while time.monotonic() < until:
        text = post(worker.port, "/v2/repository/index")[1]
        connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=30)
        connection.request("GET", "/metrics")
        page = connection.getresponse().read().decode()
        if '"z"' in text and 'version="1",surface="http",code="ok"} 2' in page:
            return
        time.sleep(0.05)
    raise AssertionError((text, page))


def test_a_prepared_bundle_through_the_real_entry(tmp_path, shelf):
    """As control starts it: the product's own opener and replay, on what ``prepare`` made."""
    source = f"{shelf.version(6).folder}/model.onnx"
    prepared = prepare(Path(source), Wishes(), tmp_path / "cache", lambda *_: None)
    folder = str(prepared.bundle.folder)
    version = WantedVersion(1, prepared.bundle.digest, folder)
    with WorkerProcess(tmp_path, main=("-m", "modelyard.control.worker")) as worker:
        actual = worker.control.serve(WantedModel("a", 1, (version,), WantedSplit((1,), (10_000,))))
        assert states(actual) == {("a", 1): "serving"}
        assert ask(worker.port, "a", 1.0) == (200, ("1", 7.0))


def test_it_says_which_bundles_it_may_open(worker, shelf):
    model = shelf.model("a", 1)
    folder = Path(model.versions[0].folder)
    os.utime(folder, (1e9, 1e9))
    worker.control.serve(model)
    until = time.monotonic() + 20
    while folder.stat().st_mtime < 1.1e9:
        assert time.monotonic() < until
        time.sleep(0.05)
