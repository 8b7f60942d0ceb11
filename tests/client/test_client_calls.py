"""The client against real servers on real sockets, blocking and asyncio, REST and gRPC alike."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import numpy as np
import pytest
from v2_server import CLASSES, COLUMNS, grpc_server, http_server

from modelyard.client import AsyncClient, BadReply, Client, Unreachable
from modelyard.core.errors import BadInput, DeadlineExceeded, ModelNotFound, Overloaded

FLOWERS = [[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5], [6.3, 3.3, 6.0, 2.5]]


class Waiting:
    """An asyncio client that is called like the blocking one, so that one test serves both."""

    def __init__(self, url: str, **options: object) -> None:
        self.runner = asyncio.Runner()
        self.client = AsyncClient(url, **options)

    def __getattr__(self, name: str):
        return lambda *given, **named: self.runner.run(getattr(self.client, name)(*given, **named))

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.run(self.client.close())
        self.runner.close()


@pytest.fixture(params=["http", "grpc"])
def server(request):
    with http_server() if request.param == "http" else grpc_server() as found:
        yield found


@pytest.fixture(params=[Client, Waiting], ids=["blocking", "asyncio"])
def kind(request):
    return request.param


@pytest.fixture(params=["http", "http-json", "grpc", "grpc-typed"])
def yard(request, kind):
    with (
        http_server() if request.param.startswith("http") else grpc_server(request.param == "grpc-typed") as (
            url,
            script,
        ),
        kind(url, binary=request.param != "http-json") as client,
    ):
        client.script, client.form = script, request.param
        yield client


def test_predict_gives_labels_and_scores(yard) -> None:
    found = yard.predict("iris", FLOWERS)
    assert list(found) == list(found.label) == CLASSES
    assert found.scores.shape == (3, 3)
    assert found.scores.argmax(1).tolist() == [0, 1, 2]
    assert np.asarray(found).tolist() == CLASSES
    assert found.model == "iris"
    assert found.version == "1"


def test_predict_works_where_the_server_tells_no_roles(yard) -> None:
    found = yard.predict("plain", FLOWERS)
    assert list(found.label) == CLASSES
    assert found.scores.dtype == np.float32
    assert found.top(0, 1) == [("0", pytest.approx(0.8))]


def test_records_are_ordered_by_name_where_the_server_tells_columns(kind) -> None:
    with http_server() as (url, script), kind(url) as client:
        records = [dict(reversed(list(zip(COLUMNS, row, strict=True)))) for row in FLOWERS]
        assert list(client.predict("iris", records).label) == CLASSES
        assert client.predict("iris", records).top(2) == [
            ("virginica", pytest.approx(0.8)),
            ("setosa", pytest.approx(0.1)),
            ("versicolor", pytest.approx(0.1)),
        ]
        with pytest.raises(BadInput, match="missing column 'petal_l'"):
            client.predict("iris", [{"sepal_l": 1, "sepal_w": 2, "petal_w": 3}])
    assert len(script.seen) == 2, "the metadata is asked once, bad rows are not sent"


@pytest.mark.parametrize(
    "array",
    [
        np.array([[True, False]]),
        *(np.array([[1, 2, 120]], code) for code in ("u1", "<u2", "<u4", "<u8", "i1", "<i2", "<i4", "<i8")),
        *(np.array([[1.5, -0.25]], code) for code in ("<f2", "<f4", "<f8")),
        np.array([[np.nan, np.inf, -np.inf]], np.float32),
        np.array([b"", "花".encode(), b"a\x00"], object),
        np.empty((0, 3), np.float32),
        np.arange(12, dtype=">f4").reshape(3, 4),
        np.asfortranarray(np.arange(12, dtype="<f8").reshape(3, 4)),
        np.arange(24, dtype="<i4").reshape(2, 3, 4)[:, ::2],
        np.float32(3.5),
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
@pytest.mark.parametrize("form", ["http", "http-json", "grpc"])
def test_every_datatype_comes_back_as_it_went(array: np.ndarray, form: str) -> None:
    with (
        http_server() if form != "grpc" else grpc_server() as (url, _),
        Client(url, binary=form == "http") as yard,
    ):
        back = yard.infer("echo", {"some": array})["some"]
    assert back.shape == array.shape
    assert back.dtype == array.dtype.newbyteorder("<") if array.dtype != object else back.dtype == object
    np.testing.assert_array_equal(back, array)
    assert back.flags.writeable
    assert back.flags.aligned


@pytest.mark.parametrize("serve", [http_server, grpc_server])
def test_bytes_that_are_not_text_come_back_as_they_went(serve) -> None:
    with serve() as (url, _), Client(url) as yard:
        back = yard.infer("echo", {"some": np.array([b"\xff\x00", b""], object)})["some"]
    assert back.tolist() == [b"\xff\x00", b""]


def test_several_tensors_and_chosen_outputs(yard) -> None:
    inputs = {"a": np.zeros((2, 3), np.float32), "b": np.array(["x", "y"]), "c": np.ones(2, np.float32)}
    assert list(yard.infer("echo", inputs)) == ["a", "b", "c"]
    found = yard.infer("echo", inputs, outputs=["b"])
    assert list(found) == ["b"]
    assert found["b"].tolist() == [b"x", b"y"]


def test_version_priority_timeout_and_parameters_travel(server, kind) -> None:
    url, script = server
    with kind(url, headers={"X-Team": "blue"}) as yard:
        yard.infer(
            "double",
            {"x": np.ones((1, 3), np.float32)},
            version=2,
            priority=1,
            timeout_s=5,
            parameters={"trace": "abc", "ratio": 0.5, "deep": True},
        )
    (seen,) = script.seen
    if "request" in seen:
        request = seen["request"]
        given = {
            key: getattr(value, value.WhichOneof("parameter_choice"))
            for key, value in request.parameters.items()
        }
        assert request.model_version == "2"
        assert seen["metadata"]["x-team"] == "blue"
    else:
        given = seen["header"]["parameters"]
        given.pop("binary_data_output")
        assert seen["path"] == "/v2/models/double/versions/2/infer"
        assert seen["headers"]["X-Team"] == "blue"
    assert given == {"priority": 1, "timeout": 5_000_000, "trace": "abc", "ratio": 0.5, "deep": True}


def test_health_and_metadata(yard) -> None:
    assert yard.live()
    assert yard.ready()
    assert yard.model_ready("iris")
    assert yard.server().name == "tests"
    info = yard.metadata("double")
    assert info.versions == ("1", "2")
    assert info.signature.inputs[0].shape == (None, 3)
    yard.script.ready = False
    assert not yard.ready()
    assert not yard.model_ready("iris")
    with pytest.raises(ModelNotFound, match="nobody"):
        yard.model_ready("nobody")


def test_the_servers_errors_become_ours(yard) -> None:
    with pytest.raises(ModelNotFound, match="no model nobody"):
        yard.predict("nobody", [[1]])
    with pytest.raises(ModelNotFound, match="no model nobody"):
        yard.infer("nobody", {"x": np.zeros(1)})
    with pytest.raises(BadInput, match="bad shape for iris"):
        yard.infer("iris", {"input": np.zeros((1, 9), np.float32)})


def test_nobody_there_is_one_clear_line(kind) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        for scheme in ("http", "grpc"):
            with kind(f"{scheme}://127.0.0.1:{port}") as yard:
                with pytest.raises(Unreachable) as caught:
                    yard.predict("iris", [[1]])
                assert f"{scheme}://127.0.0.1:{port}" in str(caught.value)
                assert "refused" in str(caught.value)
                assert "\n" not in str(caught.value)
                assert yard.live() is False
                assert yard.ready() is False


def test_a_late_answer_is_a_deadline_and_the_client_goes_on(server, kind) -> None:
    url, script = server
    script.delay_s = 1.0
    x = np.ones((1, 3), np.float32)
    with kind(url) as yard:
        with pytest.raises(DeadlineExceeded, match=r"within 0\.2"):
            yard.infer("slow", {"x": x}, timeout_s=0.2)
        assert yard.infer("double", {"x": x})["y"].tolist() == [[2, 2, 2]]


def test_busy_is_tried_again_as_often_as_wished(server, kind) -> None:
    url, script = server
    x = {"x": np.ones((1, 3), np.float32)}
    script.busy = 2
    with kind(url, retries=2) as yard:
        assert yard.infer("double", x)["y"].tolist() == [[2, 2, 2]]
        script.busy = 3
        with pytest.raises(Overloaded, match="queue is full"):
            yard.infer("double", x)
        script.busy, script.retry_after = 1, "3600"
        with pytest.raises(Overloaded):
            yard.infer("double", x, timeout_s=5)
    with kind(url) as yard:
        script.busy = 1
        with pytest.raises(Overloaded):
            yard.infer("double", x)


def test_a_connection_that_went_stale_is_replaced_silently(kind) -> None:
    with http_server() as (url, script), kind(url) as yard:
        x = {"x": np.ones((1, 3), np.float32)}
        yard.infer("double", x)
        yard.infer("double", x)
        assert script.connections == 1, "kept alive"
        script.drop = 1
        assert yard.infer("double", x)["y"].tolist() == [[2, 2, 2]]
        assert script.connections == 2
        script.drop = 2
        with pytest.raises(Unreachable, match="closed the connection without an answer"):
            yard.infer("double", x)


@pytest.mark.parametrize(
    ("reply", "finding"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "not in this protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "no inference"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nInference-Header-Content-Length: 9\r\n\r\n{}",
            "malformed",
        ),
        (
            b'HTTP/1.1 200 OK\r\n\r\n{"outputs":[{"name":"y","shape":[2],"datatype":"FP32","data":[1]}]}',
            "1 values",
        ),
        (
            b'HTTP/1.1 200 OK\r\n\r\n{"outputs":[{"name":"y","shape":[1],"datatype":"INT8","data":["a"]}]}',
            "not INT8",
        ),
        (
            b'HTTP/1.1 200 OK\r\n\r\n{"outputs":[{"name":"y","shape":[1],"datatype":"FP32",'
            b'"parameters":{"binary_data_size":4}}]}',
            "0 are left",
        ),
    ],
)
def test_garbage_is_never_an_answer(kind, reply: bytes, finding: str) -> None:
    with http_server() as (url, script), kind(url) as yard:
        script.reply = reply
        with pytest.raises(BadReply, match=finding):
            yard.infer("double", {"x": np.ones((1, 3), np.float32)})


def test_an_answer_that_breaks_off_is_said(kind) -> None:
    with http_server() as (url, script), kind(url) as yard:
        script.reply = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"
        with pytest.raises(Unreachable, match="broke off"):
            yard.infer("double", {"x": np.ones((1, 3), np.float32)})


def test_endless_headers_end(kind) -> None:
    with http_server() as (url, script), kind(url) as yard:
        script.reply = b"HTTP/1.1 200 OK\r\n" + b"X: %b\r\n" % (b"y" * 1000) * 2000
        with pytest.raises(BadReply, match=r"headers|HTTP"):
            yard.infer("double", {"x": np.ones((1, 3), np.float32)})


def test_interim_and_chunked_answers_are_read(kind) -> None:
    body = b'{"outputs":[{"name":"y","shape":[1],"datatype":"FP32","data":[null]}]}'
    with http_server() as (url, script), kind(url) as yard:
        script.reply = (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"".join(b"1\r\n%c\r\n" % byte for byte in body)
            + b"0\r\n\r\n"
        )
        assert np.isnan(yard.infer("double", {"x": np.ones((1, 3), np.float32)})["y"]).all()


def test_threads_share_a_client(server) -> None:
    url, _ = server
    wrong: list[object] = []

    def work(seed: int) -> None:
        for step in range(20):
            x = np.full((1, 3), seed * 100 + step, np.float32)
            if yard.infer("double", {"x": x})["y"].tolist() != (x * 2).tolist():
                wrong.append((seed, step))

    with Client(url) as yard:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_tasks_share_a_client_and_a_few_connections(server) -> None:
    url, script = server

    async def run() -> None:
        async with AsyncClient(url, connections=4) as yard:
            xs = [np.full((1, 3), at, np.float32) for at in range(60)]
            found = await asyncio.gather(*(yard.infer("double", {"x": x}) for x in xs))
            assert [row["y"][0, 0] for row in found] == [2.0 * at for at in range(60)]

    asyncio.run(run())
    assert script.connections <= 4


def test_the_asyncio_client_runs_on_uvloop(server) -> None:
    import uvloop

    url, _ = server

    async def run() -> None:
        async with AsyncClient(url) as yard:
            for at in range(3):
                found = await yard.infer("double", {"x": np.full((1, 3), at, np.float32)})
                assert found["y"].tolist() == [[2 * at] * 3]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def test_a_cancelled_call_takes_its_connection_with_it() -> None:
    async def run(url: str, script) -> None:
        script.delay_s = 0.3
        x = {"x": np.ones((1, 3), np.float32)}
        async with AsyncClient(url, connections=1) as yard:
            late = asyncio.create_task(yard.infer("slow", x))
            while not script.seen:
                await asyncio.sleep(0.01)
            late.cancel()
            with pytest.raises(asyncio.CancelledError):
                await late
            found = await yard.infer("double", {"x": np.full((1, 3), 7, np.float32)})
            assert found["y"].tolist() == [[14, 14, 14]]

    with http_server() as (url, script):
        asyncio.run(run(url, script))
        assert script.connections == 2


def test_a_large_tensor_travels_both_ways(yard) -> None:
    x = np.random.default_rng(1).random((2000, 300)).astype(np.float32)
    back = yard.infer("echo", {"x": x})["x"]
    np.testing.assert_array_equal(back, x)


def test_a_refusal_in_the_middle_of_a_large_body_is_read(kind) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        link, _ = listener.accept()
        with link:
            link.recv(1000)
            body = b'{"error":"the body is too large","code":"too-large"}'
            link.sendall(
                b"HTTP/1.1 413 X\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            link.shutdown(socket.SHUT_WR)
            until = time.monotonic() + 5
            link.settimeout(5)
            while time.monotonic() < until and link.recv(1 << 20):
                pass

    thread = threading.Thread(target=refuse)
    thread.start()
    try:
        with kind(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=20) as yard:
            with pytest.raises(Exception, match="too large") as caught:
                yard.infer("echo", {"x": np.zeros(4_000_000, np.float32)})
            assert caught.value.code == "too-large"
    finally:
        listener.close()
        thread.join()


def test_a_replaced_model_is_asked_about_again(kind, monkeypatch) -> None:
    import v2_server

    with http_server() as (url, _), kind(url) as yard:
        yard.predict("iris", FLOWERS)
        wider = {
            **v2_server.IRIS,
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3], "columns": []}],
        }
        wider["outputs"] = [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}]
        wider |= {"label": None, "scores": None}
        monkeypatch.setattr(v2_server, "IRIS", wider)
        monkeypatch.setattr(v2_server, "answer", lambda name, inputs: {"y": inputs["x"] * 2})
        assert yard.predict("iris", [[1, 2, 3]]).outputs["y"].tolist() == [[2, 4, 6]]


@pytest.mark.parametrize(
    "url", ["ftp://x", "http://", "http://a:b@host", "http://host:99999", "grpc://host/path", "http://ho st"]
)
def test_a_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(BadInput):
        Client(url)


def test_headers_cannot_break_out_of_their_line() -> None:
    with (
        http_server() as (url, _),
        Client(url, headers={"X": "a\r\nEvil: 1"}) as yard,
        pytest.raises(BadInput, match="line break"),
    ):
        yard.live()


def test_names_are_quoted_in_paths(kind) -> None:
    with http_server() as (url, script), kind(url) as yard:
        with pytest.raises(ModelNotFound):
            yard.infer("a/../b c?x", {"x": np.zeros(1)})
        assert script.seen[0]["path"] == "/v2/models/a%2F..%2Fb%20c%3Fx/infer"
