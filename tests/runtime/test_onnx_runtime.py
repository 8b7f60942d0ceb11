"""Real graphs in the real ONNX Runtime."""

from __future__ import annotations

import threading
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h

from modelyard.core.errors import BadInput, CorruptFile, MissingFile, ModelFailed, Unavailable
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.runtime.onnx import OnnxRuntime, clean

ONNX_TYPES = {
    "BOOL": T.BOOL,
    "UINT8": T.UINT8,
    "UINT16": T.UINT16,
    "UINT32": T.UINT32,
    "UINT64": T.UINT64,
    "INT8": T.INT8,
    "INT16": T.INT16,
    "INT32": T.INT32,
    "INT64": T.INT64,
    "FP16": T.FLOAT16,
    "FP32": T.FLOAT,
    "FP64": T.DOUBLE,
    "BYTES": T.STRING,
}


def spec(name, dtype, *shape):
    return TensorSpec(name, DTYPES[dtype], shape)


def value(one):
    return h.make_tensor_value_info(one.name, ONNX_TYPES[one.dtype.name], list(one.shape))


def saved(tmp_path, nodes, inputs, outputs, initial=()):
    graph = h.make_graph(
        nodes, "g", [value(one) for one in inputs], [value(one) for one in outputs], list(initial)
    )
    path = tmp_path / "model.onnx"
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9), path)
    return path, Signature(tuple(inputs), tuple(outputs))


def opened(tmp_path, nodes, inputs, outputs, initial=(), **more):
    path, signature = saved(tmp_path, nodes, inputs, outputs, initial)
    return OnnxRuntime.open(path, signature, **more)


def identity(tmp_path, dtype, *shape):
    return opened(
        tmp_path,
        [h.make_node("Identity", ["x"], ["y"])],
        [spec("x", dtype, *shape)],
        [spec("y", dtype, *shape)],
    )


@pytest.fixture(scope="module")
def forest(tmp_path_factory):
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier

    rows, labels = load_iris(return_X_y=True)
    model = RandomForestClassifier(20, random_state=7).fit(rows, labels)
    path = tmp_path_factory.mktemp("forest") / "iris.onnx"
    path.write_bytes(
        to_onnx(
            model,
            initial_types=[("X", FloatTensorType([None, 4]))],
            options={"zipmap": False},
            target_opset=18,
        ).SerializeToString()
    )
    signature = Signature(
        (spec("X", "FP32", None, 4),),
        (spec("label", "INT64", None), spec("probabilities", "FP32", None, 3)),
    )
    return model, rows.astype("f4"), path, signature


def test_a_forest_answers_as_scikit_learn_does(forest):
    model, rows, path, signature = forest
    runtime = OnnxRuntime.open(path, signature)
    label, scores = runtime.run((rows,))
    assert np.array_equal(label, model.predict(rows))
    assert np.allclose(scores, model.predict_proba(rows), atol=1e-5)
    assert runtime.inline
    assert runtime.platform == "onnx_onnxruntime"


@pytest.mark.parametrize("rows", [0, 1, 2, 33])
def test_every_batch_size(forest, rows):
    _, data, path, signature = forest
    label, scores = OnnxRuntime.open(path, signature).run((data[:rows],))
    assert label.shape == (rows,)
    assert scores.shape == (rows, 3)


def test_outputs_are_not_overwritten_by_the_next_run(forest):
    _, data, path, signature = forest
    runtime = OnnxRuntime.open(path, signature)
    first = runtime.run((data[:1],))
    kept = [output.copy() for output in first]
    for at in range(1, 150):
        runtime.run((data[at : at + 1],))
    assert all(np.array_equal(a, b) for a, b in zip(first, kept, strict=True))


def test_a_read_only_batch_is_taken(forest):
    _, data, path, signature = forest
    batch = np.frombuffer(b"".join([data[at : at + 1] for at in range(4)]), "f4").reshape(-1, 4)
    assert not batch.flags.writeable
    runtime = OnnxRuntime.open(path, signature)
    assert np.array_equal(runtime.run((batch,))[1], runtime.run((data[:4],))[1])


@pytest.mark.parametrize("dtype", [name for name in ONNX_TYPES if name != "BYTES"])
def test_every_datatype_comes_back(tmp_path, dtype):
    sent = (np.arange(6).reshape(3, 2) % 2).astype(DTYPES[dtype].numpy)
    (back,) = identity(tmp_path, dtype, None, 2).run((sent,))
    assert back.dtype == sent.dtype
    assert np.array_equal(back, sent)


def test_text_goes_in_and_comes_out_as_bytes(tmp_path):
    sent = np.array([["é".encode(), b""], [b"a\0b", "\U0001f6a2".encode()]], object)
    (back,) = identity(tmp_path, "BYTES", None, 2).run((sent,))
    assert back.tolist() == sent.tolist()
    assert all(type(item) is bytes for item in back.ravel())


def test_bytes_that_are_not_text_are_the_callers_mistake(tmp_path):
    runtime = identity(tmp_path, "BYTES", None)
    with pytest.raises(BadInput, match="input 'x' holds bytes that are not UTF-8"):
        runtime.run((np.array([b"\xff\xfe"], object),))


def test_several_inputs_go_by_the_signatures_order(tmp_path):
    runtime = opened(
        tmp_path,
        [h.make_node("Sub", ["b", "a"], ["y"]), h.make_node("Identity", ["a"], ["z"])],
        [spec("b", "FP32", None), spec("a", "FP32", None)],
        [spec("z", "FP32", None), spec("y", "FP32", None)],
    )
    z, y = runtime.run((np.float32([5, 6]), np.float32([1, 1])))
    assert (z.tolist(), y.tolist()) == ([1, 1], [4, 5])


def test_what_the_graph_refuses_is_the_callers_mistake_in_one_clean_line(forest):
    _, _, path, signature = forest
    runtime = OnnxRuntime.open(path, signature)
    with pytest.raises(BadInput) as caught:
        runtime.run((np.zeros((2, 3), "f4"),))
    assert caught.value.message.startswith("the model does not take this input: Got invalid dimensions")
    assert "\n" not in caught.value.message
    assert "ONNXRuntimeError" not in caught.value.message


def gather(tmp_path):
    return opened(
        tmp_path,
        [h.make_node("Gather", ["table", "x"], ["y"])],
        [spec("x", "INT64", None)],
        [spec("y", "FP32", None)],
        [h.make_tensor("table", T.FLOAT, [3], [1.0, 2.0, 3.0])],
    )


def test_an_index_out_of_bounds_names_no_source_file(tmp_path):
    runtime = gather(tmp_path)
    with pytest.raises(BadInput, match="indices element out of data bounds") as caught:
        runtime.run((np.array([99]),))
    assert "/" not in caught.value.message
    assert runtime.run((np.array([2]),))[0].tolist() == [3.0]


def test_what_fails_inside_is_the_models_fault(tmp_path, capfd):
    runtime = opened(
        tmp_path,
        [h.make_node("Reshape", ["x", "shape"], ["y"])],
        [spec("x", "FP32", None)],
        [spec("y", "FP32", None, 7)],
        [h.make_tensor("shape", T.INT64, [2], [-1, 7])],
    )
    with pytest.raises(ModelFailed) as caught:
        runtime.run((np.zeros(5, "f4"),))
    assert "/" not in caught.value.message
    assert "onnxruntime::" not in caught.value.message
    assert len(caught.value.message) < 400
    assert capfd.readouterr().err == ""


def test_clean_cuts_what_is_ours_alone():
    text = (
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Foo node. "
        "Name:'n' Status Message: /build/src/core/foo.cc:42 onnxruntime::Foo::Bar(int, char) \n it broke"
    )
    assert clean(text) == "it broke"
    assert clean("x" * 5000).endswith(" ...")


def endless(tmp_path):
    body = h.make_graph(
        [h.make_node("Identity", ["c"], ["c2"]), h.make_node("Add", ["v", "one"], ["v2"])],
        "body",
        [
            h.make_tensor_value_info("i", T.INT64, []),
            h.make_tensor_value_info("c", T.BOOL, []),
            h.make_tensor_value_info("v", T.FLOAT, [None]),
        ],
        [h.make_tensor_value_info("c2", T.BOOL, []), h.make_tensor_value_info("v2", T.FLOAT, [None])],
        [h.make_tensor("one", T.FLOAT, [1], [1.0])],
    )
    return saved(
        tmp_path,
        [h.make_node("Loop", ["", "yes", "x"], ["y"], body=body)],
        [spec("x", "FP32", None)],
        [spec("y", "FP32", None)],
        [h.make_tensor("yes", T.BOOL, [], [True])],
    )


def test_an_endless_graph_stays_off_the_loop_and_can_be_stopped(tmp_path):
    path, signature = endless(tmp_path)
    runtime = OnnxRuntime.open(path, signature, threads=1)
    assert not runtime.inline
    ended = []

    def run():
        with pytest.raises(ModelFailed, match="terminate") as caught:
            runtime.run((np.zeros(1, "f4"),))
        ended.append(caught.value)

    thread = threading.Thread(target=run)
    thread.start()
    # stop() reaches only a run that has begun, and the graph does not say when it has.
    while thread.is_alive():
        time.sleep(0.01)
        runtime.stop()
    thread.join()
    assert len(ended) == 1


def test_a_stop_does_not_reach_the_next_run(tmp_path):
    runtime = gather(tmp_path)
    runtime.stop()
    assert runtime.run((np.array([0]),))[0].tolist() == [1.0]


def test_opening_an_endless_graph_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("modelyard.runtime.onnx.MEASURE_S", 0.05)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1})
    path, signature = endless(tmp_path)
    assert not OnnxRuntime.open(path, signature).inline


def dense(tmp_path, width, layers):
    weights = np.random.default_rng(1).normal(size=(width, width)).astype("f4") / width
    nodes = [h.make_node("MatMul", [f"h{at}", "w"], [f"h{at + 1}"]) for at in range(layers)]
    nodes[0].input[0] = "x"
    nodes[-1].output[0] = "y"
    initial = [h.make_tensor("w", T.FLOAT, weights.shape, weights.tobytes(), raw=True)]
    return saved(tmp_path, nodes, [spec("x", "FP32", None, width)], [spec("y", "FP32", None, width)], initial)


def test_threads_are_measured_for_a_heavy_graph_only(tmp_path, monkeypatch):
    made = []
    import modelyard.runtime.onnx as module

    real = module._session

    def counted(path, threads):
        made.append(threads)
        return real(path, threads)

    monkeypatch.setattr(module, "_session", counted)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(module, "HEAVY_S", 1e-7)
    path, signature = dense(tmp_path, 64, 2)
    OnnxRuntime.open(path, signature)
    assert made == [1, 2]
    made.clear()
    monkeypatch.setattr(module, "HEAVY_S", 10.0)
    OnnxRuntime.open(path, signature)
    assert made == [1]
    made.clear()
    assert OnnxRuntime.open(path, signature, threads=2).run((np.zeros((1, 64), "f4"),))[0].shape == (1, 64)
    assert made == [2]


def test_what_is_not_there_or_not_a_graph(tmp_path):
    signature = Signature((spec("x", "FP32", None),), (spec("y", "FP32", None),))
    with pytest.raises(MissingFile):
        OnnxRuntime.open(tmp_path / "none.onnx", signature)
    for name, content in (("empty.onnx", b""), ("noise.onnx", bytes(range(256)) * 9)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CorruptFile, match=name):
            OnnxRuntime.open(tmp_path / name, signature)


def test_a_graph_with_other_names_than_its_signature(tmp_path):
    path, _ = saved(
        tmp_path,
        [h.make_node("Identity", ["x"], ["y"])],
        [spec("x", "FP32", None)],
        [spec("y", "FP32", None)],
    )
    for inputs, outputs in ((("q",), ("y",)), (("x",), ("q",)), ((), ("y",))):
        signature = Signature(
            tuple(spec(name, "FP32", None) for name in inputs),
            tuple(spec(name, "FP32", None) for name in outputs),
        )
        with pytest.raises(CorruptFile, match="convert it again"):
            OnnxRuntime.open(path, signature)


def test_a_closed_runtime_says_so(tmp_path):
    runtime = gather(tmp_path)
    runtime.close()
    runtime.close()
    with pytest.raises(Unavailable):
        runtime.run((np.array([0]),))
