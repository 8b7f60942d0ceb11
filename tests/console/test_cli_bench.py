"""`modelyard bench`: the load it makes, what it counts, what it says."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from serving import run

sys.path.insert(0, str(Path(__file__).parents[1] / "client"))

from v2_server import grpc_server, http_server

from modelyard.client.address import parse_address
from modelyard.client.call import Order
from modelyard.client.load import Plan, Result, Run, refuse_if_dead
from modelyard.client.load_users import Crowd, parse
from modelyard.client.rest import Rest, read_inference
from modelyard.console.cli.bench import bins, make, report
from modelyard.core.errors import Unavailable
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import DTYPES

X = {"x": np.ones((1, 3), np.float32)}


def load(url: str, plan: Plan, model: str = "double") -> Result:
    """One run against a server, without the command line."""
    call = Rest().infer(Order(model, "", X))

    async def go() -> Result:
        async with Crowd(parse_address(url), [call], plan.connections) as users:
            return await Run(plan, users, lambda answer: call.read(parse(answer))).go()

    return asyncio.run(go())


@pytest.mark.parametrize("serve", [http_server, grpc_server])
def test_the_table_and_the_bars(serve, home) -> None:
    with serve() as (url, _):
        done = run(
            "bench", url, "iris", "--connections", "1,2", "--duration", "0.4", "--warmup", "0.1", home=home
        )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith(f"iris at {url}, ")
    assert lines[2].split() == ["connections", "requests/s", "rows/s", "p50", "p90", "p99", "max", "errors"]
    for line, connections in zip(lines[4:6], ("1", "2"), strict=True):
        assert line.split()[0] == connections
        assert int(line.split()[1].replace(",", "")) > 0
        assert line.split()[-1] == "0"
    assert "latency at 2 connections" in lines
    assert sum("█" in line for line in lines) >= 1


def test_the_document_for_machines(home) -> None:
    with http_server() as (url, script):
        done = run(
            *("bench", url, "iris", "--connections", "3", "--duration", "0.4", "--rows-per-request", "5"),
            *("--json", "--json-body"),
            home=home,
        )
    found = json.loads(done.stdout)
    (one,) = found["runs"]
    assert found["form"] == "REST, JSON"
    assert one["rows_per_s"] == pytest.approx(5 * one["requests_per_s"])
    assert one["requests"] > 0
    assert one["errors"] == {}
    assert 0 < one["p50_s"] <= one["p90_s"] <= one["p99_s"] <= one["max_s"]
    assert script.seen[-1]["header"]["inputs"][0]["shape"] == [5, 4]
    assert "data" in script.seen[-1]["header"]["inputs"][0]
    assert len({str(seen["header"]["inputs"][0]["data"]) for seen in script.seen}) > 1, "requests differ"


def test_an_open_loop_brings_what_was_asked(home, tmp_path) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text("[[1, 2, 3], [4, 5, 6]]")
    with http_server() as (url, _):
        done = run(
            *("bench", url, "double", "--connections", "4", "--rate", "200", "--duration", "1"),
            *("--rows", rows, "--json"),
            home=home,
        )
    (one,) = json.loads(done.stdout)["runs"]
    assert one["rate"] == 200
    assert 120 < one["requests"] < 290, "Poisson, mean 200"


def test_a_stall_is_charged_to_all_who_had_to_wait() -> None:
    """One connection, a server that takes 0.2 s: at 50/s each arrival waits for all before it."""
    with http_server() as (url, script):
        script.delay_s = 0.2
        result = load(url, Plan(1, 1.0, rate=50.0, warmup_s=0.0), model="slow")
    assert result.quantile_s(0.5) > 0.5
    assert result.overloaded
    assert len(result.latencies_s) + result.unanswered > 25, "nobody is left out of the count"


def test_a_closed_loop_does_not_queue() -> None:
    with http_server() as (url, script):
        script.delay_s = 0.1
        result = load(url, Plan(2, 1.0, warmup_s=0.0), model="slow")
    assert 0.1 <= result.quantile_s(0.5) < 0.5
    assert 4 <= len(result.latencies_s) <= 20


def test_errors_are_counted_and_the_first_is_shown() -> None:
    with http_server() as (url, script):
        script.busy = 7
        result = load(url, Plan(2, 0.5, warmup_s=0.0))
    assert result.errors == {"the queue is full": 7}
    assert len(result.latencies_s) > 0
    assert "7 errors; first (7 times): the queue is full" in report([result], 1)


def test_connections_that_are_dropped_are_errors_and_opened_again() -> None:
    with http_server() as (url, script):
        script.drop = 3
        result = load(url, Plan(1, 0.5, warmup_s=0.0))
    assert sum(result.errors.values()) == 3
    assert "without an answer" in next(iter(result.errors))
    assert len(result.latencies_s) > 0


def test_a_wrong_answer_with_status_200_is_found(home) -> None:
    """The first answers are right, then the model changes its shape under load."""
    listener = socket.create_server(("127.0.0.1", 0))
    narrow = b'{"outputs":[{"name":"y","shape":[1,1],"datatype":"FP32","data":[1]}]}'

    def serve() -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(link,), daemon=True).start()

    def talk(link: socket.socket) -> None:
        with link:
            while link.recv(65536):
                link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(narrow), narrow))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    call = Rest().infer(Order("m", "", X))
    from modelyard.console.cli.bench import checker

    check = checker(call, {"y": np.zeros((1, 3), np.float32)})

    async def go(url: str) -> Result:
        async with Crowd(parse_address(url), [call], 1) as users:
            return await Run(Plan(1, 0.2, warmup_s=0.0), users, check).go()

    try:
        result = asyncio.run(go(f"http://127.0.0.1:{listener.getsockname()[1]}"))
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
    assert list(result.errors) == ["an answer under load has other outputs than the first answer had"]


def test_answers_in_pieces_are_put_together() -> None:
    body = b'{"outputs":[{"name":"y","shape":[3],"datatype":"FP32","data":[1,2,3]}]}'
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    from modelyard.client.load_users import HttpUser

    for size in (1, 7, 19, len(whole)):
        found: list = []
        user = HttpUser(parse_address("http://x"), [b""], read_inference)
        user._done = found.append
        for at in range(0, len(whole), size):
            user.data_received(whole[at : at + size])
        assert len(found) == 1
        assert read_inference(parse(found[0])).outputs["y"].tolist() == [1, 2, 3]


def test_a_busy_generator_says_so() -> None:
    result = Result(Plan(8, 1.0), 1.0, latencies_s=np.array([0.001, 0.002]), cpu_share=0.97)
    assert "used 97% of a core, so it may be the limit" in report([result], 1)


def test_nothing_answered_is_an_error_not_a_zero() -> None:
    with pytest.raises(Unavailable, match="not one request was answered: no answer within 5 s"):
        refuse_if_dead(Result(Plan(1, 1.0), 1.0, unanswered=1))


def test_bins_hold_every_answer() -> None:
    times = np.sort(np.random.default_rng(0).lognormal(-6, 1, 5000))
    found = bins(times)
    assert sum(count for _, count in found) == 5000
    assert found[0][1] > 0
    assert bins(np.array([0.001, 0.001]))[0][1] == 2


def test_rows_are_made_for_every_datatype() -> None:
    draw = np.random.default_rng(0)
    for dtype in DTYPES.values():
        made = make(TensorSpec("x", dtype, (None, 2, None)), 5, True, draw)
        assert made.shape == (5, 2, 1)
        assert made.dtype == dtype.numpy


def test_a_plot_is_written(home, tmp_path) -> None:
    plot = tmp_path / "curve.svg"
    with http_server() as (url, _):
        done = run(
            "bench", url, "double", "--connections", "1", "--duration", "0.2", "--plot", plot, home=home
        )
    assert done.returncode == 0, done.stderr
    assert plot.read_text().count("<svg") == 1
    assert "plot written" in done.stdout.decode()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["http://127.0.0.1:1", "iris"], 69, "nobody answers"),
        (["{url}", "nobody"], 69, "no model nobody"),
        (["{url}", "iris", "--connections", "a"], 2, "no list of whole numbers"),
        (["{url}", "iris", "--connections", "0"], 2, "no list of whole numbers"),
        (["{url}", "iris", "--plot", "x.pdf"], 2, "must end in .png or .svg"),
    ],
)
def test_each_failure_is_one_line_and_its_exit_code(home, arguments: list[str], code: int, said: str) -> None:
    with http_server() as (url, _):
        done = run("bench", *(part.format(url=url) for part in arguments), home=home)
    assert done.returncode == code
    assert said in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
