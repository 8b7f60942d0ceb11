"""What a worker does while copies come and go: an opener that the test holds decides when."""

import threading

import pytest
from worker_parts import Shelf, WorkerHere, ask, open_adds, states

from modelyard.core.errors import CorruptFile
from modelyard.serve import local_copy
from modelyard.serve.link import Desired


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    return Shelf(tmp_path_factory.mktemp("shelf"))


class Held:
    """An opener that waits for the test, folder by folder; it counts what is open."""

    def __init__(self):
        self.gates = {}
        self.opening = []
        self.open = []
        self.errors = {}
        self.most = 0

    def hold(self, version):
        self.gates[version.folder] = threading.Event()
        return self.gates[version.folder]

    def __call__(self, folder):
        self.opening.append(str(folder))
        self.most = max(self.most, len(self.opening))
        try:
            gate = self.gates.get(str(folder))
            if gate is not None:
                assert gate.wait(60)
            if str(folder) in self.errors:
                raise self.errors[str(folder)]
            opened = open_adds(folder)
        finally:
            self.opening.remove(str(folder))
        self.open.append(str(folder))
        close = opened.runner.close

        def closed():
            self.open.remove(str(folder))
            close()

        opened.runner.close = closed
        return opened


def is_settled(generation):
    return lambda actual: actual.settled and actual.generation == generation


def has(**wanted):
    """``a2="serving"`` is version 2 of model a; "" is that it is not there."""
    keys = {(name[0], int(name[1:])): state for name, state in wanted.items()}
    return lambda actual: all(states(actual).get(key, "") == state for key, state in keys.items())


def test_the_old_split_stays_until_all_of_the_new_one_serves(shelf):
    opener = Held()
    gate = opener.hold(shelf.version(3))
    with WorkerHere(opener) as here:
        here.follow(1, shelf.model("a", 1))
        here.until(is_settled(1))
        here.follow(2, shelf.model("a", 2, canary=(3, 5_000)))
        here.until(has(a1="serving", a2="serving", a3="loading"))
        assert [ask(here.port, "a")[1][0] for _ in range(8)] == ["1"] * 8
        assert ask(here.port, "a", version="2") == (200, ("2", 2.0))
        gate.set()
        here.until(has(a1="", a2="serving", a3="serving"))
        assert {ask(here.port, "a")[1][0] for _ in range(8)} <= {"2", "3"}
    assert opener.open == []


def test_a_newer_wish_supersedes_one_on_its_way(shelf):
    opener = Held()
    gate = opener.hold(shelf.version(2))
    with WorkerHere(opener) as here:
        here.follow(1, shelf.model("a", 1))
        here.until(is_settled(1))
        here.follow(2, shelf.model("a", 2))
        here.until(has(a2="loading"))
        here.follow(3, shelf.model("a", 3))
        here.until(has(a1="", a3="serving"))
        assert ask(here.port, "a") == (200, ("3", 3.0))
        gate.set()
        actual = here.until(is_settled(3))
        assert states(actual) == {("a", 3): "serving"}
        assert ask(here.port, "a", version="2")[0] == 404
        assert opener.open == [str(shelf.version(3).folder)]


def test_a_wish_that_comes_back_takes_the_copy_on_its_way(shelf):
    opener = Held()
    gate = opener.hold(shelf.version(2))
    with WorkerHere(opener) as here:
        here.follow(1, shelf.model("a", 2))
        here.until(has(a2="loading"))
        here.follow(2)
        here.follow(3, shelf.model("a", 2))
        gate.set()
        assert states(here.until(is_settled(3))) == {("a", 2): "serving"}
        assert opener.open == [str(shelf.version(2).folder)]


def test_a_slow_load_does_not_hold_the_loop_and_loads_are_bounded(shelf):
    opener = Held()
    gates = [opener.hold(shelf.version(number)) for number in (2, 3, 4)]
    with WorkerHere(opener, loads=2) as here:
        here.follow(1, shelf.model("a", 1))
        here.until(is_settled(1))
        here.follow(2, *(shelf.model(name, number) for name, number in zip("abc", (2, 3, 4), strict=True)))
        here.until(lambda actual: list(states(actual).values()).count("loading") == 2)
        assert ask(here.port, "a") == (200, ("1", 1.0))
        for gate in gates:
            gate.set()
        here.until(is_settled(2))
        assert opener.most == 2


@pytest.mark.parametrize("error", [CorruptFile("it is noise"), RuntimeError("a bug of the opener")])
def test_a_failed_load_says_why_and_is_tried_again_after_a_pause(shelf, monkeypatch, error):
    monkeypatch.setattr(local_copy, "RETRY_S", 0.5)
    opener = Held()
    opener.errors[shelf.version(2).folder] = error
    with WorkerHere(opener) as here:
        here.follow(1, shelf.model("a", 2), shelf.model("b", 1))
        actual = here.until(has(a2="failed", b1="serving"))
        reason = next(copy.reason for copy in actual.copies if copy.model == "a")
        assert str(error) in reason
        assert ask(here.port, "a")[0] in (404, 503)
        opener.errors.clear()
        here.until(has(a2="serving"))
        assert ask(here.port, "a") == (200, ("2", 2.0))


def test_a_failed_warm_up_lets_go(shelf):
    opener = Held()

    def opening(folder):
        opened = opener(folder)
        opened.runner.run = lambda inputs: (_ for _ in ()).throw(CorruptFile("it does not run"))
        return opened

    with WorkerHere(opening, prove=lambda opened: "") as here:
        here.follow(1, shelf.model("a", 1))
        here.until(has(a1="failed"))
        assert opener.open == []


def test_it_can_serve_without_control(shelf):
    desired = Desired(1, (shelf.model("a", 1),))
    with WorkerHere(desired=desired) as here:
        here.until(is_settled(1))
        assert ask(here.port, "a") == (200, ("1", 1.0))
