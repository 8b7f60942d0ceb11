"""The model host: answers, deaths, hangs, restarts, and an end that is one."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from modelyard.core.errors import BadInput, BusyError, CorruptFile, HostDied, ModelFailed, Unavailable
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.runtime.python import GOOD_SPELL_S, PythonRuntime, pause_s
from modelyard.runtime.table import RUNTIMES
from modelyard.sandbox.policy import Policy

TARGET = "python_hosts:host_verbs"
SPEC = TensorSpec("x", DTYPES["FP32"], (None, 3))
SIGNATURE = Signature((SPEC,), (TensorSpec("y", DTYPES["FP32"], (None, 3)),), True)


def rows(first: float, count: int = 2) -> tuple[np.ndarray]:
    x = np.ones((count, 3), np.float32)
    x[0, 0] = first
    return (x,)


@pytest.fixture
def open_host():
    """Open hosts that cannot outlive the test."""
    opened = []

    def begin(values=None, arrays=(), read=(), **options):
        policy = Policy(read=read, cpu_s=None, wall_s=None)
        runtime = PythonRuntime.open(TARGET, values or {}, arrays, SIGNATURE, policy, name="iris", **options)
        opened.append(runtime)
        return runtime

    yield begin
    for runtime in opened:
        runtime.close()


def answers_again(runtime: PythonRuntime, within_s: float = 60) -> bool:
    """Ask until the host is back; while it is down, every answer comes at once and is a clear one."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            np.testing.assert_array_equal(runtime.run(rows(5))[0], rows(5)[0] * 2)
        except (HostDied, Unavailable):
            time.sleep(0.02)
        else:
            return True
    return False


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_it_answers_from_another_process(open_host):
    runtime = open_host(arrays=[np.array([3.0])])
    assert (runtime.inline, runtime.platform, runtime.signature) == (False, "python", SIGNATURE)
    (y,) = runtime.run(rows(5))
    np.testing.assert_array_equal(y, rows(5)[0] * 3)
    assert y.flags.owndata
    assert runtime.pid not in {None, os.getpid()}
    large = (np.random.default_rng(0).random((50_000, 3), np.float32),)
    np.testing.assert_array_equal(runtime.run(large)[0], large[0] * np.float32(3))


@pytest.mark.parametrize(
    ("first", "error", "line"),
    [
        (-3, ModelFailed, "KeyError: 'no such column'"),
        (-4, BadInput, "the caller is wrong"),
        (-5, ModelFailed, r"output 'y' as float32 \[1, 3\] for 2 rows; its signature says FP32 \[-1, 3\]"),
        (-6, ModelFailed, "gave 0 outputs; its signature has 1"),
        (-7, ModelFailed, "output 'y' as float64"),
        (-8, ModelFailed, "more than 4 GiB of memory; raise memory_bytes"),
    ],
)
def test_a_model_that_fails_is_not_a_host_that_died(open_host, first, error, line):
    runtime = open_host()
    pid = runtime.pid
    with pytest.raises(error, match=line):
        runtime.run(rows(first))
    np.testing.assert_array_equal(runtime.run(rows(5))[0], rows(5)[0] * 2)
    assert runtime.pid == pid


def test_a_host_killed_in_mid_request_is_clear_and_comes_back(open_host):
    runtime = open_host()
    first = runtime.pid
    ended = []

    def ask():
        try:
            runtime.run(rows(-2))
        except HostDied as error:
            ended.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    while state_of(first) != "S":
        time.sleep(0.01)
    os.kill(first, signal.SIGKILL)
    asking.join(30)
    assert [error.message for error in ended] == [
        "the process that runs model 'iris' ended; it is being restarted, try again"
    ]
    assert "SIGKILL" in ended[0].last_words
    assert answers_again(runtime)
    assert runtime.pid != first
    assert state_of(first) == ""


def test_the_last_words_reach_the_operator_and_not_the_client(open_host):
    runtime = open_host()
    with pytest.raises(HostDied) as failure:
        runtime.run(rows(-9))
    assert "these are my last words" in failure.value.last_words
    assert "exit status 9" in failure.value.last_words
    assert "words" not in failure.value.message
    assert answers_again(runtime)


def test_a_host_that_hangs_is_ended_at_the_deadline(open_host):
    runtime = open_host(run_s=0.3)
    first = runtime.pid
    with pytest.raises(HostDied) as failure:
        runtime.run(rows(-2))
    assert "did not answer within 0.3 s" in failure.value.last_words
    assert answers_again(runtime)
    assert state_of(first) == ""


def test_a_host_that_dies_while_idle_is_back_before_anyone_asks(open_host):
    runtime = open_host()
    first = runtime.pid
    os.kill(first, signal.SIGKILL)
    until = time.monotonic() + 60
    while runtime.pid in {None, first} and time.monotonic() < until:
        time.sleep(0.02)
    np.testing.assert_array_equal(runtime.run(rows(5))[0], rows(5)[0] * 2)


def test_a_request_that_comes_before_the_death_was_noticed_may_wait_for_the_next_host(open_host, monkeypatch):
    """It never reached the process that died, so that it is no suspect."""
    runtime = open_host()
    noticed = threading.Event()
    clear = runtime._bell.clear

    def late_clear():
        noticed.wait(60)
        clear()

    monkeypatch.setattr(runtime._bell, "clear", late_clear)
    try:
        with pytest.raises(HostDied):
            runtime.run(rows(-9))
        assert runtime._child is not None
        for _ in range(3):
            with pytest.raises(Unavailable, match="is being restarted"):
                runtime.run(rows(5))
    finally:
        noticed.set()
    assert answers_again(runtime)


def test_while_it_is_down_nobody_waits(open_host, tmp_path):
    gate = tmp_path / "gate"
    runtime = open_host({"fails_while": str(gate)}, read=(tmp_path,))
    gate.touch()
    runtime._files = _now(tmp_path)  # the folder changed on purpose
    with pytest.raises(HostDied):
        runtime.run(rows(-1))
    until = time.monotonic() + 60
    while "not yet" not in runtime.last_words and time.monotonic() < until:
        time.sleep(0.01)
    with pytest.raises(
        Unavailable, match=r"^the process that runs model 'iris' is being restarted; try again$"
    ):
        runtime.run(rows(5))
    gate.unlink()
    runtime._files = _now(tmp_path)
    assert answers_again(runtime)


def _now(folder: Path) -> tuple:
    facts = folder.stat()
    return ((facts.st_ino, facts.st_size, facts.st_mtime_ns),)


def test_a_file_that_changed_is_never_opened_silently(open_host, tmp_path):
    model = tmp_path / "model.pkl"
    model.write_text("one")
    runtime = open_host(read=(model,))
    model.write_text("another model")
    with pytest.raises(HostDied):
        runtime.run(rows(-1))
    until = time.monotonic() + 60
    while "has changed" not in runtime.last_words and time.monotonic() < until:
        time.sleep(0.01)
    with pytest.raises(Unavailable):
        runtime.run(rows(5))


def test_a_model_that_cannot_be_opened_says_why_and_leaves_nothing():
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    with pytest.raises(CorruptFile, match="the file is not what it says it is"):
        PythonRuntime.open(TARGET, {"broken": True}, (), SIGNATURE, Policy(cpu_s=None, wall_s=None))
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


def test_close_ends_the_process_even_in_mid_request(open_host):
    runtime = open_host()
    pid = runtime.pid
    ended = []

    def ask():
        try:
            runtime.run(rows(-2))
        except BusyError as error:
            ended.append(error.message)

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.1)
    runtime.close()
    asking.join(30)
    assert ended == ["model 'iris' is closed; try again, or ask another replica"]
    assert state_of(pid) == ""
    assert runtime.pid is None
    with pytest.raises(Unavailable, match="closed"):
        runtime.run(rows(5))
    runtime.close()


def test_close_while_it_is_being_restarted(open_host):
    for pause in (0.0, 0.05, 0.12, 0.2):
        runtime = open_host()
        before = threading.active_count()
        os.kill(runtime.pid, signal.SIGKILL)
        time.sleep(pause)
        runtime.close()
        assert runtime.pid is None
        assert threading.active_count() < before


def test_the_pauses_double_to_ten_seconds():
    assert [pause_s(count) for count in range(9)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert pause_s(10_000) == 10.0
    assert pause_s(10_000) < GOOD_SPELL_S


def test_the_table_names_what_exists():
    assert list(RUNTIMES) == ["onnx", "python", "hosts"]
    assert RUNTIMES.load("python") is PythonRuntime
    for name in RUNTIMES:
        assert all(hasattr(RUNTIMES.load(name), part) for part in ("platform", "open", "run", "close"))
