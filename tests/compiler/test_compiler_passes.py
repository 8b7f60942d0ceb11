"""Each pass changes what it says, the result is valid and answers the same."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from compiler_graphs import FLOAT, classifier, constant, endless, lower, model, node, relu, value

from modelyard.compiler.graph import Graph
from modelyard.compiler.optimise import optimise
from modelyard.compiler.passes.table import PASSES
from modelyard.compiler.passes.zipmap import CLASSES_KEY


def run(data, **feed):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(data, options).run(None, feed)


@pytest.mark.parametrize("name", list(PASSES))
def test_every_pass_loads_and_leaves_alone_what_is_fine(name):
    data = relu().SerializeToString()
    assert PASSES.load(name)(Graph(data)) == ()
    assert optimise(data).data is data


@pytest.mark.parametrize("name", list(PASSES))
@pytest.mark.parametrize("made", [relu(), relu((1, 3)), classifier(), lower(), endless()])
def test_every_pass_gives_a_valid_model_and_then_has_nothing_to_do(name, made):
    once = optimise(made.SerializeToString(), [name])
    onnx.checker.check_model(onnx.load_from_string(once.data))
    again = optimise(once.data, [name])
    assert again.applied == ()
    assert again.data is once.data


def test_scores_become_a_tensor():
    before = classifier().SerializeToString()
    done = optimise(before)
    assert "zipmap" in done.applied
    onnx.checker.check_model(onnx.load_from_string(done.data), full_check=True)
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    labels, maps = run(before, x=x)
    same, scores = run(done.data, x=x)
    assert list(labels) == list(same)
    assert scores.shape == (4, 3)
    np.testing.assert_array_equal(scores, [[one[c] for c in ("ash", "beech", "cedar")] for one in maps])
    assert json.loads(Graph(done.data).metadata[CLASSES_KEY]) == ["ash", "beech", "cedar"]


def test_text_loads_without_a_system_locale():
    done = optimise(lower().SerializeToString())
    assert done.applied == ("locale",)
    texts = np.array(["ABC", "ÉCOLE", "Straße"], dtype=object)
    assert list(run(done.data, x=texts)[0]) == ["abc", "école", "straße"]


def test_a_locale_that_was_chosen_is_kept():
    made = model(
        [node("StringNormalizer", ["x"], ["y"], case_change_action="LOWER", locale="C")],
        [value("x", onnx.TensorProto.STRING, ["N"])],
        [value("y", onnx.TensorProto.STRING, ["N"])],
    )
    assert optimise(made.SerializeToString()).applied == ()


def matmul(ir_version=9):
    return model(
        [node("MatMul", ["x", "w"], ["y"])],
        [value("x"), value("w", FLOAT, [3, 2])],
        [value("y", FLOAT, ["N", 2])],
        [constant("w", np.ones((3, 2), np.float32))],
        ir_version,
    )


def test_weights_are_no_longer_inputs():
    done = optimise(matmul().SerializeToString())
    assert done.applied == ("constants",)
    session = ort.InferenceSession(done.data)
    assert [one.name for one in session.get_overridable_initializers()] == []
    assert len(onnx.load_from_string(done.data).graph.input) == 1
    assert optimise(matmul(ir_version=3).SerializeToString()).applied == ()


def frozen(nodes, outputs, constants=(), shape=(1, 3)):
    return model(nodes, [value("x", FLOAT, shape)], outputs, constants).SerializeToString()


def test_a_frozen_batch_is_freed_where_every_node_is_known():
    weights = [constant("w", np.ones((4, 3), np.float32)), constant("b", np.zeros(4, np.float32))]
    nodes = [
        node("Gemm", ["x", "w", "b"], ["h"], transB=1),
        node("Relu", ["h"], ["r"]),
        node("Softmax", ["r"], ["y"], axis=-1),
    ]
    before = frozen(nodes, [value("y", FLOAT, (1, 4))], weights)
    done = optimise(before)
    assert done.applied == ("batch",)
    onnx.checker.check_model(onnx.load_from_string(done.data), full_check=True)
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    (together,) = run(done.data, x=x)
    for at in range(6):
        np.testing.assert_allclose(together[at : at + 1], run(before, x=x[at : at + 1])[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([node("Softmax", ["x"], ["y"], axis=0)], []),
        ([node("Softmax", ["x"], ["y"])], []),
        ([node("Reshape", ["x", "s"], ["y"])], [constant("s", np.array([1, 3]))]),
        ([node("Transpose", ["x"], ["t"], perm=[1, 0]), node("Transpose", ["t"], ["y"], perm=[1, 0])], []),
        ([node("Add", ["x", "c"], ["y"])], [constant("c", np.ones((2, 3), np.float32))]),
        ([node("ReduceMean", ["x"], ["m"], keepdims=1), node("Sub", ["x", "m"], ["y"])], []),
        ([node("MatMul", ["c", "x"], ["y"])], [constant("c", np.ones((1, 1), np.float32))]),
        (
            [node("Gemm", ["x", "c"], ["y"], transA=1)],
            [constant("c", np.ones((1, 3), np.float32))],
        ),
    ],
)
def test_a_frozen_batch_stays_where_rows_may_meet(nodes, constants):
    before = frozen(nodes, [value("y", FLOAT, (1, 3))], constants)
    assert optimise(before).applied == ()


def test_a_graph_whose_weights_are_elsewhere_is_left_alone():
    made = classifier()
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[3], data_location=1)
    tensor.external_data.add(key="location", value="weights.bin")
    made.graph.initializer.append(tensor)
    data = made.SerializeToString()
    done = optimise(data)
    assert done.data is data
    assert done.applied == ()
    assert "other files" in done.notes[0]


def test_notes_say_what_was_done():
    done = optimise(classifier().SerializeToString())
    assert done.notes == ("scores are one tensor of 3 columns, not a list of maps",)
