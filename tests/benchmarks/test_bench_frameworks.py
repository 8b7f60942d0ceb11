"""Dialects beside V2, converted models beside their framework, native hosts beside the bare loop."""

import json

import numpy as np
import pytest

from benchmarks import bodies, dialect_bodies, envs, frameworks, machine, plots, tables
from benchmarks.bodies import WrongAnswer
from benchmarks.claims import claims
from benchmarks.envs import NotInstallable
from benchmarks.frameworks import Kind
from benchmarks.models import Question
from benchmarks.process import NotStarted
from benchmarks.scenarios import converted, dialects, native
from modelyard.core.limits import WireLimits
from modelyard.core.request import InferReply
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.wire.dialects.tfserving_rpc import PredictCall

LABELS = np.array([0, 2], np.int64)
SCORES = np.array([[0.75, 0.25, 0.0], [0.0, 0.25, 0.75]], np.float32)
ROWS = np.array([[5.5, 3.5, 1.5, 0.25], [6.5, 3.0, 5.5, 2.0]], np.float32)
PAIR = tuple(Question(ROWS[at : at + 1], SCORES[at : at + 1], LABELS[at : at + 1]) for at in (0, 1))
SIGNATURE = Signature(
    (TensorSpec("X", DTYPES["FP32"], (None, 4)),),
    (TensorSpec("label", DTYPES["INT64"], (None,)), TensorSpec("probabilities", DTYPES["FP32"], (None, 3))),
)


def test_questions_of_several_rows_overlap():
    (one,) = dialects.batches(PAIR, 2)
    assert one.tensor.tolist() == ROWS.tolist()
    assert one.labels.tolist() == LABELS.tolist()
    assert len(dialects.batches(PAIR, 1)) == 2


@pytest.mark.parametrize("way", dialects.HTTP_WAYS, ids=lambda way: way.key)
def test_every_way_sends_the_same_rows(way):
    sent = json.loads(way.write(ROWS).data)
    found = sent if isinstance(sent, list) else next(iter(sent.values()))
    if way.key == "v2":
        found = found[0]["data"]
    assert np.array(found).ravel().tolist() == ROWS.ravel().tolist()


def test_answers_are_checked_with_scores_and_without():
    (question,) = dialects.batches(PAIR, 2)
    rows = [{"label": int(at), "probabilities": row.tolist()} for at, row in zip(LABELS, SCORES, strict=True)]
    both = dialect_bodies.read_json(json.dumps({"predictions": rows}).encode())
    dialects.check(question, both, scores=True)
    dialects.check(question, dialect_bodies.read_json(b"[0, 2]"), scores=False)
    with pytest.raises(WrongAnswer):
        dialects.check(question, dialect_bodies.read_json(b"[0, 1]"), scores=False)
    with pytest.raises(WrongAnswer):
        dialects.check(question, dialect_bodies.read_json(b"[0, 2]"), scores=True)


def test_a_predict_message_goes_there_and_back():
    call = PredictCall()
    message = dialect_bodies.tfs_message(ROWS, "iris", "X")
    assert call.spec(message).name == "iris"
    request = call.read(message, SIGNATURE, WireLimits())
    np.testing.assert_array_equal(request.arrays[0], ROWS)
    answer = call.write(InferReply("iris", "1", SIGNATURE, (LABELS, SCORES)), request)
    bodies.check(Question(ROWS, SCORES, LABELS), dialect_bodies.read_tfs(answer))


def _spread(value):
    return {"median": value, "low": value, "high": value, "rounds": 1}


def _cell(server, case, rate, **more):
    figures = {"rate": _spread(rate), "cpu_us": _spread(1e6 / rate), "p50_us": _spread(9.0)}
    once = {"rate": rate, "cpu_us": 1e6 / rate, "p50_us": 9.0}
    return {"server": server, "case": case, "noise": 0.0, "rounds": [once]} | figures | more


def test_a_dialect_is_compared_with_v2_over_its_own_transport(tmp_path):
    rates = {"v2 1": 100.0, "tfs 1": 90.0, "torchserve 1": 80.0, "grpc 1": 200.0, "tfs-grpc 1": 100.0}
    cells = [_cell("modelyard", case, rate) for case, rate in rates.items()]
    data = dialects.of_v2(cells) | {
        "cases": ["1"],
        "titles": {key: way.title for key, way in dialects.WAYS.items()},
    }
    assert [round(one["of_v2"], 2) for one in cells] == [1.0, 0.9, 0.8, 1.0, 0.5]
    held = {
        c.text.split(",")[0]: c.held
        for c in claims({"dialects": data})
        if ", 1 row" in c.text and c.held is not None
    }
    assert held["TorchServe"] is False
    assert [
        c.held for c in claims({"dialects": data}) if c.text.startswith("TensorFlow Serving, REST, 1")
    ] == [True]
    assert len(tables.dialects(data)) == 1 + len(dialects.WAYS)
    assert plots.draw("dialects", data, tmp_path) == "dialects.svg"


def _times(one, many):
    return [
        {"server": "m", "usual_call": "f(x)", "road": "onnx", "case": case, "times": times,
         "ours": _spread(times), "usual": _spread(1.0)}
        for case, times in (("1", one), ("256", many))
    ]  # fmt: skip


@pytest.mark.parametrize(("one", "many", "held"), [(4.0, 0.5, [True, True]), (0.9, 0.5, [False, False])])
def test_converted_models_are_held_to_one_row_and_to_the_product(one, many, held, tmp_path):
    data = {"cases": ["1", "256"], "cells": _times(one, many)}
    assert [c.held for c in claims({"converted": data}) if c.text.startswith("Converted")] == held
    assert tables.converted(data)[1][:3] == ["m", "`f(x)`", "graph"]
    assert plots.draw("converted", data, tmp_path) == "converted.svg"


def test_only_long_batches_are_held_to_the_bare_loop():
    cells = [
        _cell("a", "1", 95.0, bare=_spread(100.0), rows=_spread(95.0), batch_s=0.01, of_bare=0.95),
        _cell("a", "8", 10.0, bare=_spread(100.0), rows=_spread(10.0), batch_s=0.001, of_bare=0.1),
    ]
    data = {"cases": ["1", "8"], "cells": cells, "titles": {"a": "A"}}
    said = [c for c in claims({"native": data}) if c.text.startswith("Native host, A")]
    assert [(c.measured, c.held) for c in said] == [("0.95", True)]
    assert tables.native(data)[1] == [
        "A",
        "100 (100 to 100)",
        "10 ms",
        "95 (95 to 95)",
        "0.95",
        *tables.native(data)[1][5:],
    ]


@pytest.fixture
def linear(monkeypatch, tmp_path):
    for part in (frameworks, native):
        monkeypatch.setattr(part, "WORK", tmp_path)
    monkeypatch.setattr(frameworks, "MODELS", tmp_path)
    monkeypatch.setattr(frameworks, "LOGS", tmp_path)
    return Kind("pipeline", "scikit-learn, scaler + logistic", "predict_proba(rows)", ".pkl")


def test_both_callers_answer_the_same_lines(linear):
    core = machine.cores().server
    with (
        frameworks.caller(linear, core, ours=False) as (usual, nothing),
        frameworks.caller(linear, core, ours=True) as (ours, road),
    ):
        assert (nothing, road) == ("", "onnx")
        assert usual.rate(1, 0.01) > 0
        assert ours.rate(2, 0.01) > 0
    model = frameworks.model(linear, "m", 4)
    assert {question.tensor.shape for question in model.questions} == {(4, 20)}
    assert model.questions[0].scores.shape == (4, 3)


def test_what_cannot_be_made_is_said(linear):
    lost = Kind("no-such-kind", "lost", "", ".pkl")
    with pytest.raises(NotStarted, match=r"cannot make no-such-kind.pkl: KeyError"):
        frameworks.made(lost)


def test_the_frameworks_have_pins_of_their_own():
    pins = (envs.REQUIREMENTS / f"{frameworks.ENV}.txt").read_text().splitlines()
    assert all("==" in pin for pin in pins)
    needed = {kind.env for kind in converted.KINDS} | {one.kind.env for one in native.NATIVES}
    assert needed == {None, frameworks.ENV}


def test_a_missing_framework_leaves_its_row_out(monkeypatch):
    def refuse(name):
        raise NotInstallable(f"no {name} here")

    monkeypatch.setattr(envs, "ready", refuse)
    with pytest.raises(NotInstallable):
        frameworks.python_of(converted.KINDS[-1])
