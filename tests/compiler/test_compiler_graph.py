"""The graph editor reads what the onnx package writes, and loses nothing."""

from __future__ import annotations

import contextlib

import numpy as np
import onnx
import pytest
from compiler_graphs import FLOAT, INT64, classifier, constant, endless, lower, model, node, relu, value
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from modelyard.compiler.external import external_files
from modelyard.compiler.graph import Graph, attributes
from modelyard.compiler.optimise import optimise
from modelyard.core.errors import CorruptFile, MissingFile, UnsafeFile

MODELS = [relu(), classifier(), endless(), lower(), relu(shape=(1, 3))]


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


@pytest.mark.parametrize("made", MODELS)
def test_writing_back_gives_the_same_model(made):
    graph = Graph(made.SerializeToString())
    assert onnx.load_from_string(graph.to_bytes()) == made
    assert not graph.changed


def test_what_is_read_is_what_the_package_wrote():
    made = model(
        [node("MatMul", ["x", "w"], ["y"])],
        [value("x", FLOAT, ["rows", 2]), value("w", FLOAT, [2, 5])],
        [value("y", FLOAT, ["rows", 5])],
        [constant("w", np.ones((2, 5), np.float32))],
    )
    helper.set_model_props(made, {"from": "a test"})
    graph = Graph(made.SerializeToString())
    assert graph.opsets == {"": 18, "ai.onnx.ml": 3}
    assert graph.metadata == {"from": "a test"}
    assert [(one.name, one.dtype, one.shape) for one in graph.inputs] == [("x", "FP32", ("rows", 2))]
    assert [(one.name, one.kind, one.shape) for one in graph.outputs] == [("y", "tensor", ("rows", 5))]
    assert graph.initializers == {"w": (2, 5)}
    assert [one.kind for one in graph.nodes] == [b"MatMul"]


def test_shapes_that_are_not_stated_are_told_from_scalars():
    made = model([node("Relu", ["x"], ["y"])], [value("x", FLOAT, None)], [value("y", FLOAT, [])])
    graph = Graph(made.SerializeToString())
    assert graph.inputs[0].shape is None
    assert graph.outputs[0].shape == ()


def test_outputs_that_are_not_tensors_are_named():
    assert Graph(classifier().SerializeToString()).outputs[1].kind == "sequence"


def test_fields_of_later_releases_survive_an_edit():
    later = b"\xfa\x3f\x03new"  # field 1023, which no release has
    data = classifier().SerializeToString() + later
    graph = Graph(data)
    graph.set_metadata("k", "v")
    written = graph.to_bytes()
    assert later in written
    assert onnx.load_from_string(written).metadata_props[0].key == "k"


def test_fields_inside_nodes_survive_an_edit():
    made = lower()
    made.graph.node[0].doc_string = "kept"
    again = onnx.load_from_string(optimise(made.SerializeToString()).data)
    assert again.graph.node[0].doc_string == "kept"
    assert [one.name for one in again.graph.node[0].attribute] == ["case_change_action", "locale"]


def test_setting_a_property_twice_keeps_the_last():
    graph = Graph(relu().SerializeToString())
    graph.set_metadata("a", "1")
    graph.set_metadata("b", "2")
    graph.set_metadata("a", "3")
    assert Graph(graph.to_bytes()).metadata == {"b": "2", "a": "3"}


def test_stating_another_type_passes_the_checker():
    graph = Graph(relu().SerializeToString())
    graph.retype("output", "y", "FP32", ("rows", None))
    made = onnx.load_from_string(graph.to_bytes())
    onnx.checker.check_model(made)
    dims = made.graph.output[0].type.tensor_type.shape.dim
    assert dims[0].dim_param == "rows"
    assert not dims[1].HasField("dim_value")
    assert graph.changed


def test_attributes_by_name():
    found = attributes(next(Graph(classifier().SerializeToString()).nodes))
    assert found["classlabels_strings"].strings == (b"ash", b"beech", b"cedar")
    assert found["post_transform"].s == b"SOFTMAX"


@pytest.mark.parametrize(
    "data", [b"", b"\x08\x09", b"garbage", b"\x3a\xff\xff\xff\xff\x0f", b"\x3a\x02\x0a\x05"]
)
def test_what_is_no_model_is_a_corrupt_file(data):
    with pytest.raises(CorruptFile):
        walk_everything(data)


def test_a_name_that_is_not_text_is_a_corrupt_file():
    data = relu().SerializeToString().replace(b"\x01x", b"\x01\xff")
    with pytest.raises(CorruptFile):
        _ = Graph(data).inputs


def test_a_million_empty_nodes_cost_little():
    import tracemalloc

    nodes = b"\x0a\x00" * 1_000_000
    data = b"\x3a" + varint(len(nodes)) + nodes
    tracemalloc.start()
    graph = Graph(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20
    assert graph.count("node") == 1_000_000
    more = nodes + b"\x0a\x00"
    with pytest.raises(CorruptFile, match="1000000"):
        Graph(b"\x3a" + varint(len(more)) + more)


def test_graphs_inside_graphs_without_end_are_refused():
    def field(number, content):
        return varint(number << 3 | 2) + varint(len(content)) + content

    inner = b""
    for _ in range(40):
        inner = field(1, field(5, field(6, inner) + field(1, b"body")))
    data = field(7, inner)
    with pytest.raises(CorruptFile, match="deep"):
        Graph(data).external()


def walk_everything(data):
    graph = Graph(data)
    _ = graph.inputs, graph.outputs, graph.opsets, graph.metadata, graph.initializers, graph.ir_version
    for one in graph.nodes:
        attributes(one)
    graph.external()
    return optimise(data).data


@settings(max_examples=300, deadline=None)
@given(
    which=st.integers(0, len(MODELS) - 1),
    changes=st.lists(
        st.tuples(st.integers(0, 1 << 16), st.integers(0, 255), st.sampled_from(["set", "cut", "add"])),
        min_size=1,
        max_size=6,
    ),
)
def test_a_damaged_model_is_read_or_refused(which, changes):
    data = bytearray(MODELS[which].SerializeToString())
    for at, byte, how in changes:
        at %= max(len(data), 1)
        if how == "set":
            data[at : at + 1] = bytes([byte])
        elif how == "cut":
            del data[at : at + 1 + byte % 8]
        else:
            data[at:at] = bytes([byte]) * (1 + byte % 5)
    with contextlib.suppress(CorruptFile):
        walk_everything(bytes(data))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    with contextlib.suppress(CorruptFile):
        walk_everything(data)


def with_weights(place, *, in_node=False):
    made = relu()
    tensor = onnx.TensorProto(name="w", data_type=INT64, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    if in_node:
        made.graph.node.append(helper.make_node("Constant", [], ["w"], value=tensor))
    else:
        made.graph.initializer.append(tensor)
    return Graph(made.SerializeToString())


@pytest.mark.parametrize("in_node", [False, True])
@pytest.mark.parametrize("place", ["/etc/passwd", "../secret", "a/../../b", "", "a\\b", "x\0y", "..", "."])
def test_weights_outside_the_folder_are_refused(tmp_path, place, in_node):
    with pytest.raises((UnsafeFile, CorruptFile)):
        external_files(with_weights(place, in_node=in_node), tmp_path)


def test_weights_behind_a_link_are_refused(tmp_path):
    (tmp_path / "real").write_bytes(b"8 bytes.")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir()
    (tmp_path / "away").symlink_to("/etc")
    for place in ("link", "away/passwd", "folder"):
        with pytest.raises(UnsafeFile):
            external_files(with_weights(place), tmp_path)


def test_weights_beside_the_model_are_found(tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "data.bin").write_bytes(b"8 bytes.")
    assert external_files(with_weights("w/data.bin"), tmp_path) == (tmp_path / "w" / "data.bin",)
    with pytest.raises(MissingFile):
        external_files(with_weights("gone.bin"), tmp_path)
    assert external_files(Graph(relu().SerializeToString()), tmp_path) == ()
