"""The bench's requests mean the same rows on every surface, and wrong answers are seen."""

import json

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from benchmarks import bodies
from benchmarks.bodies import WrongAnswer
from benchmarks.models import Question

ROW = np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)
ASKED = Question(ROW, np.array([[0.9, 0.1, 0.0]], np.float32), np.array([2]))


def test_json_binary_and_grpc_carry_the_same_row():
    text = json.loads(bodies.v2_json(ROW, "X").data)["inputs"][0]
    assert np.array_equal(np.array(text["data"], np.float32).reshape(text["shape"]), ROW)
    binary = bodies.v2_binary(ROW, "X")
    at = int(binary.headers["Inference-Header-Content-Length"])
    assert np.array_equal(np.frombuffer(binary.data[at:], np.float32), ROW[0])
    assert json.loads(binary.data[:at])["inputs"][0]["parameters"]["binary_data_size"] == 16
    message = service_pb2.ModelInferRequest.FromString(bodies.grpc_request(ROW, "m", "X", "FP32", ("a",)))
    assert message.raw_input_contents[0] == ROW.tobytes()
    assert [out.name for out in message.outputs] == ["a"]


def test_a_model_that_takes_doubles_gets_doubles():
    binary = bodies.v2_binary(ROW, "X", "FP64")
    assert binary.data.endswith(ROW.astype(np.float64).tobytes())
    assert json.loads(bodies.v2_json(ROW, "X", "FP64").data)["inputs"][0]["datatype"] == "FP64"


def test_answers_are_read_from_json_and_from_binary_parts():
    scores = np.array([0.9, 0.1, 0.0], np.float32)
    head = {
        "outputs": [
            {"name": "s", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}},
            {"name": "l", "datatype": "INT64", "shape": [1], "data": [2]},
        ]
    }
    text = json.dumps(head).encode()
    arrays = bodies.read_v2(text + scores.tobytes(), len(text))
    bodies.check(ASKED, arrays)
    assert arrays[0].shape == (1, 3)


@pytest.mark.parametrize("raw", [True, False])
def test_grpc_answers_are_read_raw_and_typed(raw):
    answer = service_pb2.ModelInferResponse()
    scores = answer.outputs.add(name="s", datatype="FP32", shape=[1, 3])
    labels = answer.outputs.add(name="l", datatype="INT64", shape=[1])
    if raw:
        answer.raw_output_contents.append(np.array([0.9, 0.1, 0], np.float32).tobytes())
        answer.raw_output_contents.append(np.array([2], np.int64).tobytes())
    else:
        scores.contents.fp32_contents.extend([0.9, 0.1, 0])
        labels.contents.int64_contents.append(2)
    bodies.check(ASKED, bodies.read_grpc(answer.SerializeToString()))


@pytest.mark.parametrize(
    "answer",
    [
        [np.array([[0.8, 0.2, 0.0]]), np.array([2])],
        [np.array([[0.9, 0.1, 0.0]]), np.array([1])],
        [np.array([[0.9, 0.1, 0.0]])],
        [np.array([[np.nan, 0.1, 0.0]]), np.array([2])],
        [],
    ],
    ids=["other scores", "other label", "no label", "not a number", "nothing"],
)
def test_a_wrong_answer_is_seen(answer):
    with pytest.raises(WrongAnswer):
        bodies.check(ASKED, answer)


def test_a_grpc_frame_is_a_flag_and_a_length():
    assert bodies.framed(b"abc") == b"\0\0\0\0\3abc"
