import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from modelyard.control import supervisor as supervising
from modelyard.control.nursery import Nursery
from modelyard.control.run_folder import RunFolder, SocketName
from modelyard.control.running import Start, restart_delay
from modelyard.control.supervisor import Supervisor
from modelyard.core.errors import Conflict
from modelyard.serve.link import Desired, WantedModel, WantedVersion
from modelyard.serve.options import ServeOptions, options_digest

FAKE = Path(__file__).with_name("fake_worker.py")
OPTIONS = ServeOptions(http_port=1, grpc_port=2, drain_s=5.0)


class Crew:
    def __init__(self):
        self.heard_of, self.ended = [], []

    def heard(self, worker, message):
        self.heard_of.append((worker, message))

    def came(self, worker):
        pass

    def went(self, worker):
        self.ended.append(worker)


def start_of(options=OPTIONS, version="1", ports=()):
    return Start(options, options_digest(options), version, (sys.executable, str(FAKE)), ports)


async def until(what, seconds=20):
    stop = asyncio.get_running_loop().time() + seconds
    while not what():
        assert asyncio.get_running_loop().time() < stop, "it did not come true"
        await asyncio.sleep(0.01)


def pids(supervisor):
    return [running.child.pid for running in supervisor.running]


@pytest.fixture
def folder(tmp_path):
    # Longer than the address of a Unix socket may be.
    with RunFolder(tmp_path / ("deep" * 20) / ("deeper" * 20), "here") as opened:
        opened.lock()
        yield opened


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch):
    monkeypatch.setattr(supervising, "LOOK_S", 0.2)


def run(folder, work, count=2):
    """Run a test with a supervisor; whatever it leaves is ended."""

    async def main():
        crew = Crew()
        supervisor = Supervisor(folder, count, crew)
        await supervisor.adopt()
        try:
            await work(supervisor, crew)
        finally:
            await supervisor.close(5)
        assert pids(supervisor) == [] or all(one.child.ended.is_set() for one in supervisor.running)

    asyncio.run(main())


def test_workers_start_and_stop_and_leave_nothing(folder):
    async def work(supervisor, crew):
        supervisor.open(start_of())
        await until(lambda: len(supervisor.running) == 2)
        assert len(set(pids(supervisor))) == 2
        for running in supervisor.running:
            assert os.getsid(running.child.pid) == running.child.pid  # the terminal's Ctrl-C is not for it

    run(folder, work)
    assert folder.sockets() == []


def test_a_worker_that_is_killed_is_back_and_its_end_is_told(folder):
    async def work(supervisor, crew):
        supervisor.open(start_of())
        await until(lambda: len(supervisor.running) == 2)
        first = supervisor.running[0]
        os.kill(first.child.pid, signal.SIGKILL)
        await until(lambda: first.child.pid not in pids(supervisor) and len(supervisor.running) == 2)
        assert first in crew.ended
        assert first.child.code == -signal.SIGKILL
        assert supervisor.berths[0].restarts == 1
        # The dead one's socket refuses, and is not taken for a worker.
        assert folder.connect(first.name) is None
        assert first.name not in folder.sockets()

    run(folder, work)


def test_a_process_waits_to_be_the_next_worker_and_a_roll_takes_fresh_ones(folder):
    async def work(supervisor, crew):
        supervisor.open(start_of())
        await until(lambda: len(supervisor.running) == 2)
        for running in supervisor.running:
            running.served = True
        nursery = supervisor._nursery
        await until(lambda: nursery.spare_pid is not None)
        spare, (first, _) = nursery.spare_pid, pids(supervisor)
        os.kill(first, signal.SIGKILL)
        await until(lambda: spare in pids(supervisor) and first not in pids(supervisor))
        assert (folder.path / "worker-0.log").read_text().count("it is told what to be") == 2
        supervisor.berths[0].running.served = True
        await until(lambda: nursery.spare_pid not in (None, spare))
        second = nursery.spare_pid
        supervisor.roll()  # what it imported may be old
        await until(lambda: not os.path.exists(f"/proc/{second}"))

    run(folder, work)


def test_a_process_that_waits_ends_with_its_control(folder):
    async def work(supervisor, crew):
        nursery = Nursery((sys.executable, str(FAKE)))
        nursery.prepare()
        waiting = nursery._spare
        waiting.channel.close()  # as the kernel does for one who was killed
        await until(waiting.child.ended.is_set)
        assert waiting.child.code == 0

    run(folder, work, count=0)


def test_who_comes_while_the_only_worker_is_away_waits_at_a_held_door(folder, tmp_path):
    port = free_port()

    async def work(supervisor, crew):
        supervisor.open(start_of(ports=(port,)))
        await until(lambda: len(supervisor.running) == 1)
        await until(lambda: reaches(port))
        os.kill(pids(supervisor)[0], signal.SIGKILL)
        await until(lambda: not supervisor.running)
        assert reaches(port)

    run(folder, work, count=1)


def test_the_door_of_a_dead_worker_is_closed_where_others_serve(folder):
    port = free_port()

    async def work(supervisor, crew):
        supervisor.open(start_of(ports=(port,)))
        await until(lambda: len(supervisor.running) == 2)
        held = [berth.doors.open("127.0.0.1", (port,))[0] for berth in supervisor.berths]
        supervisor.running[1].served = True
        os.kill(pids(supervisor)[0], signal.SIGKILL)
        await until(lambda: supervisor.berths[0].restarts == 1)
        assert [one.fileno() >= 0 for one in held] == [False, True]
        os.kill(supervisor.berths[1].running.child.pid, signal.SIGKILL)
        await until(lambda: supervisor.berths[1].restarts == 1)
        assert held[1].fileno() >= 0  # nobody else serves yet

    run(folder, work)


def test_a_new_control_holds_the_doors_of_the_workers_that_it_finds(folder):
    port = free_port()
    asyncio.run(_orphans(folder, 1, (port,)))

    async def work(supervisor, crew):
        (found,) = pids(supervisor)
        held = supervisor.berths[0].doors.open("127.0.0.1", (port,))
        assert [one.getsockname()[1] for one in held] == [port]
        os.kill(found, signal.SIGKILL)
        await supervisor.running[0].child.ended.wait()
        assert reaches(port)  # nobody listens but who holds the door

    run(folder, work, count=1)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def reaches(port):
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_worker_that_hangs_is_ended_and_replaced(folder, monkeypatch):
    monkeypatch.setattr(supervising, "SILENT_S", 0.5)

    async def work(supervisor, crew):
        supervisor.open(start_of())
        await until(lambda: len(supervisor.running) == 1)
        hung = supervisor.running[0]
        os.kill(hung.child.pid, signal.SIGSTOP)
        await until(lambda: len(supervisor.running) == 1 and supervisor.running[0] is not hung)

    run(folder, work, count=1)


def test_one_that_does_not_start_is_a_problem_that_names_its_last_words(folder, monkeypatch):
    monkeypatch.setenv("FAKE_BREAKS", "1")

    async def work(supervisor, crew):
        supervisor.open(start_of())
        await until(lambda: bool(supervisor.problems()))
        assert supervisor.problems() == ["worker 0 does not start: no luck today"]
        monkeypatch.delenv("FAKE_BREAKS")
        await until(lambda: len(supervisor.running) == 1)
        assert supervisor.problems() == []

    run(folder, work, count=1)


def test_starting_again_costs_nothing_at_first_and_then_more():
    assert [restart_delay([0.0] * deaths, 1.0) for deaths in range(8)] == [0, 0, 0, 0, 0.5, 1, 2, 4]
    assert restart_delay([0.0] * 50, 1.0) == 10.0
    assert restart_delay([0.0] * 50, 61.0) == 0.0


def replaced(supervisor, before):
    now = pids(supervisor)
    return len(now) == len(before) and not set(now) & set(before) and not supervisor.leaving


def test_a_roll_replaces_every_worker_and_never_has_fewer(folder):
    least = []

    async def work(supervisor, crew):
        supervisor.open(start_of())
        await until(lambda: len(supervisor.running) == 2)
        supervisor.generation, supervisor.may_replace = 1, True
        wish = Desired(1, (WantedModel("iris", 1, (WantedVersion(1, "d", "/x"),)),))
        before = pids(supervisor)
        told = set()

        def look():
            for running in supervisor.everyone:
                if running not in told:
                    told.add(running)
                    running.connection.send(wish)
            least.append(sum(not one.draining for one in supervisor.everyone))
            return replaced(supervisor, before)

        look()
        supervisor.roll()
        await until(look)
        assert supervisor.berths[0].restarts == 0

    run(folder, work)
    assert min(least) >= 2


@pytest.fixture
def orphans(folder):
    """Two workers of a control that was killed."""
    started = asyncio.run(_orphans(folder))
    yield started
    for pid in started:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


async def _orphans(folder, count=2, ports=()):
    supervisor = Supervisor(folder, count, Crew())
    supervisor.open(start_of(ports=ports))
    await until(lambda: len(supervisor.running) == count)
    for task in supervisor._tasks:
        task.cancel()
    found = pids(supervisor)
    for running in supervisor.running:
        # As after kill -9: nobody waits for them and the connections are cut.
        asyncio.get_running_loop().remove_reader(running.child._handle)
        running.connection._writer.transport.abort()
    for berth in supervisor.berths:
        berth.doors.close()
    return found


def test_a_new_control_adopts_what_it_finds(folder, orphans):
    async def work(supervisor, crew):
        assert pids(supervisor) == orphans
        supervisor.may_replace = True
        supervisor.open(start_of())
        await asyncio.sleep(0.7)  # longer than a berth waits between two looks
        assert pids(supervisor) == orphans
        assert all(running.adopted for running in supervisor.running)

    run(folder, work)


def test_other_options_replace_what_was_adopted_but_not_before_there_is_something_to_serve(folder, orphans):
    async def work(supervisor, crew):
        other = ServeOptions(http_port=1, grpc_port=2, drain_s=5.0, request_s=7.0)
        supervisor.open(start_of(other))
        await asyncio.sleep(0.7)  # longer than a berth waits between two looks
        assert pids(supervisor) == orphans
        supervisor.may_replace = True
        await until(lambda: replaced(supervisor, orphans))
        assert {one.connection.hello.options for one in supervisor.running} == {options_digest(other)}

    run(folder, work)


def test_fewer_workers_are_asked_for_and_the_rest_is_sent_home(folder, orphans):
    async def work(supervisor, crew):
        assert pids(supervisor) == orphans[:1]
        supervisor.open(start_of())
        await until(lambda: len(crew.ended) == 1)
        assert pids(supervisor) == orphans[:1]

    run(folder, work, count=1)


def test_dead_sockets_and_strangers_are_no_workers(folder):
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(f"/proc/self/fd/{folder._handle}/worker-0-7.sock")
    dead.close()
    (folder.path / "worker-1-1.sock").write_text("not a socket")

    async def work(supervisor, crew):
        assert supervisor.running == []
        supervisor.open(start_of())
        await until(lambda: len(supervisor.running) == 2)

    run(folder, work)
    assert SocketName(0, 7) not in folder.sockets()


def test_one_control_a_host(folder, tmp_path):
    home = folder.path.parent.parent
    with RunFolder(home, "here") as second:
        assert second.is_locked
        with pytest.raises(Conflict, match="in control of this yard"):
            second.lock()
    with RunFolder(home, "there") as other:
        assert not other.is_locked
        other.lock()
        with RunFolder(home, "there") as seen:
            assert seen.is_locked
