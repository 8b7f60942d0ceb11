"""Several versions of a model behind real sockets: shares, keys, swaps, shadows, cold ones."""

import json
import threading
import time
from collections import Counter

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from plane_running import BODY, SIGNATURE, Plane, Times, read, until
from tritonclient.utils import InferenceServerException

from modelyard.core.errors import Unavailable
from modelyard.core.routing import Split
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.engine.limits import QueueLimits
from modelyard.serve.exchange import Exchange
from modelyard.serve.grpc import ENGINES
from modelyard.serve.parking import ParkingLimits

CANARY = Split((2, 1), (1_000, 9_000))
HALVES = Split((2, 1), (5_000, 5_000))
KEYS = [f"user-{n}" for n in range(40)]


def with_parameter(key):
    return json.dumps({**json.loads(BODY), "parameters": {"routing_key": key}})


def an_input():
    made = triton_grpc.InferInput("x", [1, 2], "FP32")
    made.set_data_from_numpy(np.ones((1, 2), np.float32))
    return made


@pytest.fixture
def plane():
    with Plane() as running:
        yield running


@pytest.fixture
def pair(plane):
    return plane.slot("m", "1"), plane.slot("m", "2")


def test_weights_hold_over_http(plane, pair):
    plane.publish(*pair, splits={"m": CANARY})
    connection = plane.connect()
    versions = Counter()
    for _ in range(2_000):
        status, answer = read(connection, "POST", "/v2/models/m/infer", BODY)
        assert status == 200
        version = answer["model_version"]
        assert answer["outputs"][0]["data"] == [int(version), 2 * int(version)]
        versions[version] += 1
    connection.close()
    assert abs(versions["2"] - 200) <= 20
    assert sum(pair[1].counters.requests.values()) == versions["2"]


class Chosen(Exchange):
    """An exchange that is asked only who answers it; ``user`` is its key."""

    user = None

    def open(self):
        raise AssertionError("nothing is read")

    send = fail = open

    def key(self):
        return None if self.user is None else b"user-%d" % self.user


def versions_of(plane, users=None, requests=100_000):
    """Who answers so many requests, as the data plane decides it; with keys, each user's version."""

    def choose():
        routes = plane.plane.routes
        found = []
        for at in range(requests):
            Chosen.user = None if users is None else at % users
            found.append(Chosen(plane.plane, routes.route("m")).slot.version)
        return found

    return plane.do(choose)


def test_a_tenth_of_a_hundred_thousand_requests_and_keys_that_never_flip(plane, pair):
    """The promise: 10% +- 1%; and in a step of a canary a key keeps its version from first to last."""
    plane.publish(*pair, splits={"m": CANARY})
    seen = Counter(versions_of(plane))
    assert seen.total() == 100_000
    assert abs(seen["2"] - 10_000) <= 100  # a tenth of what was promised
    users = 2_000
    gone_over = set()
    for weight in (1_000, 3_000, 10_000):
        plane.publish(*pair, splits={"m": Split((2, 1), (weight, 10_000 - weight))})
        answered = versions_of(plane, users, 100_000 if weight == 1_000 else 10_000)
        first = answered[:users]
        assert all(version == first[at % users] for at, version in enumerate(answered))
        now = {user for user, version in enumerate(first) if version == "2"}
        assert abs(len(now) / users - weight / 10_000) < 0.03
        assert now >= gone_over
        gone_over = now
    Chosen.user = None


@pytest.mark.parametrize("engine", list(ENGINES))
def test_a_key_stays_with_its_version_on_every_surface(engine):
    with Plane(engine) as plane:
        slots = plane.slot("m", "1"), plane.slot("m", "2")
        plane.publish(*slots, splits={"m": HALVES})
        client = triton_grpc.InferenceServerClient(plane.grpc_url)
        seen = {}
        for key in KEYS:
            given = {
                plane.infer(**{"x-modelyard-key": key})[1]["model_version"],
                plane.ask("POST", "/v2/models/m/infer", with_parameter(key))[1]["model_version"],
                plane.ask("POST", "/predict", '{"input": [[1, 2]]}', {"x-modelyard-key": key})[1]["version"],
                client.infer("m", [an_input()], headers={"x-modelyard-key": key})
                .get_response()
                .model_version,
                client.infer("m", [an_input()], parameters={"routing_key": key}).get_response().model_version,
            }
            assert len(given) == 1, (key, given)
            seen[key] = given.pop()
        client.close()
        assert set(seen.values()) == {"1", "2"}
        grown = Split((2, 1), (7_500, 2_500))
        plane.publish(*slots, splits={"m": grown})
        for key in KEYS:
            now = plane.infer(**{"x-modelyard-key": key})[1]["model_version"]
            assert now == "2" or seen[key] == "1", "a key moves only to the version that grows"


def test_the_bodys_key_wins_over_the_headers(plane, pair):
    plane.publish(*pair, splits={"m": HALVES})
    for key in KEYS[:10]:
        own = plane.infer(**{"x-modelyard-key": key})[1]["model_version"]
        both = plane.ask("POST", "/v2/models/m/infer", with_parameter(key), {"x-modelyard-key": "another"})
        assert both[1]["model_version"] == own


@pytest.mark.parametrize("key", [7, True, "k" * 257])
def test_a_key_that_is_no_key_is_refused_and_named(plane, pair, key):
    plane.publish(*pair, splits={"m": HALVES})
    status, answer = plane.ask("POST", "/v2/models/m/infer", with_parameter(key))
    assert (status, answer["code"]) == (400, "bad-request")
    assert "routing" in answer["error"]
    status, answer = plane.infer(**{"x-modelyard-key": "k" * 257})
    assert (status, answer["code"]) == (400, "bad-request")


def test_a_raw_body_is_read_for_the_version_that_answers(plane):
    wide = Signature(
        (TensorSpec("x", DTYPES["FP32"], (None, 4)),), (TensorSpec("y", DTYPES["FP32"], (None, 4)),)
    )
    plane.publish(plane.slot("m", "1"), plane.slot("m", "2", signature=wide), splits={"m": HALVES})
    raw = np.ones(4, np.float32).tobytes()
    rows = Counter()
    for _ in range(20):
        status, body = plane.ask("POST", "/v2/models/m/infer", raw, {"Inference-Header-Content-Length": "0"})
        assert status == 200
        head = json.loads(body[: body.rindex(b"]}") + 2])
        rows[head["model_version"], tuple(head["outputs"][0]["shape"])] += 1
    assert rows == {("1", (2, 2)): 10, ("2", (1, 4)): 10}


def test_a_slot_that_is_swapped_out_fails_nobody(plane):
    """The request was given to a slot that drains before its body is read."""
    old = plane.slot("m", "1")
    new = plane.slot("m", "2")
    plane.publish(old)
    route = plane.plane.routes.route("m")
    plane.wait(old.batcher.drain(5))
    status, answer = plane.infer()
    assert (status, answer["code"]) == (503, "unavailable")
    plane.publish(new)

    def stale(work):
        """Answer with the route as it was, as a request that came before the swap does."""
        kept = plane.plane.routes.by_name["m"]
        routes = plane.plane.routes
        plane.do(routes.by_name.__setitem__, "m", route)
        surface = next(hear.__self__ for hear in plane.plane.heard)
        plane.do(surface._find, b"/v2/models/m/infer")
        plane.do(surface._find, b"/predict/m")
        plane.do(routes.by_name.__setitem__, "m", kept)
        return work()

    assert stale(plane.infer)[1]["model_version"] == "2"
    predicted = stale(lambda: plane.ask("POST", "/predict/m", '{"input": [[1, 2]]}'))
    assert predicted[0] == 200
    assert predicted[1]["version"] == "2"


def test_what_waits_in_a_slot_that_is_closed_is_answered_by_the_next(plane):
    slow = Times(1, inline=False)
    slow.waits_s = 0.5
    old, new = plane.slot("m", "1", runner=slow), plane.slot("m", "2")
    plane.publish(old)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(plane.infer())) for _ in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: old.batcher.waiting + old.batcher.in_flight == 8)
    plane.publish(new)
    plane.wait(old.batcher.close())
    for thread in threads:
        thread.join()
    assert {status for status, _ in answers} == {200}
    assert {answer["model_version"] for _, answer in answers} >= {"2"}


def shadowed(plane, **how):
    live, shadow = plane.slot("m", "1"), plane.slot("m", "2", **how)
    plane.publish(live, shadow, splits={"m": Split((1,), (10_000,), (2,))})
    return shadow.counters


def test_a_shadow_is_compared_and_answers_nobody(plane):
    seen = shadowed(plane)
    for _ in range(30):
        assert plane.infer()[1]["model_version"] == "1"
    assert plane.ask("POST", "/predict", '{"input": [[0, 0]]}')[0] == 200
    until(lambda: seen.shadow.requests == 31)
    assert (seen.shadow.scores, seen.shadow.scores_near) == (62, 2)
    assert seen.shadow.max_difference == 2.0
    assert (seen.copies, seen.copies_bytes, seen.dropped) == (0, 0, 0)
    assert not seen.requests
    page = plane.ask("GET", "/metrics")[1].decode()
    assert 'modelyard_shadow_scores_near_total{model="m",version="2"} 2' in page
    assert 'modelyard_shadow_requests_total{model="m",version="2"} 31' in page


def test_a_shadow_that_fails_is_counted_and_felt_by_nobody(plane):
    runner = Times(2)
    runner.fails = True
    seen = shadowed(plane, runner=runner)
    for _ in range(10):
        assert plane.infer()[0] == 200
    until(lambda: seen.shadow.failed == 10)
    assert seen.copies == 0


def test_a_shadow_that_takes_other_inputs_is_counted(plane):
    seen = shadowed(
        plane, signature=Signature((TensorSpec("z", DTYPES["FP32"], (None, 2)),), SIGNATURE.outputs)
    )
    assert plane.infer()[0] == 200
    until(lambda: seen.shadow.failed == 1)


def test_a_slow_shadow_gets_a_bounded_number_of_copies(plane):
    runner = Times(2, inline=False)
    runner.waits_s = 0.2
    seen = shadowed(plane, runner=runner, limits=QueueLimits(max_batch_rows=1))
    connection = plane.connect()
    started = time.monotonic()
    for _ in range(200):
        assert read(connection, "POST", "/v2/models/m/infer", BODY)[0] == 200
    took = time.monotonic() - started
    connection.close()
    assert seen.copies <= 64
    assert seen.dropped >= 200 - 64 - took / 0.2 - 2
    until(lambda: seen.copies < 64)


def test_errors_are_not_copied(plane):
    seen = shadowed(plane)
    assert plane.infer(**{"Inference-Header-Content-Length": "x"})[0] == 400
    assert plane.infer()[0] == 200
    until(lambda: seen.shadow.requests == 1)


def test_a_cold_model_answers_after_its_load(plane):
    plane.publish(cold=[("m", "1")])
    client = triton_grpc.InferenceServerClient(plane.grpc_url)
    assert client.is_server_ready()
    assert client.is_model_ready("m")
    answers = []
    asks = [
        lambda: plane.infer()[1]["model_version"],
        lambda: plane.ask("POST", "/v2/models/m/versions/1/infer", BODY)[1]["model_version"],
        lambda: plane.ask("POST", "/predict", '{"input": [[1, 2]]}')[1]["version"],
        lambda: plane.ask("POST", "/v2/models/m/infer", bytes(8), {"Inference-Header-Content-Length": "0"})[
            0
        ],
        lambda: plane.ask("GET", "/v2/models/m")[1]["versions"],
        lambda: client.infer("m", [an_input()]).get_response().model_version,
        lambda: client.get_model_metadata("m").name,
        lambda: client.get_model_config("m").config.name,
    ]
    threads = [threading.Thread(target=lambda ask=ask: answers.append(ask())) for ask in asks]
    for thread in threads:
        thread.start()
    until(lambda: len(plane.plane.parking) == len(asks))
    assert plane.plane.parking.size_bytes > 0
    assert set(plane.woken) == {("m", "1")}
    assert "modelyard_parked_requests 8" in plane.ask("GET", "/metrics")[1].decode()
    plane.publish(plane.slot("n", "1"), cold=[("m", "1")])
    assert len(plane.plane.parking) == len(asks)
    plane.publish(plane.slot("m", "1"))
    for thread in threads:
        thread.join()
    assert sorted(map(str, answers)) == sorted(["1", "1", "1", "200", "['1']", "1", "m", "m"])
    assert (len(plane.plane.parking), plane.plane.parking.size_bytes) == (0, 0)
    client.close()


def test_parked_requests_keep_their_deadlines(plane):
    plane.publish(cold=[("m", "1")])
    hurried = json.dumps({**json.loads(BODY), "parameters": {"timeout": 50_000}})
    status, answer = plane.ask("POST", "/v2/models/m/infer", hurried)
    assert (status, answer["code"]) == (504, "deadline-exceeded")
    client = triton_grpc.InferenceServerClient(plane.grpc_url)
    with pytest.raises(InferenceServerException) as caught:
        client.infer("m", [an_input()], client_timeout=0.1)
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    client.close()
    until(lambda: not len(plane.plane.parking))


def test_a_caller_who_leaves_takes_his_parked_request_along(plane):
    plane.publish(cold=[("m", "1")])
    connection = plane.connect()
    connection.request("POST", "/v2/models/m/infer", BODY)
    until(lambda: len(plane.plane.parking) == 1)
    connection.close()
    until(lambda: not len(plane.plane.parking))
    assert plane.plane.refused["http", "cancelled"] == 1


def test_a_model_that_goes_away_or_fails_to_load_tells_those_who_wait(plane):
    plane.publish(cold=[("m", "1"), ("n", "1")])
    answers = {}

    def ask(name):
        answers[name] = plane.infer(name)

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("m", "n")]
    for thread in threads:
        thread.start()
    until(lambda: len(plane.plane.parking) == 2)
    plane.do(plane.plane.parking.give_up, ("m", "1"), Unavailable("its replay differs"))
    plane.publish(plane.slot("k", "1"))
    for thread in threads:
        thread.join()
    assert answers["m"][0] == 503
    assert answers["m"][1]["error"] == "its replay differs"
    assert answers["n"][0] == 404


def test_what_waits_is_bounded(plane):
    plane.plane.parking._limits = ParkingLimits(calls=2, size_bytes=1 << 20)
    plane.publish(cold=[("m", "1")])
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(plane.infer()[0])) for _ in range(6)]
    for thread in threads:
        thread.start()
    until(lambda: len(answers) == 4)
    assert set(answers) == {429}
    plane.publish(plane.slot("m", "1"))
    for thread in threads:
        thread.join()
    assert Counter(answers) == {429: 4, 200: 2}


def test_http_client_of_the_protocol_reads_both_versions(plane, pair):
    plane.publish(*pair, splits={"m": HALVES})
    client = triton_http.InferenceServerClient(plane.url)
    made = triton_http.InferInput("x", [1, 2], "FP32")
    made.set_data_from_numpy(np.ones((1, 2), np.float32))
    got = {client.infer("m", [made]).get_response()["model_version"] for _ in range(4)}
    assert got == {"1", "2"}
    sticky = {
        client.infer("m", [made], headers={"x-modelyard-key": "a"}).get_response()["model_version"]
        for _ in range(10)
    }
    assert len(sticky) == 1
    client.close()
