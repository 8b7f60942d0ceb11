"""A bundle needs nothing but itself, and equal inputs make equal bundles."""

import json
import pickle
import random
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from modelyard.artifact.bundle import open_bundle, write_bundle
from modelyard.artifact.rows import unpack_rows
from modelyard.artifact.tarball import import_bundle, save_bundle
from modelyard.core.errors import CorruptFile, MissingFile, NotConvertible, UnsafeFile
from modelyard.flow import OpenLimits, Wishes, open_version, prepare, rehearse_version
from modelyard.serve.replay import replay


def quiet(*_):
    return None


def road(source, cache, **wishes):
    return prepare(source, Wishes(**wishes), cache, quiet)


def elsewhere(prepared, tmp_path):
    """The bundle as another machine gets it: by a tar, with the source and the first cache gone."""
    save_bundle(prepared.bundle, tmp_path / "b.tar")
    shutil.rmtree(prepared.bundle.folder)
    prepared.source.unlink()
    with (tmp_path / "b.tar").open("rb") as stream:
        return import_bundle(stream, tmp_path / "other" / "machine").folder


def pickled(folder, model, name="model.pkl"):
    path = folder / name
    path.write_bytes(pickle.dumps(model))
    return path


def linear(folder, name="linear.onnx", *, weights="", random=False, batch="N"):
    """``y = x @ w``; its weights beside it, or with noise that no two runs share."""
    w = numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(3, 2) / 7, "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y" if not random else "z"])]
    if random:
        nodes += [
            helper.make_node("RandomNormalLike", ["z"], ["r"]),
            helper.make_node("Add", ["z", "r"], ["y"]),
        ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 2])],
        [w],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(exist_ok=True, parents=True)
    external = {"save_as_external_data": True, "location": weights, "size_threshold": 0} if weights else {}
    if weights:
        (folder / weights).parent.mkdir(exist_ok=True, parents=True)
    onnx.save(model, folder / name, **external)
    return folder / name


def forest():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(120, 3)).astype(np.float32)
    return RandomForestClassifier(10, random_state=1).fit(x, np.where(x[:, 0] > 0, "yes", "no")), x


def mixed():
    import pandas as pd

    rng = np.random.default_rng(2)
    x = pd.DataFrame({"colour": rng.choice(["red", "blue"], 90), "size": rng.normal(size=90)})
    steps = ColumnTransformer(
        [("c", OneHotEncoder(handle_unknown="ignore"), ["colour"]), ("s", StandardScaler(), ["size"])]
    )
    return make_pipeline(steps, LogisticRegression()).fit(x, x["colour"] == "red"), x


def boosted():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(150, 4))
    return GradientBoostingRegressor(n_estimators=20, random_state=0).fit(x, x[:, 0] * 1e5), x


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("build", [forest, mixed, boosted])
def test_a_pickle_is_opened_from_its_bundle_alone(tmp_path, build, native):
    model, _ = build()
    prepared = road(pickled(tmp_path, model), tmp_path / "cache", native=native)
    assert prepared.report.road == ("python" if native else "onnx")
    folder = elsewhere(prepared, tmp_path)
    opened = open_version(folder)
    try:
        assert opened.runner.platform == ("python" if native else "onnx_onnxruntime")
        assert opened.signature == prepared.signature
        assert len(opened.example[0]) == 8
        assert opened.answers is not None
        assert replay(opened) == ""
        own = opened.runner.run(opened.example)
        assert [one.shape for one in own] == [one.shape for one in opened.answers]
    finally:
        opened.runner.close()
    # The source in it is the operator's file, byte for byte.
    assert pickle.loads(open_bundle(folder).path("source/model.pkl").read_bytes()).get_params()


def test_the_recorded_answers_are_those_of_the_original(tmp_path):
    model, _ = forest()
    bundle = road(pickled(tmp_path, model), tmp_path / "cache").bundle
    (rows,) = unpack_rows(bundle.path("rows.bin").read_bytes())
    label, scores = unpack_rows(bundle.path("answers.bin").read_bytes())
    assert [item.decode() for item in label] == model.predict(rows).tolist()
    np.testing.assert_allclose(scores, model.predict_proba(rows), atol=1e-6)


def test_rows_of_the_sample_are_recorded(tmp_path, files):
    prepared = road(files / "iris_model.pkl", tmp_path / "cache", sample=files / "rows.csv")
    wanted = np.loadtxt(files / "rows.csv", delimiter=",", skiprows=1)[:8]
    opened = open_version(prepared.bundle.folder)
    np.testing.assert_allclose(opened.example[0], wanted, rtol=1e-6)
    assert opened.answers is not None


@pytest.mark.parametrize("weights", ["", "linear.onnx.data", "deep/er/layer.0.bin", "model.onnx"])
def test_a_graph_and_its_weights_are_opened_from_the_bundle_alone(tmp_path, weights):
    source = linear(tmp_path / "given", weights=weights)
    prepared = road(source, tmp_path / "cache")
    if weights:
        assert f"graph/{weights}" in prepared.bundle.parts
        (source.parent / weights).unlink()
    opened = open_version(elsewhere(prepared, tmp_path))
    assert opened.facts["source"] == opened.facts["graph"]
    assert replay(opened) == ""
    (y,) = opened.runner.run((np.eye(3, dtype=np.float32),))
    np.testing.assert_allclose(y, np.arange(6, dtype=np.float32).reshape(3, 2) / 7, rtol=1e-6)


def test_a_changed_graph_leaves_the_given_one_in_the_bundle(tmp_path):
    """The batch pass opens a fixed first axis of one where it can; what was given is kept beside."""
    source = zipmapped(tmp_path)
    given = source.read_bytes()
    prepared = road(source, tmp_path / "cache")
    assert prepared.report.applied
    bundle = open_bundle(elsewhere(prepared, tmp_path))
    assert bundle.path(bundle.facts["source"]).read_bytes() == given
    assert bundle.path(bundle.facts["graph"]).read_bytes() != given
    assert replay(open_version(bundle.folder)) == ""


def zipmapped(folder):
    from skl2onnx import to_onnx

    model, x = forest()
    path = folder / "zipmap.onnx"
    path.write_bytes(to_onnx(model, x[:1], target_opset=17).SerializeToString())
    return path


def test_weights_with_a_name_that_no_bundle_carries_are_refused(tmp_path):
    source = linear(tmp_path / "given", weights="gewichte-ü.bin")
    with pytest.raises(NotConvertible, match="export it again with a plain name"):
        road(source, tmp_path / "cache")


def sources():
    return {
        "forest": lambda folder: pickled(folder, forest()[0]),
        "mixed": lambda folder: pickled(folder, mixed()[0]),
        "neighbours": lambda folder: pickled(folder, KNeighborsClassifier().fit(*_points())),
        "graph": linear,
        "weights": lambda folder: linear(folder, weights="w/linear.data"),
        "zipmap": zipmapped,
    }


def _points():
    x = np.random.default_rng(5).normal(size=(80, 3))
    return x, (x.sum(axis=1) > 0).astype(int)


@pytest.mark.parametrize("name", sources())
def test_equal_inputs_in_two_places_make_one_digest(tmp_path, name):
    first, second = tmp_path / "one", tmp_path / "another place" / "deeper"
    first.mkdir()
    source = sources()[name](first)
    shutil.copytree(first, second)
    one = road(source, tmp_path / "a")
    two = road((second / source.name).rename(second / f"renamed{source.suffix}"), tmp_path / "b")
    assert two.cached is False
    assert two.bundle.parts == one.bundle.parts
    assert two.bundle.facts == one.bundle.facts
    assert two.bundle.digest == one.bundle.digest
    raw = (one.bundle.folder / "manifest.json").read_text()
    for trace in (str(tmp_path), tmp_path.name, "/tmp", "run_s_1", "load_s", 'memory_bytes":0'):
        assert trace not in raw


def test_a_reason_that_names_the_folder_is_kept_without_it(tmp_path):
    source = pickled(tmp_path, FunctionTransformer(np.sqrt).fit(np.ones((3, 2))))
    prepared = road(source, tmp_path / "cache")
    assert prepared.report.road == "python"
    assert str(tmp_path) not in json.dumps(prepared.bundle.facts)


def test_what_was_measured_is_told_again_but_is_not_in_the_bundle(tmp_path):
    source = pickled(tmp_path, forest()[0])
    first = road(source, tmp_path / "cache")
    again = road(source, tmp_path / "cache")
    assert again.cached
    assert again.report == first.report
    assert again.report.checked.run_s_1 > 0
    next((tmp_path / "cache").glob("*/*.measured.json")).unlink()
    bare = road(source, tmp_path / "cache")
    assert bare.cached
    assert bare.report.checked.run_s_1 == 0
    assert "one row takes" not in "\n".join(bare.report.lines())


def test_where_weights_lie_does_not_change_what_is_found_in_the_cache(tmp_path):
    one = road(linear(tmp_path / "one", weights="linear.data"), tmp_path / "cache")
    two = road(linear(tmp_path / "two", weights="linear.data"), tmp_path / "cache")
    assert (one.cached, two.cached) == (False, True)
    (tmp_path / "two" / "linear.data").write_bytes(bytes(24))
    assert road(tmp_path / "two" / "linear.onnx", tmp_path / "cache").cached is False


def test_a_model_that_does_not_describe_itself_is_opened_with_its_sample(tmp_path):
    source = pickled(tmp_path, FunctionTransformer(np.sqrt))
    (tmp_path / "rows.csv").write_text("a,b\n" + "".join(f"{n},{n + 1}\n" for n in range(300)))
    prepared = road(source, tmp_path / "cache", sample=tmp_path / "rows.csv", native=True)
    assert prepared.bundle.facts["sample"] == ["a", "b"]
    (tmp_path / "rows.csv").unlink()
    opened = open_version(elsewhere(prepared, tmp_path))
    try:
        assert replay(opened) == ""
        (answer,) = opened.runner.run(opened.example)
        np.testing.assert_allclose(answer, np.sqrt(opened.example[0]), rtol=1e-6)
    finally:
        opened.runner.close()


def test_a_graph_that_draws_numbers_is_served_and_said_to_be_unproved(tmp_path):
    prepared = road(linear(tmp_path / "given", random=True), tmp_path / "cache")
    assert any("differently each time" in note for note in prepared.report.notes)
    opened = open_version(elsewhere(prepared, tmp_path))
    assert opened.answers is None
    assert "differently each time" in json.dumps(opened.facts["report"]["notes"])
    assert replay(opened) == ""


def test_a_model_of_one_fixed_row_is_replayed_whole(tmp_path):
    opened = open_version(road(linear(tmp_path / "given", batch=1), tmp_path / "cache").bundle.folder)
    assert opened.signature.batched is False or opened.signature.inputs[0].shape[0] is None
    assert replay(opened) == ""


def test_the_memory_of_a_host_goes_along(tmp_path):
    source = pickled(tmp_path, forest()[0])
    small = road(source, tmp_path / "cache", native=True, limits=OpenLimits(memory_bytes=1 << 30))
    large = road(source, tmp_path / "cache", native=True, limits=OpenLimits(memory_bytes=2 << 30))
    assert (small.bundle.facts["memory_bytes"], large.bundle.facts["memory_bytes"]) == (1 << 30, 2 << 30)


LIES = [
    {"graph": "../../../etc/passwd"},
    {"graph": "/etc/passwd"},
    {"graph": "graph"},
    {"graph": "graph/none.onnx"},
    {"graph": 7},
    {"graph": ["graph/model.onnx"]},
    {"graph": None, "source": "../secret"},
    {"graph": None, "source": "source/model\0.pkl"},
    {"graph": None, "source": None},
    {"graph": None, "memory_bytes": "lots"},
    {"graph": None, "memory_bytes": 1e400},
    {"signature": None},
    {"signature": {"inputs": [{"name": "x"}]}},
    {"tolerance": "none"},
]


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("honest")
    return road(pickled(folder, forest()[0]), folder / "cache").bundle


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_facts_that_lie_are_refused(honest, tmp_path, lie):
    parts = {name: honest.path(name) for name in honest.parts}
    if lie.get("memory_bytes") == 1e400:
        lie = {**lie, "memory_bytes": 10**400}
    folder = write_bundle(tmp_path / "b", {**honest.facts, **lie}, parts).folder
    with pytest.raises((CorruptFile, MissingFile)):
        open_version(folder)


@pytest.mark.parametrize("gone", ["signature", "graph", "tolerance"])
def test_facts_that_are_missing_are_refused(honest, tmp_path, gone):
    parts = {name: honest.path(name) for name in honest.parts}
    facts = {name: value for name, value in honest.facts.items() if name != gone}
    with pytest.raises(CorruptFile, match="cannot be read"):
        open_version(write_bundle(tmp_path / "b", facts, parts).folder)


@pytest.mark.parametrize(
    "rows",
    [
        b"",
        b"\xff\xff\xff\xff",
        b"\x02\0\0\0[]",
        b"\x02\0\0\0{}",
        random.Random(1).randbytes(99),
        b"\x04\0\0\0null",
    ],
)
@pytest.mark.parametrize("part", ["rows.bin", "answers.bin"])
def test_rows_that_are_none_are_refused(honest, tmp_path, part, rows):
    parts = {name: honest.path(name) for name in honest.parts} | {part: rows}
    try:
        opened = open_version(write_bundle(tmp_path / "b", honest.facts, parts).folder)
    except CorruptFile:
        return
    assert (part, rows) == ("rows.bin", b"\x02\0\0\0[]")  # no rows are known: nothing to warm up with
    assert opened.example == ()


def test_a_source_that_is_changed_meanwhile_is_refused(tmp_path):
    source = linear(tmp_path / "given")

    def meddle(said, _share):
        if said == "keeping the result":
            with Path(source).open("ab") as stream:
                stream.write(b"\0")

    with pytest.raises(CorruptFile, match="changed while it was read"):
        prepare(source, Wishes(), tmp_path / "cache", meddle)
    assert not any((tmp_path / "cache").glob("*/*"))


@pytest.mark.parametrize("name", sources())
def test_what_was_made_here_passes_as_a_stranger(tmp_path, name):
    rehearse_version(road(sources()[name](tmp_path), tmp_path / "cache").bundle.folder)


def test_a_strangers_graph_ends_in_its_child(tmp_path):
    honest = road(linear(tmp_path / "given"), tmp_path / "cache").bundle
    greedy = {**{part: honest.path(part) for part in honest.parts}, "graph/model.onnx": greedy_graph()}
    folder = write_bundle(tmp_path / "b", honest.facts, greedy).folder
    with pytest.raises(NotConvertible, match="more memory than the limit"):
        rehearse_version(folder, OpenLimits(memory_bytes=1 << 30))
    other = {**greedy, "graph/model.onnx": linear(tmp_path / "given", "two.onnx", batch=1).read_bytes()}
    folder = write_bundle(tmp_path / "c", honest.facts, other).folder
    with pytest.raises(CorruptFile, match="rows of its graph may share a batch, and they may not"):
        rehearse_version(folder)


def test_a_strangers_graph_reads_no_other_file(tmp_path):
    source = linear(tmp_path / "given", weights="linear.data")
    honest = road(source, tmp_path / "cache").bundle
    model = onnx.load(source, load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "../manifest.json"
    parts = {**{part: honest.path(part) for part in honest.parts}}
    parts["graph/model.onnx"] = model.SerializeToString()
    with pytest.raises(UnsafeFile, match="outside its own folder"):
        rehearse_version(write_bundle(tmp_path / "b", honest.facts, parts).folder)


def greedy_graph():
    """The signature of ``linear``, and five gigabytes as soon as it runs; only its input tells that."""
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Mul", ["sizes", "factors"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("Add", ["z", "sum"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "greedy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [
            numpy_helper.from_array(np.ones((3, 2), np.float32), "w"),
            numpy_helper.from_array(np.array([1, 5 << 27], np.int64), "factors"),
        ],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
