"""The dialects beside V2: the same rows for the same server, in each protocol that it speaks.

Over HTTP the yardstick is V2's JSON, over gRPC V2 with raw contents. The ways are interleaved, so that all
of them see the same machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import grpc
import numpy as np
from numpy.typing import NDArray

from benchmarks import bodies, dialect_bodies, models
from benchmarks.bodies import Arrays, Body, WrongAnswer
from benchmarks.catalogue import SERVERS
from benchmarks.load import INFER, Sample, h2load, lua_script, wrk
from benchmarks.models import Question
from benchmarks.places import WORK
from benchmarks.plan import Case, Data, Plan, compare, outcome
from benchmarks.process import Running, post
from benchmarks.rounds import beside
from benchmarks.session import fleet

ROWS = (1, 32)
CONNECTIONS, STREAMS = 32, (4, 8)
ROUNDS = 6
"""What is compared is as near as 15%, which is less than three rounds are apart on a shared machine: there
are more, and each is shorter, so that both sides of a round see the same machine."""
PREDICT = "/tensorflow.serving.PredictionService/Predict"


@dataclass(frozen=True, slots=True)
class Way:
    """One protocol: where rows go, how they are written, how an answer is read.

    Args:
        scores: the answer holds them beside the label.
        beside: the way that it is compared with.
    """

    key: str
    title: str
    path: str
    write: Callable[[NDArray[np.float32]], Body]
    read: Callable[[bytes], Arrays]
    scores: bool = True
    beside: str = "v2"


@dataclass(frozen=True, slots=True)
class RpcWay:
    """One protocol over gRPC."""

    key: str
    title: str
    method: str
    write: Callable[[NDArray[np.float32]], bytes]
    read: Callable[[bytes], Arrays]
    beside: str = "grpc"


HTTP_WAYS = (
    Way(
        "v2",
        "V2, JSON",
        "/v2/models/iris/infer",
        lambda rows: bodies.v2_json(rows, "X"),
        lambda data: bodies.read_v2(data, None),
    ),
    Way(
        "tfs",
        "TensorFlow Serving :predict, rows",
        "/v1/models/iris:predict",
        dialect_bodies.tfs_rows,
        dialect_bodies.read_json,
    ),
    Way(
        "torchserve",
        "TorchServe /predictions",
        "/predictions/iris",
        dialect_bodies.torchserve_rows,
        dialect_bodies.read_json,
        scores=False,
    ),
    Way(
        "mlflow",
        "MLflow /invocations, inputs",
        "/invocations",
        dialect_bodies.mlflow_rows,
        dialect_bodies.read_json,
        scores=False,
    ),
)
RPC_WAYS = (
    RpcWay(
        "grpc",
        "V2 over gRPC, raw contents",
        INFER,
        lambda rows: bodies.grpc_request(rows, "iris", "X", "FP32", ()),
        bodies.read_grpc,
    ),
    RpcWay(
        "tfs-grpc",
        "TensorFlow Serving over gRPC, float_val",
        PREDICT,
        lambda rows: dialect_bodies.tfs_message(rows, "iris", "X"),
        dialect_bodies.read_tfs,
    ),
)
WAYS = {way.key: way for way in (*HTTP_WAYS, *RPC_WAYS)}


def run(plan: Plan) -> Data:
    """Requests a second in each dialect, of 1 row and of 32 rows, and their ratio to V2."""
    model = models.iris()
    cells: list[Data] = []
    short = replace(plan, rounds=ROUNDS * plan.rounds, seconds=max(plan.seconds // 2, 1))
    with fleet(model, [SERVERS["modelyard"]], plan.cores) as up:
        for rows in ROWS:
            questions = batches(model.questions, rows)
            cases = [_http(way, questions, rows, plan) for way in HTTP_WAYS]
            cases += [_rpc(way, questions, rows, plan) for way in RPC_WAYS]
            cells += compare(up, "modelyard", cases, short)
        found = outcome(up, cells, [str(rows) for rows in ROWS])
    return found | {"titles": {way.key: way.title for way in WAYS.values()}} | of_v2(found["cells"])


def of_v2(cells: list[Data]) -> Data:
    """Beside each cell its rate and processor time as a share of its yardstick's."""
    by_case = {one["case"]: one for one in cells}
    for one in cells:
        key, rows = one["case"].rsplit(" ", 1)
        yardstick = by_case.get(f"{WAYS[key].beside} {rows}")
        if yardstick is not None:
            for figure, share in (("rate", "of_v2"), ("cpu_us", "cpu_of_v2")):
                seen = [[each[figure] for each in cell["rounds"]] for cell in (one, yardstick)]
                one[share] = beside(*seen)
    return {"cells": cells}


def batches(questions: tuple[Question, ...], rows: int) -> list[Question]:
    """Questions of so many rows, each starting one row after the one before."""
    found = []
    for start in range(0, len(questions) - rows + 1):
        some = questions[start : start + rows]
        labels = np.concatenate([one.labels for one in some if one.labels is not None])
        scores = np.concatenate([one.scores for one in some])
        found.append(Question(np.concatenate([one.tensor for one in some]), scores, labels))
    return found


def check(question: Question, arrays: Arrays, *, scores: bool) -> None:
    """Raise WrongAnswer unless the answer is the model's; without ``scores`` it holds the labels alone."""
    if scores:
        bodies.check(question, arrays)
    elif len(arrays) != 1 or not np.array_equal(arrays[0].ravel(), question.labels):
        raise WrongAnswer(f"label: wanted {question.labels}, got {[found.tolist() for found in arrays]}")


def _http(way: Way, questions: list[Question], rows: int, plan: Plan) -> Case:
    def load(running: Running) -> Sample:
        requests = [way.write(question.tensor) for question in questions]
        for question, body in list(zip(questions, requests, strict=True))[:4]:
            status, data, _ = post(running.port, way.path, body.data, body.headers)
            if status != 200:
                raise WrongAnswer(f"{way.key}: status {status}: {data[:200]!r}")
            check(question, way.read(data), scores=way.scores)
        script = lua_script(WORK / "load", way.path, requests)
        return wrk(running.port, script, CONNECTIONS, plan.seconds, plan.cores.load)

    return Case(f"{way.key} {rows}", "json", load)


def _rpc(way: RpcWay, questions: list[Question], rows: int, plan: Plan) -> Case:
    def load(running: Running) -> Sample:
        question = questions[0]
        message = way.write(question.tensor)
        with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
            answer: bytes = channel.unary_unary(way.method)(message, timeout=30)
        bodies.check(question, way.read(answer))
        size, port, core = len(answer) + 5, running.grpc_port, plan.cores.load
        return h2load(port, bodies.framed(message), size, *STREAMS, plan.seconds, core, way.method)

    return Case(f"{way.key} {rows}", "grpc", load)
