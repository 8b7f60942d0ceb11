"""Under a memory budget: models come when they are asked for and make room for one another."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from worker_parts import Shelf, WorkerHere, ask, open_adds, states

from modelyard.serve.link import WantedModel, WantedSplit

WEIGHTS = 1 << 20
SIZE = 4 * WEIGHTS
NAMES = "abcdefgh"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    return Shelf(tmp_path_factory.mktemp("shelf"))


def models(shelf, **how):
    return [shelf.model(name, 1 + at, weights=WEIGHTS, **how) for at, name in enumerate(NAMES)]


def is_settled(generation):
    return lambda actual: actual.settled and actual.generation == generation


def held(actual):
    return sum(copy.size_bytes for copy in actual.copies if copy.state == "serving")


def test_a_cold_model_answers_after_its_load(shelf):
    budget = 3 * SIZE + SIZE
    with WorkerHere(budget_bytes=budget) as here:
        here.follow(1, *models(shelf))
        found = states(here.until(is_settled(1)))
        assert set(found.values()) == {"serving", "cold"}
        for _ in range(2):
            for at, name in enumerate(NAMES):
                assert ask(here.port, name, 3.0) == (200, (str(1 + at), 4.0 + at))
        actual = here.until(lambda actual: actual.settled)
        assert held(actual) <= budget
        assert set(states(actual).values()) == {"serving", "cold"}
        seen = here.run(_call(here.worker._plane.observe))
        assert {
            sums.model: sum(count for *_, count in sums.requests) for sums in seen.models
        } == dict.fromkeys(NAMES, 2)


async def _call(work):
    return work()


def test_many_ask_for_many_cold_models_at_once(shelf):
    with WorkerHere(budget_bytes=3 * SIZE) as here:
        here.follow(1, *models(shelf))
        here.until(is_settled(1))
        with ThreadPoolExecutor(24) as pool:
            asked = [NAMES[turn * 5 % len(NAMES)] for turn in range(96)]
            answers = list(pool.map(lambda name: ask(here.port, name, 0.0), asked))
        for name, answer in zip(asked, answers, strict=True):
            number = 1 + NAMES.index(name)
            assert answer == (200, (str(number), float(number)))


def test_what_is_asked_for_comes_before_what_only_fills_the_budget(shelf):
    gate, opened = threading.Event(), []

    def opener(folder):
        opened.append(str(folder))
        assert gate.wait(60)
        return open_adds(folder)

    wanted = models(shelf)
    with WorkerHere(opener=opener, budget_bytes=20 * SIZE) as here, ThreadPoolExecutor(1) as pool:
        here.follow(1, *wanted)
        here.until(lambda actual: "loading" in states(actual).values())
        answer = pool.submit(ask, here.port, NAMES[-1])
        parking = here.worker._plane.parking
        while not here.run(_call(lambda: len(parking))):
            time.sleep(0.01)
        gate.set()
        assert answer.result(30) == (200, (str(len(NAMES)), float(len(NAMES))))
        here.until(is_settled(1))
    assert opened[1] == wanted[-1].versions[0].folder
    assert len(opened) == len(NAMES)


def test_pinned_models_stay(shelf):
    with WorkerHere(budget_bytes=4 * SIZE) as here:
        pinned = shelf.model("p", 9, weights=WEIGHTS, pinned=True)
        here.follow(1, *models(shelf), pinned)
        assert states(here.until(is_settled(1)))["p", 9] == "serving"
        for name in NAMES:
            assert ask(here.port, name)[0] == 200
            assert states(here.until(lambda actual: True))["p", 9] == "serving"


def test_pins_that_do_not_fit_are_refused_with_the_reason(shelf):
    with WorkerHere(budget_bytes=2 * SIZE) as here:
        here.follow(1, *models(shelf, pinned=True))
        actual = here.until(is_settled(1))
        failed = [copy for copy in actual.copies if copy.state == "failed"]
        assert failed
        assert all("--memory-budget" in copy.reason for copy in failed)
        assert held(actual) <= 2 * SIZE + SIZE


def test_a_model_larger_than_the_budget_is_refused(shelf):
    with WorkerHere(budget_bytes=SIZE // 2) as here:
        here.follow(1, shelf.model("a", 1, weights=WEIGHTS), shelf.model("s", 2))
        here.until(is_settled(1))
        status, error = ask(here.port, "a")
        assert status == 503
        assert "could not be loaded" in error
        assert ask(here.port, "s") == (200, ("2", 2.0))


def test_a_new_version_is_proved_before_it_takes_over_even_when_it_may_be_cold(shelf):
    with WorkerHere(budget_bytes=3 * SIZE) as here:
        here.follow(1, *models(shelf))
        here.until(is_settled(1))
        liar = shelf.version(3, lie=True)
        old = shelf.version(1, weights=WEIGHTS)
        here.follow(2, WantedModel("a", 2, (old, liar), WantedSplit((3,), (10_000,))), *models(shelf)[1:])
        assert states(here.until(is_settled(2)))["a", 3] == "failed"
        assert ask(here.port, "a") == (200, ("1", 1.0))
        here.follow(3, shelf.model("a", 4, weights=WEIGHTS), *models(shelf)[1:])
        here.until(is_settled(3))
        assert ask(here.port, "a") == (200, ("4", 4.0))


def test_a_cold_version_answers_by_its_number(shelf):
    with WorkerHere(budget_bytes=2 * SIZE) as here:
        here.follow(1, shelf.model("a", 4, 1, 2, 3, weights=WEIGHTS))
        here.until(is_settled(1))
        for number in (1, 2, 3, 4, 1):
            assert ask(here.port, "a", 1.0, number) == (200, (str(number), 1.0 + number))
        assert ask(here.port, "a") == (200, ("4", 4.0))
        assert ask(here.port, "a", 1.0, 7)[0] == 404


def test_both_versions_of_a_split_come(shelf):
    with WorkerHere(budget_bytes=3 * SIZE) as here:
        split = shelf.model("a", 1, canary=(2, 5_000), weights=WEIGHTS)
        here.follow(1, *models(shelf)[1:], split)
        here.until(is_settled(1))
        assert {ask(here.port, "a")[1][0] for _ in range(16)} == {"1", "2"}
