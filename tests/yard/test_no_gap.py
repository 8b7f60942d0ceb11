"""Versions swap under full load, and nobody notices."""

from __future__ import annotations

import random
import time

import pytest
from numbered import Load
from ups import Up, push_adders, resident_bytes

SWAPS = 200
VERSIONS = range(1, 6)


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    home = tmp_path_factory.mktemp("nogap")
    with Up(home, "--workers", "2") as running:
        push_adders(running, home, VERSIONS)
        running.order("adder", "release", 1)
        yield running


def moves(seed: int):
    """Any moves that may follow each other: releases, canaries that grow, promotions, rollbacks."""
    draw = random.Random(seed)
    live, canary, before = 1, None, []
    while True:
        if canary is not None:
            kind = draw.choice(["grow", "promote", "rollback"])
            if kind == "grow":
                yield ("canary", canary, {"share": f"{draw.randint(1, 99)}%"})
            elif kind == "promote":
                before.append(live)
                live, canary = canary, None
                yield ("promote", None, {})
            else:
                canary = None
                yield ("rollback", None, {})
        else:
            kind = draw.choice(["release", "release", "canary", "rollback"])
            other = draw.choice([one for one in VERSIONS if one != live])
            if kind == "rollback" and before:
                live = before.pop()
                yield ("rollback", None, {})
            elif kind == "canary":
                canary = other
                yield ("canary", canary, {"share": f"{draw.randint(1, 99)}%"})
            else:
                before.append(live)
                live = other
                yield ("release", live, {})


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_moves_under_load_drop_nothing_and_answer_right(up):
    pids = up.worker_pids()
    memory = None
    with Load("adder", up.http, up.grpc, connections=64, channels=8) as load:
        for count, (verb, version, more) in zip(range(SWAPS), moves(7), strict=False):
            up.order("adder", verb, version, **more)
            if count == 20:  # every version was loaded once: what is held now is held for good
                memory = sum(map(resident_bytes, pids))
        time.sleep(1)
        after = sum(map(resident_bytes, pids))
    heard = load.heard
    assert heard.failed == []
    assert heard.wrong == []
    assert set(heard.answers) == {str(version) for version in VERSIONS}
    assert up.worker_pids() == pids
    assert after < 1.1 * memory, f"{memory} bytes before, {after} after"


def test_a_share_of_the_requests_and_keys_that_stay(up):
    up.order("adder", "release", 1)
    up.order("adder", "canary", 2, share="10%")
    with Load("adder", up.http, None, connections=8) as load:
        time.sleep(4)
    heard = load.heard
    assert not heard.failed
    assert not heard.wrong
    share = heard.answers["2"] / heard.total
    assert abs(share - 0.10) < 0.01, f"{heard.answers}"
    first = {key: _version_for(up, key) for key in range(40)}
    assert set(first.values()) == {"1", "2"}
    assert all(_version_for(up, key) == version for key, version in first.items())
    up.order("adder", "canary", 2, share="30%")
    moved = {key: _version_for(up, key) for key in range(40)}
    assert all(moved[key] == "2" for key, version in first.items() if version == "2")
    up.order("adder", "rollback")


def _version_for(up: Up, key: int) -> str:
    import http.client
    import json

    host, port = up.http.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 1]}]}
    connection.request("POST", "/v2/models/adder/infer", json.dumps(body), {"x-modelyard-key": f"user-{key}"})
    told = json.loads(connection.getresponse().read())
    connection.close()
    return told["model_version"]
