"""Children that behave: calls, arrays, progress, errors, and how they start and end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from modelyard.core.errors import ChildFailed, ModelFailed, TooLarge
from modelyard.sandbox import channel as channel_module
from modelyard.sandbox.child import Child
from modelyard.sandbox.policy import Policy

TARGET = "sandbox_payloads:verbs"


@pytest.fixture(scope="module")
def child():
    with Child.start(TARGET, Policy()) as child:
        yield child


def state_of(pid: int) -> str:
    """ "" when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def gone(pid: int, within_s: float = 20) -> bool:
    until = time.monotonic() + within_s
    while state_of(pid) not in {"", "Z"} and time.monotonic() < until:
        time.sleep(0.01)
    return state_of(pid) in {"", "Z"}


def test_values_and_arrays_of_every_kind_go_there_and_back(child):
    text = np.array([[b"", b"\x00\xff"], [b"a" * 70_000, "é".encode()]], object)
    arrays = [np.arange(12.0, dtype=dtype).reshape(3, 4) for dtype in ("f2", "f4", "f8", "i8", "u1")]
    arrays += [
        np.array([True, False]),
        text,
        np.zeros((0, 3), "f4"),
        np.array(2.5),
        np.array([np.nan, np.inf]),
    ]
    values = {"a": [1, 2.5, None, {"b": "ü\n"}], "big": 2**60}
    reply = child.call("echo", values, arrays)
    assert reply.values == values
    for sent, got in zip(arrays, reply.arrays, strict=True):
        assert (sent.dtype, sent.shape) == (got.dtype, got.shape)
        np.testing.assert_array_equal(sent, got)


@pytest.mark.parametrize("size", [0, 1, 64 << 10, (64 << 10) + 1, 3 << 20, 40 << 20])
def test_every_size_arrives_and_stays_what_it_was(child, size):
    sent = np.random.default_rng(size).integers(0, 255, size, np.uint8)
    first = child.call("echo", {}, [sent]).arrays[0]
    other = child.call("echo", {}, [np.zeros(size, np.uint8)]).arrays[0]
    np.testing.assert_array_equal(first, sent)
    assert not other.any()


def test_the_pages_of_a_large_call_are_given_back(child):
    child.call("echo", {}, [np.ones(60 << 20, np.uint8)])
    assert os.fstat(child._channel._memory).st_blocks * 512 < 1 << 20


def test_what_does_not_fit_is_refused_and_harms_nothing(child):
    limit = Policy().channel_bytes
    with pytest.raises(TooLarge, match="send fewer rows"):
        child.call("echo", {}, [np.broadcast_to(np.uint8(0), (limit + 1,))])
    with pytest.raises(TypeError):
        child.call("echo", {}, [np.array(["text"])])
    with pytest.raises(TypeError):
        child.call("echo", {"not": object()})
    assert child.call("echo", {"fine": 1}).values == {"fine": 1}


def test_progress_is_heard_and_a_listener_that_raises_ends_the_child():
    with Child.start(TARGET, Policy()) as child:
        heard = []
        child.call("echo", on_progress=lambda text, fraction: heard.append((text, fraction)))
        assert heard == [("echoing", 0.5)]

        def stop(text, fraction):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            child.call("echo", on_progress=stop)
        with pytest.raises(ChildFailed, match="its call was abandoned"):
            child.call("echo")


def test_calls_from_many_threads_take_turns(child):
    wrong = []

    def ask(number):
        for _ in range(20):
            reply = child.call("echo", {"n": number}, [np.full(20_000, number)])
            if reply.values["n"] != number or (reply.arrays[0] != number).any():
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_it_says_what_holds_it():
    with Child.start(TARGET, Policy()) as child:
        assert child.confinement == ""
        assert child.ready(60) == child.confinement
        assert child.confinement.endswith("seccomp, rlimits")
        assert child.confinement.startswith("landlock ")


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("no_such_module:verbs", "could not start: ModuleNotFoundError: No module named 'no_such_module'"),
        ("sandbox_payloads:nothing", "could not start: AttributeError: "),
        ("sandbox_payloads:verbs_that_fail", "could not start: RuntimeError: the libraries are broken"),
    ],
)
def test_a_target_that_cannot_be_loaded_is_one_line(target, line):
    with Child.start(target, Policy()) as child:
        with pytest.raises(ChildFailed, match=line):
            child.call("echo")
        with pytest.raises(ChildFailed):
            child.call("echo")


def test_close_reaps_at_once_and_twice_is_fine():
    child = Child.start(TARGET, Policy())
    child.call("echo")
    child.close()
    assert state_of(child.pid) == ""
    assert not child.alive
    child.close()
    child.kill()
    with pytest.raises(ChildFailed, match="it was closed"):
        child.call("echo")
    early = Child.start(TARGET, Policy())
    early.close()
    assert state_of(early.pid) == ""
    with pytest.raises(ChildFailed, match="it was closed"):
        early.ready()


def test_nothing_is_left_behind_by_a_hundred_ways_to_end():
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for verb in ("echo", "exit_hard", "segfault", "echo", "kill_self"):
        with Child.start(TARGET, Policy()) as child:
            if verb == "echo":
                child.call(verb)
            else:
                with pytest.raises(ChildFailed):
                    child.call(verb)
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


def test_an_end_is_announced():
    ended = threading.Event()
    with Child.start(TARGET, Policy(), on_end=ended.set) as child:
        child.ready(60)
        os.kill(child.pid, 9)
        assert ended.wait(20)
        assert not child.alive


def test_a_child_outlives_the_thread_that_started_it():
    made = []
    thread = threading.Thread(target=lambda: made.append(Child.start(TARGET, Policy())))
    thread.start()
    thread.join()
    with made[0] as child:
        child.ready(60)
        time.sleep(0.05)
        assert child.call("echo", {"here": 1}).values == {"here": 1}


PARENT = """
import sys, time
from modelyard.sandbox.child import Child
from modelyard.sandbox.policy import Policy
child = Child.start("sandbox_payloads:verbs", Policy())
child.ready()
print(child.pid, flush=True)
child.call(sys.argv[1])
"""


@pytest.mark.parametrize("verb", ["sleep", "endless"])
def test_a_child_dies_with_its_parent(verb):
    environment = {"PYTHONPATH": f"{Path(__file__).parent}:{Path(channel_module.__file__).parents[2]}"}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, verb], stdout=subprocess.PIPE, env=environment)
    try:
        pid = int(parent.stdout.readline())
        assert state_of(pid) not in {"", "Z"}
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    assert gone(pid)


def test_handlers_that_raise_leave_the_child_usable(child):
    for _ in range(3):
        with pytest.raises(ModelFailed):
            child.call("stumble")
    assert child.call("echo", {"n": 1}).values == {"n": 1}
