"""Environments' stamps, frozen processes, scheduled clients, abusive bodies, claims and the command line."""

import contextlib
import gzip
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks import abuse, envs, machine, process, tables
from benchmarks.__main__ import arguments, planned, results_of
from benchmarks.bodies import Body
from benchmarks.catalogue import SERVERS, Launch, chosen, triton_config
from benchmarks.claims import claims
from benchmarks.models import Model
from benchmarks.places import RESULTS
from benchmarks.scenarios.polite import polite


def test_an_environment_is_named_by_its_pins(tmp_path):
    pins = tmp_path / "peer.txt"
    pins.write_text("flask==3.1.3\n")
    before = envs.digest(pins)
    assert before == envs.digest(pins)
    pins.write_text("flask==3.1.4\n")
    assert envs.digest(pins) != before


def test_a_stamped_environment_is_used_as_it_is(tmp_path):
    (tmp_path / "peer.txt").write_text("nothing-like-this==1\n")
    folder = tmp_path / "envs" / "peer"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "stamp").write_text(envs.digest(tmp_path / "peer.txt"))
    assert envs.ready("peer", tmp_path / "envs", tmp_path).folder == folder


def test_every_server_has_its_pins():
    for server in SERVERS.values():
        if server.env:
            pins = (envs.REQUIREMENTS / f"{server.env}.txt").read_text().splitlines()
            assert all("==" in pin for pin in pins), server.key
            assert not any(pin.startswith("-") for pin in pins), server.key


def test_servers_are_chosen_by_what_they_speak_and_serve():
    keys = list(SERVERS)
    assert "flask" not in [s.key for s in chosen(keys, "json", "image")]
    assert "grpcaio" not in [s.key for s in chosen(keys, "json", "iris")]
    assert [s.key for s in chosen(["fastapi", "modelyard"], "json", "iris")] == ["modelyard", "fastapi"]


def test_triton_is_told_the_model(tmp_path):
    config = triton_config(Model("iris", tmp_path / "iris.onnx", "X", ()))
    assert 'name: "X" data_type: TYPE_FP32 dims: [4]' in config
    assert str(tmp_path / "iris.onnx") in config


def test_children_start_on_the_asked_core_and_this_thread_comes_back():
    before = os.sched_getaffinity(0)
    core = machine.cores().server
    with machine.on_cores(core):
        code = "import os; print(os.sched_getaffinity(0))"
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str({core})
    assert os.sched_getaffinity(0) == before


def test_descendants_are_found_through_their_parents():
    code = "import subprocess,sys; subprocess.run([sys.executable,'-c','input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        until = time.monotonic() + 20
        while not (found := process.descendants(child.pid)) and time.monotonic() < until:
            time.sleep(0.01)
        assert len(found) == 1
        assert process.resident(found[0]) > 0
        child.stdin.close()
    assert process.resident(child.pid) == 0


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        size = int(self.headers["Content-Length"])
        self.rfile.read(size)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def handle(self):
        with contextlib.suppress(ConnectionError):  # the abuser leaves without a word
            super().handle()

    def log_message(self, *args):
        pass


@pytest.fixture
def echo():
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_polite_client_counts_every_scheduled_request(echo):
    seen = polite(echo, "/", Body(b"{}", {}), seconds=0.3, rate=100)
    assert seen.answered == 30
    assert seen.failed == 0
    assert 0 < seen.p50_us <= seen.p99_us <= seen.max_us


def test_a_stall_is_felt_by_all_that_were_due_meanwhile():
    stalled = 0.4

    def serve(listener):
        with contextlib.suppress(OSError), listener.accept()[0] as one:
            time.sleep(stalled)
            while one.recv(4096):
                one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        seen = polite(listener.getsockname()[1], "/", Body(b"", {}), seconds=0.5, rate=100)
        thread.join()
    assert seen.p50_us > 50_000  # a closed loop would have seen one late answer of fifty
    assert seen.failed == 0


def test_an_unreachable_server_is_all_failures():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    seen = polite(port, "/", Body(b"", {}), seconds=0.1, rate=50)
    assert (seen.answered, seen.failed) == (0, 5)


def test_abusive_bodies_are_what_they_say():
    head, body = abuse.many_tensors("/p").split(b"\r\n\r\n", 1)
    assert f"Content-Length: {len(body)}".encode() in head
    assert len(json.loads(body)["inputs"]) == 75_000
    assert len(body) < 5 << 20
    bomb = abuse.gzip_bomb("/p").split(b"\r\n\r\n", 1)[1]
    with gzip.open(io.BytesIO(bomb)) as inside:
        assert len(bomb) < 2 << 20 < len(inside.read(8 << 20))
    assert abuse.one_byte_chunks("/p").endswith(b"1\r\n1\r\n0\r\n\r\n")
    assert abuse.deep_json("/p").count(b"[") == 100_000


def test_an_abuser_counts_how_its_connections_ended(echo):
    ends = abuse.send_over_and_over(echo, abuse._whole("/", b"{}"), 0.2)
    assert set(ends) == {"200"}
    assert ends["200"] > 0


def _peers(ours, theirs):
    def cell(server, rate):
        spread = {"median": rate, "low": rate, "high": rate}
        return {"server": server, "case": "32", "rate": spread, "noise": 0.0, "rounds": [{"rate": rate}]}

    return {"cases": ["32"], "cells": [cell("modelyard", ours), cell("fastapi", theirs)]}


@pytest.mark.parametrize(("ours", "held"), [(10_000, True), (9_990, False)])
def test_a_claim_is_held_to_its_measure(ours, held):
    first = claims({"peers": _peers(ours, 1000)})[0]
    assert first.held is held
    assert first.text.startswith("HTTP, 32 connections: at least 10x FastAPI")


def test_what_was_not_measured_is_neither_held_nor_broken():
    assert {claim.held for claim in claims({})} == {None}
    assert len(claims({})) > 15


def test_lost_requests_break_the_polite_claim():
    beside = {"over_quiet": 1.1, "over_quiet_each": [1.1], "failed": 0, "after": "well"}
    quiet = {"p99_each_us": [1000.0, 1500.0]}
    fine = claims({"polite": {"servers": {"modelyard": {"quiet": quiet, "a": beside}}}})
    lost = claims({"polite": {"servers": {"modelyard": {"quiet": quiet, "a": beside | {"failed": 2}}}}})
    assert [c.held for c in fine if c.text.startswith("Polite")] == [True]
    assert [c.held for c in lost if c.text.startswith("Polite")] == [False]


def test_the_longest_turn_of_the_loop_is_a_claim():
    rows = {"quiet": {"p99_each_us": [1.0]}, "a": {"loop": {"max_us": 4000.0}}, "b": {"loop": {}}}
    said = [c for c in claims({"polite": {"servers": {"modelyard": rows}}}) if "event loop" in c.text]
    assert [(c.measured, c.held) for c in said] == [("4 ms", True)]
    rows["b"]["loop"] = {"max_us": 25_000.0}
    said = [c for c in claims({"polite": {"servers": {"modelyard": rows}}}) if "event loop" in c.text]
    assert [(c.measured, c.held) for c in said] == [("25 ms", False)]
    assert "longest: b" in said[0].text


@pytest.mark.parametrize(
    ("each", "held"), [([1.0, 2.9, 9.0], True), ([2.0, 3.1, 9.0], None), ([3.1, 4.0, 5.0], False)]
)
def test_rounds_that_disagree_give_no_verdict(each, held):
    beside = {"over_quiet": each[1], "over_quiet_each": each, "failed": 0, "after": "well"}
    rows = {"quiet": {"p99_each_us": [1000.0] * 3}, "a": beside}
    said = [c for c in claims({"polite": {"servers": {"modelyard": rows}}}) if c.text.startswith("Polite")]
    assert [c.held for c in said] == [held]
    assert ("too noisy" in said[0].measured) == (held is None)


def test_figures_read_well():
    assert [tables.figure(v) for v in (12345.6, 99.94, 1.234)] == ["12,346", "99.9", "1.23"]
    assert [tables.micros(v) for v in (80, 2500, 3_200_000)] == ["80 µs", "2.5 ms", "3.2 s"]
    assert tables.markdown([["a", "b"], ["c", "d"]]) == "| a | b |\n| --- | ---: |\n| c | d |"


def test_a_short_or_partial_run_never_replaces_the_full_figures():
    assert results_of(arguments([])) == RESULTS
    for line in (["--quick"], ["--servers", "modelyard"], ["--rounds", "1"], ["--seconds", "1"]):
        assert results_of(arguments(line)) != RESULTS


def test_the_command_line_says_what_it_does_not_know(capsys):
    with pytest.raises(SystemExit):
        arguments(["--only", "peers,speed"])
    assert "unknown: speed; known: peers, grpc" in capsys.readouterr().err


def test_quick_is_shorter():
    quick, whole = (planned(arguments(line), machine.cores()) for line in (["--quick"], []))
    assert quick.rounds * quick.seconds < whole.rounds * whole.seconds
    assert (quick.soak_s, whole.soak_s) == (30, 600)


def test_without_wrk_the_bench_says_what_to_install(tmp_path):
    environ = os.environ | {"PATH": str(tmp_path)}
    command = [sys.executable, "-m", "benchmarks"]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    assert done.returncode == 69
    assert done.stderr.strip().endswith("apt-get install -y wrk nghttp2-client")
    assert "Traceback" not in done.stderr


def test_a_frozen_server_is_stopped_all_the_same(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"")
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    ) as child:
        model, folder = Model("m", tmp_path, "x", ()), tmp_path / "scratch"
        folder.mkdir()
        launch = Launch(model, 0, 0, folder, None)
        running = process.Running(SERVERS["flask"], model, child, launch, log)
        running.freeze()
        running.stop()
        assert child.poll() is not None
        assert not folder.exists()
        child.stdin.close()
