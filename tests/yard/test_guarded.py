"""A bad version under real traffic: it takes none, or little and not for long, and the history says why."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from numbered import Load
from ups import Up, push_adders, until

from modelyard.artifact.bundle import write_bundle
from modelyard.client import Client
from modelyard.core.ref import ModelRef
from modelyard.deploy.yard import Yard

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    with Up(tmp_path_factory.mktemp("guarded"), "--workers", "2") as running:
        yield running


def history(up: Up, model: str) -> list[dict]:
    return json.loads(up.run("history", model, "--json", check=True).stdout)


def turned_back(up: Up, model: str) -> dict | None:
    newest = history(up, model)[0]
    return newest if newest["who"].startswith("control@") else None


def test_a_version_that_answers_otherwise_than_recorded_takes_no_traffic_and_says_why(up, tmp_path):
    push_adders(up, tmp_path, range(1, 3), "liar")
    with Yard.open(up.home) as yard:
        one, two = (yard.bundle(ModelRef("liar", number)) for number in (1, 2))
        parts = {name: two.path(name) for name in two.parts}
        graph = next(name for name in parts if name.endswith(".onnx"))
        # All that the maker of version 2 recorded, and the graph of version 1.
        parts[graph] = one.path(next(name for name in one.parts if name.endswith(".onnx")))
        yard.push(write_bundle(tmp_path / "forged", two.facts, parts), "liar", "", "test")
    up.order("liar", "release", 1)
    with Load("liar", up.http, up.grpc, connections=8, channels=2) as load:
        up.run("release", "liar", "3", check=True)
        row = until(lambda: turned_back(up, "liar"))
    assert set(load.heard.answers) == {"1"}
    assert load.heard.failed == load.heard.wrong == []
    assert row["entries"] == [{"version": 1, "weight": 10_000, "role": "live"}]
    assert "version 3" in row["why"]
    assert "the original gave" in row["evidence"]["reason"]


def test_a_canary_that_fails_for_some_inputs_is_turned_back_with_the_figures(up, tmp_path):
    push_adders(up, tmp_path, range(1, 2), "faulty")
    push_adders(up, tmp_path, range(2, 3), "faulty", bound=600)
    up.order("faulty", "release", 1)
    with Load("faulty", up.http, up.grpc, connections=8, channels=2) as load:
        up.run("release", "faulty", "2", "--steps", "5%,50%,100%", "--hold", "60s", check=True)
        row = until(lambda: turned_back(up, "faulty"), 60)
        with up.admin() as admin:
            assert admin.settled("faulty", row["revision"], 30)
    heard = load.heard
    assert heard.wrong == []
    assert heard.failed  # it did get its share of the traffic, and failed for some of it
    assert all("out of data bounds" in said for said in heard.failed), heard.failed[:3]
    assert heard.answers["1"] > 10 * len(heard.failed)
    assert row["entries"] == [{"version": 1, "weight": 10_000, "role": "live"}]
    assert row["order"]["verb"] == "rollback"
    assert row["evidence"]["by"] == "guard"
    assert "% of the canary's requests failed" in row["why"]
    # Nobody is sent there any more.
    with Load("faulty", up.http, up.grpc, connections=4, channels=2) as load:
        time.sleep(0.5)
    assert load.heard.failed == []
    assert set(load.heard.answers) == {"1"}


def test_a_good_canary_grows_by_itself_until_it_is_live(up, tmp_path):
    push_adders(up, tmp_path, range(1, 3), "better")
    up.order("better", "release", 1)
    with Load("better", up.http, up.grpc, connections=8, channels=2) as load:
        words = ("--steps", "10%,50%,100%", "--hold", "1s", "--min-requests", "20", "--max-p99-ratio", "20")
        up.run("release", "better", "2", *words, check=True)
        alone = [{"version": 2, "weight": 10_000, "role": "live"}]
        until(lambda: history(up, "better")[0]["entries"] == alone)
    assert load.heard.failed == load.heard.wrong == []
    assert set(load.heard.answers) == {"1", "2"}
    rows = history(up, "better")
    assert [row["order"]["verb"] for row in rows] == ["promote", "canary", "canary", "canary", "release"]
    shares = [entry["weight"] for row in rows[1:4] for entry in row["entries"] if entry["role"] == "canary"]
    assert shares == [10_000, 5_000, 1_000]
    assert all(row["who"].startswith("control@") for row in rows[:3])


def test_a_shadow_answers_nobody_and_show_says_what_it_would_have(up, tmp_path):
    push_adders(up, tmp_path, range(1, 3), "shade")
    up.order("shade", "release", 1)
    up.order("shade", "shadow", 2)

    def shown():
        text = up.run("show", "shade", check=True).stdout.decode()
        return text if "scores near" in text else ""

    with Load("shade", up.http, up.grpc, connections=4, channels=1) as load:
        text = until(shown)
    assert load.heard.failed == load.heard.wrong == []
    assert set(load.heard.answers) == {"1"}
    assert "2 as a shadow: " in text
    assert "(mean 1, max 1 apart)" in text
    with up.admin() as admin:
        (row,) = admin.model("shade").shadows
        assert (row.version, row.failed, row.unlike, row.scores_near) == (2, 0, 0, 0)
        assert row.requests > 0
        assert row.examples
    assert json.loads(up.run("show", "shade", "--json", check=True).stdout)["shadows"][0]["version"] == 2
    assert json.loads(up.run("show", "shade:2", "--json", check=True).stdout)["role"] == "shadow"


def test_a_retired_version_finishes_what_it_has_begun(up, tmp_path):
    push_adders(up, tmp_path, range(1, 2), "slow", slow=400)
    push_adders(up, tmp_path, range(2, 3), "slow")
    up.order("slow", "release", 1)
    answers: list[str] = []

    def ask():
        with Client(up.http) as client:
            answers.append(client.predict("slow", [[1.0, 1.0]], version=1).version)

    callers = [threading.Thread(target=ask) for _ in range(6)]
    for one in callers:
        one.start()
    time.sleep(0.1)
    up.order("slow", "release", 2)
    up.order("slow", "retire", 1)
    for one in callers:
        one.join(60)
    assert answers == ["1"] * 6
    with up.admin() as admin:
        until(lambda: admin.version("slow:1").version.state == "retired", 40)
    with Client(up.http) as client:
        assert client.predict("slow", [[1.0, 1.0]]).version == "2"


def test_of_two_processes_that_race_one_wins_and_the_other_is_told_who(up, tmp_path):
    push_adders(up, tmp_path, range(1, 4), "raced")
    revision = up.order("raced", "release", 1)
    for _ in range(3):
        with ThreadPoolExecutor(2) as pool:
            words = ("release", "raced", "{}", "--expected", str(revision), "--why", "racer {}")
            racers = [[word.format(number) for word in words] for number in (2, 3)]
            done = list(pool.map(lambda racer: up.run(*racer), racers))
        lost = [one for one in done if one.returncode]
        (now, *_) = history(up, "raced")
        assert [one.returncode for one in lost] == [75]
        assert now["revision"] == revision + 1
        assert now["who"].encode() in lost[0].stderr
        assert b"[conflict]" in lost[0].stderr
        assert now["entries"][0]["version"] == int(now["why"].removeprefix("racer "))
        revision = up.order("raced", "release", 1)
