"""kill -9 of anything, at any moment: what was acknowledged is there, and callers hardly notice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

import pytest
from numbered import Load, adder
from serving import MODELYARD
from ups import Up, push_adders, until


@pytest.fixture
def up(tmp_path):
    with Up(tmp_path, "--workers", "2") as running:
        push_adders(running, tmp_path, range(1, 4))
        running.order("adder", "release", 1)
        yield running


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_control_may_die_and_come_back_under_load(up):
    pids = up.worker_pids()
    with Load("adder", up.http, up.grpc, connections=16, channels=4) as load:
        for turn in range(6):
            up.kill()
            time.sleep(0.2)
            up.start()
            assert sorted(up.worker_pids()) == sorted(pids)
            up.order("adder", "release", 1 + (turn + 1) % 3)
    assert load.heard.failed == []
    assert load.heard.wrong == []
    assert set(load.heard.answers) == {"1", "2", "3"}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_worker_that_dies_loses_only_what_it_had_in_flight(up):
    connections, channels = 16, 4
    with Load("adder", up.http, up.grpc, connections, channels) as load:
        for turn in range(5):
            time.sleep(0.5)
            pids = up.worker_pids()
            os.kill(pids[turn % 2], signal.SIGKILL)
            until(lambda gone=pids[turn % 2]: gone not in up.worker_pids() and len(up.worker_pids()) == 2)
            until(lambda: all(worker.state == "ready" for worker in _workers(up)))
    heard = load.heard
    assert heard.wrong == []
    # Each death costs each connection and channel one answer at most; one of them may come back to the port
    # of a process that is just ending, and be reset once more.
    assert len(heard.failed) <= 5 * (connections + channels + 1), heard.failed[:5]
    assert heard.total > 1000


@pytest.mark.slow
def test_while_the_only_worker_is_away_connections_wait_and_none_is_refused(tmp_path):
    connections = 16
    with Up(tmp_path, "--workers", "1") as up:
        push_adders(up, tmp_path, range(1, 2))
        up.order("adder", "release", 1)
        with Load("adder", up.http, None, connections) as load:
            for turn in range(3):
                if turn == 2:  # the doors are handed on to the control that comes after
                    up.kill()
                    up.start()
                time.sleep(0.5)
                (gone,) = up.worker_pids()
                os.kill(gone, signal.SIGKILL)
                until(lambda gone=gone: gone not in up.worker_pids() and len(up.worker_pids()) == 1)
                until(lambda: all(worker.state == "ready" for worker in _workers(up)))
            time.sleep(0.5)
    heard = load.heard
    assert heard.wrong == []
    assert heard.refused == 0
    # Each death costs each connection one answer at most: whoever came later waited.
    assert 0 < len(heard.failed) <= 3 * connections, heard.failed[:5]
    assert heard.total > 100


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_are_replaced_one_after_the_other_and_no_request_fails(tmp_path, workers):
    with Up(tmp_path, "--workers", str(workers)) as up:
        push_adders(up, tmp_path, range(1, 2))
        up.order("adder", "release", 1)
        with Load("adder", up.http, up.grpc, connections=16, channels=4) as load:
            for _ in range(3):
                before = set(up.worker_pids())
                up.process.send_signal(signal.SIGHUP)
                until(lambda before=before: len(set(up.worker_pids()) - before) == workers, 60)
                until(lambda before=before: not any(os.path.exists(f"/proc/{pid}") for pid in before), 60)
    heard = load.heard
    assert heard.failed == []
    assert heard.wrong == []
    assert heard.refused == 0
    assert heard.total > 1000


def _workers(up: Up):
    with up.admin() as admin:
        return admin.workers()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pushes_and_collections_that_are_killed_leave_nothing_half_done(up, tmp_path):
    draw = random.Random(11)
    acknowledged = []
    for turn in range(12):
        path = adder(tmp_path / f"more{turn}.onnx", 100 + turn)
        verb = ["push", path, "--name", "more", "--json"] if turn % 3 else ["gc", "--grace", "0s"]
        process = subprocess.Popen(
            [str(word) for word in (MODELYARD, *verb)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "MODELYARD_HOME": str(up.home)},
            start_new_session=True,
        )
        try:
            told, _ = process.communicate(timeout=draw.uniform(0.1, 2.5))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            told, _ = process.communicate()
        if turn % 3 and told.strip():
            acknowledged.append(turn)
    up.run("fsck", check=True)
    if acknowledged:
        listed = up.run("show", "more", "--json", check=True).stdout
        assert listed.count(b'"ready"') >= len(acknowledged)
        up.order("more", "release")
    assert b"adder" in up.run("list", check=True).stdout
