"""Several hosts of one model: real processes, some of which die."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest
from test_python_runtime import SIGNATURE, TARGET, rows, state_of

from modelyard.core.errors import BadInput, BusyError, CorruptFile, HostDied
from modelyard.runtime.hosts import PythonHosts
from modelyard.runtime.table import RUNTIMES
from modelyard.sandbox.policy import Policy


@pytest.fixture
def open_hosts():
    """Open hosts that cannot outlive the test."""
    opened = []

    def begin(instances=2, values=None, arrays=(), **options):
        policy = Policy(cpu_s=None, wall_s=None)
        kind = RUNTIMES.load("hosts")
        hosts = kind.open(
            TARGET, values or {}, arrays, SIGNATURE, policy, instances=instances, name="iris", **options
        )
        opened.append(hosts)
        return hosts

    yield begin
    for hosts in opened:
        hosts.close()


def asking(hosts, first, heard):
    """A caller in a thread of its own, and what it heard."""

    def ask():
        try:
            heard.append(hosts.run(rows(first))[0])
        except (HostDied, BusyError) as error:
            heard.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def until(holds, within_s=60.0):
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def test_two_batches_run_at_one_time_in_two_processes(open_hosts):
    hosts = open_hosts()
    assert (hosts.lanes, hosts.lanes_up(), hosts.inline, hosts.platform) == (2, 2, False, "python")
    assert len(set(hosts.pids) | {os.getpid()}) == 3
    # Each waits for ever: only if both have a host of their own do both hear that it was killed.
    heard = []
    callers = [asking(hosts, -2, heard), asking(hosts, -2, heard)]
    pids = hosts.pids
    until(lambda: all(state_of(pid) == "S" for pid in pids))
    until(lambda: not hosts._free)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for caller in callers:
        caller.join(60)
    assert [type(error) for error in heard] == [HostDied, HostDied]


def test_every_caller_gets_the_rows_that_it_brought(open_hosts):
    hosts = open_hosts(3, arrays=[np.array([3.0])])
    wrong = []

    def ask(caller):
        for turn in range(60):
            x = np.full((1 + turn % 3, 3), caller * 1000 + turn, np.float32)
            (y,) = hosts.run((x,))
            if not np.array_equal(y, x * np.float32(3)):
                wrong.append((caller, turn))

    callers = [threading.Thread(target=ask, args=(caller,)) for caller in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert wrong == []


def test_while_one_is_away_the_other_answers_everybody(open_hosts):
    hosts = open_hosts()
    with pytest.raises(HostDied, match="ended; it is being restarted"):
        hosts.run(rows(-9))
    assert hosts.lanes_up() == 1
    (survivor,) = hosts.pids
    answered = 0
    while hosts.lanes_up() == 1:
        np.testing.assert_array_equal(hosts.run(rows(5))[0], rows(5)[0] * 2)
        answered += 1
    assert answered > 10
    until(lambda: len(hosts.pids) == 2)
    assert survivor in hosts.pids
    assert "these are my last words" in hosts.last_words


def test_a_caller_whose_host_went_away_in_between_is_answered_by_another(open_hosts):
    hosts = open_hosts()
    # The one whose turn it is has no child any more, as in the moment before its keeper starts the next one.
    first = hosts._free[0]
    up = type(first).up
    child, first._child = first._child, None
    try:
        type(first).up = property(lambda _: True)
        np.testing.assert_array_equal(hosts.run(rows(5))[0], rows(5)[0] * 2)
    finally:
        type(first).up = up
        first._child = child
    with pytest.raises(BadInput, match="the caller is wrong"):
        hosts.run(rows(-4))


def test_a_model_that_opens_nowhere_leaves_no_host():
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    policy = Policy(cpu_s=None, wall_s=None)
    with pytest.raises(CorruptFile, match="the file is not what it says it is"):
        PythonHosts.open(TARGET, {"broken": True}, (), SIGNATURE, policy, instances=2)
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


def test_close_ends_all_of_them_even_in_mid_request(open_hosts):
    hosts = open_hosts()
    pids, heard = hosts.pids, []
    callers = [asking(hosts, -2, heard), asking(hosts, -2, heard)]
    until(lambda: not hosts._free)
    hosts.close()
    for caller in callers:
        caller.join(60)
    assert all(isinstance(error, BusyError) for error in heard)
    assert len(heard) == 2
    assert [state_of(pid) for pid in pids] == ["", ""]
    assert hosts.pids == ()
    hosts.close()
