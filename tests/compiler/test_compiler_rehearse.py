"""Graphs are loaded, proved and timed in a child; what breaks a limit ends there, in one line."""

from __future__ import annotations

import json
import os

import numpy as np
import onnx
import pytest
from compiler_graphs import (
    FLOAT,
    HALF,
    INT64,
    STRING,
    classifier,
    constant,
    endless,
    huge,
    lower,
    model,
    node,
    relu,
    value,
)
from msgspec.structs import replace

from modelyard.compiler.checked import Checked
from modelyard.compiler.optimise import optimise
from modelyard.compiler.rehearse import POLICY, Rehearsal
from modelyard.core.errors import (
    BadInput,
    ChildFailed,
    CorruptFile,
    MissingFile,
    NotConvertible,
    UnsafeFile,
)
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES


@pytest.fixture
def rehearse(tmp_path):
    opened = []

    def start(made, **more):
        path = tmp_path / "model.onnx"
        path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
        opened.append(Rehearsal.open(path, **more))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def shapes(specs):
    return {spec.name: (spec.dtype.name, spec.shape) for spec in specs}


def test_an_independent_graph_is_proved_and_timed(rehearse):
    found = rehearse(relu())
    assert found.signature.batched
    assert shapes(found.signature.inputs) == {"x": ("FP32", (None, 3))}
    assert shapes(found.signature.outputs) == {"y": ("FP32", (None, 3))}
    checked = found.checked
    assert checked.batched
    assert checked.ran
    assert checked.rows_n == 64
    assert 0 < checked.run_s_1 < 1
    assert 0 < checked.run_s_n < 1
    assert 0 < checked.memory_bytes < 64 << 20
    assert checked.notes == ()
    assert Checked.from_json(json.loads(json.dumps(checked.to_json()))) == checked
    (y,) = found.run((np.float32([[-1, 2, 3]]),))
    assert y.tolist() == [[0, 2, 3]]
    assert found.run(found.example)[0].shape == found.example[0].shape


def test_a_fixed_batch_stays_fixed_and_is_freed_by_the_pass(rehearse):
    fixed = rehearse(relu((1, 3)))
    assert not fixed.signature.batched
    assert fixed.signature.inputs[0].shape == (1, 3)
    freed = rehearse(optimise(relu((1, 3)).SerializeToString()).data)
    assert freed.signature.batched
    assert freed.signature.inputs[0].shape == (None, 3)


def test_a_claim_of_any_batch_is_not_believed(rehearse):
    baked = model(
        [node("Reshape", ["x", "s"], ["y"])], [value("x")], [value("y")], [constant("s", np.array([1, 3]))]
    )
    found = rehearse(baked)
    assert not found.signature.batched
    assert found.signature.inputs[0].shape == (1, 3)
    assert "other numbers of rows fail" in found.checked.notes[0]
    assert found.checked.rows_n == 1
    assert [len(one) for one in found.example] == [1]


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Softmax", ["x"], ["y"], axis=0)],
        [
            node("ReduceMean", ["x", "axes"], ["m"], keepdims=1),
            node("Sub", ["x", "m"], ["y"]),
        ],
        [node("CumSum", ["x", "zero"], ["y"])],
    ],
)
def test_graphs_that_mix_rows_are_found(rehearse, nodes):
    constants = [constant("axes", np.array([0])), constant("zero", np.array(0))]
    found = rehearse(model(nodes, [value("x")], [value("y")], constants))
    assert not found.signature.batched
    assert found.signature.inputs[0].shape == (None, 3)
    assert "depends on the rows beside it" in found.checked.notes[0]


def test_what_asks_for_5_gb_is_refused_by_its_limit(rehearse):
    made = huge()
    assert made.ByteSize() < 1024
    with pytest.raises(NotConvertible, match="memory"):
        rehearse(made)


def test_what_loops_for_ever_is_stopped(rehearse):
    assert endless().ByteSize() < 1024
    with pytest.raises(ChildFailed, match=r"running the graph was stopped.* within 1 s"):
        rehearse(endless(), run_s=1)


def test_weights_that_are_declared_but_not_there(rehearse):
    made = relu()
    made.graph.initializer.append(onnx.TensorProto(name="w", data_type=1, dims=[1 << 30]))
    made.graph.node.append(node("ReduceSum", ["w"], ["unused"]))
    with pytest.raises((CorruptFile, NotConvertible)):
        rehearse(made)


def test_text_in_and_out(rehearse):
    found = rehearse(optimise(lower().SerializeToString()).data)
    assert shapes(found.signature.inputs) == {"x": ("BYTES", (None,))}
    texts = np.empty(2, dtype=object)
    texts[:] = ["ÉCOLE".encode(), b"ABC"]
    assert found.run((texts,))[0].tolist() == ["école".encode(), b"abc"]
    texts[1] = b"\xff"
    with pytest.raises(BadInput, match="UTF-8"):
        found.run((texts,))


def test_half_precision_and_an_open_second_axis(rehearse):
    found = rehearse(relu(("N", "M"), HALF))
    assert shapes(found.signature.outputs) == {"y": ("FP16", (None, None))}
    assert found.signature.batched
    assert found.run((np.float16([[1, -1]]),))[0].dtype == np.float16


def test_several_inputs_and_outputs(rehearse):
    made = model(
        [
            node("Gather", ["table", "id"], ["vector"], axis=0),
            node("Add", ["vector", "x"], ["sum"]),
            node("Shape", ["x"], ["shape"]),
            node("ArgMax", ["x"], ["best"], axis=1, keepdims=0),
        ],
        [value("id", INT64, ["N"]), value("x")],
        [value("sum"), value("best", INT64, ["N"])],
        [constant("table", np.ones((2, 3), np.float32))],
    )
    found = rehearse(made)  # indices beyond 1 fail: smaller ones are tried
    assert found.signature.batched
    total, best = found.run((np.array([1, 0]), np.float32([[0, 1, 2], [5, 1, 2]])))
    assert total.tolist() == [[1, 2, 3], [6, 2, 3]]
    assert best.tolist() == [2, 0]


def test_an_output_that_does_not_count_rows(rehearse):
    made = model(
        [node("Relu", ["x"], ["y"]), node("Shape", ["x"], ["shape"])],
        [value("x")],
        [value("y"), value("shape", INT64, [2])],
    )
    found = rehearse(made)
    assert not found.signature.batched
    assert "does not give one row for each row" in found.checked.notes[0]


def test_scalars_are_not_batched(rehearse):
    found = rehearse(relu(()))
    assert not found.signature.batched
    assert found.run((np.float32(3),))[0] == 3


def test_rows_that_nobody_can_make_up_are_given(rehearse):
    made = model(
        [node("Reshape", ["x", "n"], ["y"])],
        [value("x", FLOAT, ["N", 3]), value("n", INT64, [2])],
        [value("y", FLOAT, None)],
    )
    found = rehearse(made, rows=[(np.ones((1, 3), np.float32), np.array([3, 1]))])
    assert not found.signature.batched
    unknown = rehearse(made)
    assert unknown.checked.ran is False or not unknown.checked.batched


def test_classifiers_say_what_their_outputs_mean(rehearse):
    for made in (classifier(), classifier(zipmap=False)):
        found = rehearse(optimise(made.SerializeToString()).data)
        signature = found.signature
        assert signature.task == "classifier"
        assert (signature.label, signature.scores) == ("label", "probabilities")
        assert signature.classes == ("ash", "beech", "cedar")
        assert shapes(signature.outputs) == {
            "label": ("BYTES", (None,)),
            "probabilities": ("FP32", (None, 3)),
        }
        assert found.checked.batched


def test_a_name_alone_is_no_role(rehearse):
    made = model([node("Relu", ["x"], ["label"])], [value("x")], [value("label")])
    assert rehearse(made).signature.task == "tensor"


def test_outputs_that_no_protocol_carries_are_named(rehearse):
    with pytest.raises(NotConvertible, match=r"'probabilities' is seq\(map"):
        rehearse(classifier())
    with pytest.raises(NotConvertible, match="'x' states no shape"):
        rehearse(relu(None))


def test_files_that_are_no_graph(tmp_path):
    with pytest.raises(MissingFile):
        Rehearsal.open(tmp_path / "gone.onnx")
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(os.urandom(500))
    with pytest.raises(CorruptFile):
        Rehearsal.open(garbage)


def test_an_operator_that_does_not_exist_is_said_so(rehearse):
    with pytest.raises((NotConvertible, CorruptFile), match="Frobnicate") as caught:
        rehearse(model([node("Frobnicate", ["x"], ["y"])], [value("x")], [value("y")]))
    assert "\n" not in caught.value.message


def weights_in(place, folder):
    made = model([node("Add", ["x", "w"], ["y"])], [value("x")], [value("y")])
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[3], data_location=1)
    tensor.external_data.add(key="location", value=place)
    made.graph.initializer.append(tensor)
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def test_weights_beside_the_model_are_read_and_others_are_not(tmp_path):
    (tmp_path / "weights.bin").write_bytes(np.float32([1, 2, 3]).tobytes())
    with Rehearsal.open(weights_in("weights.bin", tmp_path)) as found:
        assert found.run((np.zeros((1, 3), np.float32),))[0].tolist() == [[1, 2, 3]]
    with pytest.raises(UnsafeFile):
        Rehearsal.open(weights_in("/etc/hostname", tmp_path))


def expected(**more):
    one = TensorSpec("x", DTYPES["FP32"], (None, 3), ("a", "b", "c"))
    two = TensorSpec("y", DTYPES["FP32"], (None, 3))
    return replace(Signature((one,), (two,), task="transform"), **more)


def test_an_expected_signature_is_kept_or_the_graph_is_refused(rehearse):
    found = rehearse(relu(), expected=expected())
    assert found.signature == expected()
    for what, wrong in (
        ("lost the output 'z'", expected(outputs=(TensorSpec("z", DTYPES["FP32"], (None, 3)),))),
        ("as FP32, not FP64", expected(outputs=(TensorSpec("y", DTYPES["FP64"], (None, 3)),))),
        ("shape", expected(outputs=(TensorSpec("y", DTYPES["FP32"], (None, 4)),))),
        ("lost the input 'w'", expected(inputs=(TensorSpec("w", DTYPES["FP32"], (None, 3)),))),
    ):
        with pytest.raises(NotConvertible, match=what):
            rehearse(relu(), expected=wrong)


def test_inputs_are_fed_by_name_in_the_order_of_the_signature(rehearse):
    made = model([node("Sub", ["a", "b"], ["y"])], [value("b"), value("a")], [value("y")])
    a, b = (TensorSpec(name, DTYPES["FP32"], (None, 3)) for name in "ab")
    found = rehearse(made, expected=Signature((a, b), (TensorSpec("y", DTYPES["FP32"], (None, 3)),)))
    one, zero = np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)
    assert found.run((one, zero))[0].tolist() == one.tolist()


def test_loading_too_takes_no_longer_than_its_limit(rehearse):
    with pytest.raises(ChildFailed, match="loading the graph was stopped"):
        rehearse(relu(), load_s=1e-6)


def test_a_child_that_is_closed_is_gone(rehearse):
    found = rehearse(relu(), policy=replace(POLICY, memory_bytes=1 << 30))
    found.close()
    with pytest.raises(ChildFailed):
        found.run((np.zeros((1, 3), np.float32),))


def test_strings_of_a_category_column_run(rehearse):
    shape = ["N", 1]
    made = model([node("Identity", ["x"], ["y"])], [value("x", STRING, shape)], [value("y", STRING, shape)])
    assert rehearse(made).signature.batched
