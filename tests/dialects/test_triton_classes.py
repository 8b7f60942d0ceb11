"""Triton's classification extension, by its own clients over REST and gRPC, and the rule itself."""

import json
from math import prod

import numpy as np
import pytest
import tritonclient.grpc as rpc
import tritonclient.http as rest
from dialect_models import Does, publish, spec
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from plane_running import Plane
from tritonclient.utils import InferenceServerException

from modelyard.core.errors import TooLarge
from modelyard.core.signature import Signature
from modelyard.wire.binary import finish
from modelyard.wire.classes import MOST_CLASSES, STEP_VALUES, top_classes

WIDE = Signature((spec("x", "FP32", None, None),), (spec("y", "FP32", None, None, 1),))


@pytest.fixture(scope="module", params=["native", "grpcio"])
def plane(request):
    with Plane(request.param) as plane:
        publish(plane)
        wide = plane.slot("wide", "1", signature=WIDE, runner=Does(lambda x: (x[:, :, None],)))
        plane.publish(*plane.slots.values(), wide)
        yield plane


@pytest.fixture(params=["http", "grpc"])
def ask(request, plane):
    """Call a model by one of the clients: the outputs that it gives."""
    kit = rest if request.param == "http" else rpc
    with kit.InferenceServerClient(plane.url if kit is rest else plane.grpc_url) as client:

        def infer(model, inputs, outputs):
            given = []
            for name, (array, datatype) in inputs.items():
                given.append(kit.InferInput(name, list(array.shape), datatype))
                given[-1].set_data_from_numpy(array)
            wanted = [kit.InferRequestedOutput(name, **how) for name, how in outputs.items()]
            found = client.infer(model, given, outputs=wanted)
            return [found.as_numpy(name) for name in outputs]

        yield infer


X = np.array([[2, 0], [9, 0]], np.float32)


@pytest.mark.proves("dialect:triton", call="classification, REST and gRPC", client="tritonclient")
def test_the_highest_classes_with_their_labels(ask):
    (found,) = ask("iris", {"x": (X, "FP32")}, {"probabilities": {"class_count": 2}})
    values = [[float(word.split(b":")[0]) for word in row] for row in found.tolist()]
    assert values == [pytest.approx([0.8, 0.2]), pytest.approx([0.9, 0.1])]
    assert [[word.split(b":")[1:] for word in row] for row in found.tolist()] == [
        [[b"0", b"setosa"], [b"1", b"virginica"]],
        [[b"1", b"virginica"], [b"0", b"setosa"]],
    ]


def test_one_output_in_classes_and_another_as_it_is(ask):
    top, label = ask("iris", {"x": (X, "FP32")}, {"probabilities": {"class_count": 1}, "label": {}})
    assert [row.split(b":")[2] for row in top.ravel()] == [b"setosa", b"virginica"]
    assert label.tolist() == [0, 1]


def test_more_classes_than_there_are_gives_all_and_a_row_is_all_its_axes(ask):
    x = np.array([[3, 1, 2.5], [0, 0, -1]], np.float32)
    (found,) = ask("wide", {"x": (x, "FP32")}, {"y": {"class_count": 99}})
    assert found.tolist() == [[b"3.0:0", b"2.5:2", b"1.0:1"], [b"0.0:0", b"0.0:1", b"-1.0:2"]]


def test_a_model_without_rows_has_one_list(ask):
    (found,) = ask("fixed", {"x": (np.array([1, 5, 3], np.float32), "FP32")}, {"y": {"class_count": 2}})
    assert found.tolist() == [b"6.0:1", b"4.0:2"]


def test_a_value_a_row_is_its_own_class(ask):
    (found,) = ask("odd", {"x": (np.array([2, 0], np.float32), "FP32")}, {"y": {"class_count": 3}})
    assert found.tolist() == [[b"4.0:0"], [b"nan:0"]]


def test_long_rows_are_sorted_in_steps(ask):
    x = np.random.default_rng(7).permutation(50_000).astype(np.float32)[None]
    (found,) = ask("wide", {"x": (x, "FP32")}, {"y": {"class_count": 3}})
    places = np.argsort(-x[0])[:3]
    assert found.tolist() == [[b"%d.0:%d" % (49_999 - at, place) for at, place in enumerate(places)]]


def test_what_has_no_classes_is_refused(ask):
    jpeg = {"jpeg": (np.array([b"ab"], object), "BYTES")}
    with pytest.raises(InferenceServerException, match=r"copy_bytes.*takes numbers"):
        ask("image", jpeg, {"copy_bytes": {"class_count": 1}})
    with pytest.raises(InferenceServerException, match="one or more"):
        ask("iris", {"x": (X, "FP32")}, {"label": {"class_count": -1}})
    wide = np.zeros((1, MOST_CLASSES + 1), np.float32)
    with pytest.raises(InferenceServerException, match="ask for the tensor"):
        ask("wide", {"x": (wide, "FP32")}, {"y": {"class_count": MOST_CLASSES + 1}})


def infer(plane, parameters):
    body = {
        "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [2, 0]}],
        "outputs": [{"name": "probabilities", "parameters": parameters}],
    }
    return plane.ask("POST", "/v2/models/iris/infer", json.dumps(body))


def test_as_json_it_is_text(plane):
    status, found = infer(plane, {"classification": 1})
    (output,) = found["outputs"]
    assert (status, output["datatype"], output["shape"]) == (200, "BYTES", [1, 1])
    assert output["data"] == ["0.8:0:setosa"]
    assert infer(plane, {"classification": 0})[1]["outputs"][0]["datatype"] == "FP32"


@pytest.mark.parametrize("many", [True, 1.5, "2", -3])
def test_a_count_that_is_none_is_malformed(plane, many):
    status, found = infer(plane, {"classification": many})
    assert (status, found["code"]) == (400, "bad-request")


def test_it_is_told(plane):
    assert {"classification", "trace", "logging"} <= set(plane.ask("GET", "/v2")[1]["extensions"])
    assert not [name for name in plane.ask("GET", "/v2")[1]["extensions"] if "shared_memory" in name]


def naive(row, top):
    """The same rule, element by element."""
    order = sorted(
        range(len(row)), key=lambda at: (row[at] != row[at], -row[at] if row[at] == row[at] else 0, at)
    )
    return order[:top]


@given(
    arrays.arrays(
        st.sampled_from([np.float32, np.float64, np.float16, np.int64, np.uint8, np.uint64]),
        arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=6),
    ),
    st.integers(1, 9),
)
def test_the_order_is_that_of_a_plain_sort(array, top):
    signature = Signature((spec("x", "FP32", None),), (spec("y", "FP32", None),))
    found = finish(top_classes(array, signature, signature.outputs[0], top))
    rows = array.reshape(len(array), prod(array.shape[1:]))
    assert found.shape == (len(rows), min(top, rows.shape[1]))
    number = array.dtype.type
    for row, words in zip(rows, found.tolist(), strict=True):
        pairs = [word.decode().split(":") for word in words]
        assert [int(place) for _, place in pairs] == naive(row.tolist(), top)
        written = np.array([number(value) for value, _ in pairs], array.dtype)
        np.testing.assert_array_equal(written, row[naive(row.tolist(), top)])


def test_pieces_of_a_long_row_keep_the_order_of_equal_values():
    signature = Signature((spec("x", "FP32", None),), (spec("y", "FP32", None),))
    array = np.tile(np.array([1, np.nan, 3, 3], np.float32), STEP_VALUES)[None]
    found = finish(top_classes(array, signature, signature.outputs[0], 5))
    assert found.tolist() == [[b"3.0:%d" % at for at in (2, 3, 6, 7, 10)]]
    with pytest.raises(TooLarge):
        finish(top_classes(np.zeros((300, 8000)), signature, signature.outputs[0], 8000))
