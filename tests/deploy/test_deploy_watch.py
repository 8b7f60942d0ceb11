import contextlib
import os
import shutil

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc.model_config_pb2 import ModelConfig

from modelyard.core.errors import BadConfig, BadInput, MissingFile
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.deploy.pbtxt import Word, parse
from modelyard.deploy.policy import All, Latest, Specific, parse_policy, wanted
from modelyard.deploy.triton import NO_EFFECT, TensorLine, read_config
from modelyard.deploy.watch import Found, Listing, Scan, read_folder, scan, settled

CONFIG = """
# A model as people write it
name: "ranker"
platform: "onnxruntime_onnx"
max_batch_size: 64
input [
  { name: "x"  data_type: TYPE_FP32  dims: [ 4 ] }
]
output: [ { name: "y", data_type: TYPE_STRING, dims: -1 } ]
version_policy: { specific: { versions: [1, 3] } }
dynamic_batching { max_queue_delay_microseconds: 250 }
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
MODEL = Signature(
    (TensorSpec("x", DTYPES["FP32"], (None, 4)),),
    (TensorSpec("y", DTYPES["BYTES"], (None, 1)),),
    batched=True,
)


def bad(text):
    with pytest.raises(BadConfig) as error:
        read_config(text, "m/config.pbtxt")
    return error.value.message


def put(root, *paths, text=b"model"):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text)


def test_reads_what_has_a_meaning():
    config = read_config(CONFIG, "ranker/config.pbtxt")
    assert config.inputs == (TensorLine("x", "FP32", (4,)),)
    assert config.outputs == (TensorLine("y", "BYTES", (-1,)),)
    assert (config.name, config.max_batch_size, config.max_wait_s) == ("ranker", 64, 0.00025)
    assert config.policy == Specific((1, 3))
    config.check(MODEL)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max_batch: 3", "m/config.pbtxt, line 1: field 'max_batch' is unknown"),
        ('\nparameters { key: "a" }', "line 2: field 'parameters' has no effect here"),
        (
            "dynamic_batching { preferred_batch_size: [4, 8] }",
            "'dynamic_batching.preferred_batch_size' has no effect",
        ),
        ("max_batch_size: 4 max_batch_size: 4", "field 'max_batch_size' is given twice"),
        ('max_batch_size: "4"', "field 'max_batch_size' is not a whole number"),
        ("max_batch_size: -1", "is not a whole number from 0"),
        ("name: ranker", "field 'name' is not text"),
        (
            'platform: "tensorrt_plan"',
            "field 'platform' is 'tensorrt_plan'; what has a meaning here: onnxruntime_onnx",
        ),
        ('backend: "python"', "field 'backend' is 'python'"),
        ("input { data_type: TYPE_FP32 }", "field 'input' has no name"),
        ('input { name: "x" data_type: TYPE_BF16 }', "field 'input.data_type' is 'TYPE_BF16'"),
        ('input { name: "x" dims: 0 }', "field 'input.dims' is 0"),
        ('input { name: "x" reshape { shape: [1] } }', "field 'input.reshape' has no effect"),
        ("version_policy { latest { } all { } }", "not exactly one of latest, all and specific"),
        (
            "version_policy { latest { num_versions: 0 } }",
            "'version_policy.latest.num_versions' is not a whole",
        ),
        ("version_policy { specific { } }", "names no versions"),
        ("instance_group { count: 2 }", "field 'instance_group.count' is not a whole number from 1 to 1"),
        ("instance_group { kind: KIND_GPU }", "field 'instance_group.kind' is 'KIND_GPU'"),
        ("dynamic_batching { }", "has no effect without max_batch_size"),
        ('default_model_filename: "../other.onnx"', "field 'default_model_filename' is '../other.onnx'"),
        ("input: 3", "field 'input' is not a message"),
        ("name", "line 1: found the end of the file where a colon or { should be"),
        ("input {", "found the end of the file where a field's name or } should be"),
        ('name: "a', "cannot read"),
        ('name: "\\q"', "text without unknown escapes"),
        ('name: "\\xff"', "UTF-8 text"),
        ('name: "\\ud800"', "impossible characters"),
        ("max_batch_size: 09", "an octal number"),
        ("max_batch_size: " + "9" * 10_000, "at most 40 digits"),
        ("a { " * 100_000, "characters; at most"),
        ("a { " * 1_000, "nested deeper than 16"),
        ("input <}", "found '}'"),
        ("input [{} {}]", "a comma or ]"),
        ("[ext]: 3", "a field's name"),
    ],
)
def test_refuses_and_names_the_file_and_the_field(text, says):
    assert says in bad(text)


@pytest.mark.parametrize("field", sorted(NO_EFFECT.keys() - {"instance_group.name"}))
def test_every_field_without_effect_says_why(field):
    places = [f"{field}: 1", f'input {{ name: "x" {field}: 1 }}', f"instance_group {{ {field}: 1 }}"]
    assert all(f"has no effect here: {NO_EFFECT[field]}" in bad(text) for text in places)


@pytest.mark.parametrize(
    ("signature", "text", "says"),
    [
        (MODEL, 'max_batch_size: 8 input { name: "z" }', "no input 'z'; it has: x"),
        (MODEL, 'max_batch_size: 8 output { name: "x" }', "no output 'x'; it has: y"),
        (MODEL, 'max_batch_size: 8 input { name: "x" data_type: TYPE_FP64 }', "is FP64, the model's is FP32"),
        (MODEL, 'max_batch_size: 8 input { name: "x" dims: [5] }', r"are \[5\], the model's are \[4\]"),
        (
            MODEL,
            'max_batch_size: 8 input { name: "x" dims: [-1, 4] }',
            r"are \[-1, 4\], the model's are \[4\]",
        ),
        (MODEL, "max_batch_size: 0", "max_batch_size is 0, but the model has a batch axis"),
    ],
)
def test_holds_the_file_against_the_model(signature, text, says):
    with pytest.raises(BadConfig, match=says):
        read_config(text, "m/config.pbtxt").check(signature)


def test_text_format_in_all_its_forms():
    text = 'a: "x" \'y\' "\\n\\101\\x42\\u00e9" , b: 0x10; c: 010 d: -1.5e3f '
    text += "e: nan f < g: [] h: [1, 2] > i: true#end"
    fields = {field.name: field.value for field in parse(text, "f")}
    assert fields["a"] == "xy\nAB\u00e9"
    assert (fields["b"], fields["c"], fields["d"]) == (16, 8, -1500.0)
    assert (fields["e"], fields["i"]) == (Word("nan"), Word("true"))
    assert [(field.name, field.value) for field in fields["f"]] == [("h", 1), ("h", 2)]


TENSORS = st.lists(
    st.tuples(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9),
        st.sampled_from(["TYPE_FP32", "TYPE_STRING", "TYPE_BOOL", "TYPE_INT64"]),
        st.lists(st.integers(1, 2**62) | st.just(-1), min_size=1, max_size=4),
    ),
    max_size=3,
)


@given(
    TENSORS,
    st.integers(1, 2**31 - 1),
    st.integers(0, 60_000_000),
    st.lists(st.integers(1, 2**62), min_size=1),
)
def test_reads_what_protobuf_writes(tensors, batch, delay_us, versions):
    """The official writer is the judge, with Triton's own schema."""
    message = ModelConfig(name="m", backend="onnxruntime", max_batch_size=batch)
    for name, datatype, dims in tensors:
        message.input.add(name=name, data_type=datatype, dims=dims)
    message.dynamic_batching.max_queue_delay_microseconds = delay_us
    message.version_policy.specific.versions.extend(versions)
    for one_line in (False, True):
        text = text_format.MessageToString(
            message, as_one_line=one_line, use_short_repeated_primitives=one_line
        )
        config = read_config(text, "f")
        assert [(line.name, line.dims) for line in config.inputs] == [
            (name, tuple(dims)) for name, _, dims in tensors
        ]
        assert [line.datatype.replace("BYTES", "STRING") for line in config.inputs] == [
            datatype.removeprefix("TYPE_") for _, datatype, _ in tensors
        ]
        assert (config.name, config.max_batch_size, config.max_wait_s) == ("m", batch, delay_us / 1e6)
        assert config.policy == Specific(tuple(versions))


def test_protobuf_reads_what_we_read():
    text_format.Parse(CONFIG, ModelConfig())


@given(st.text(max_size=60) | st.text("ab{}<>[]:,;#\"'\\ \n0x1.-", max_size=60))
def test_any_text_is_read_or_refused(text):
    for read in (parse, read_config):
        with contextlib.suppress(BadConfig):
            read(text, "f")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_quoted_text_comes_back(text):
    quoted = "".join(f"\\{byte:03o}" for byte in text.encode())
    assert parse(f'name: "{quoted}"', "f")[0].value == text


def test_policies():
    assert wanted(Latest(2), {3, 1, 12}).versions == (3, 12)
    assert wanted(All(), {3, 1, 12}).versions == (1, 3, 12)
    assert wanted(Specific((12, 7)), {3, 1, 12}) == wanted(Specific((7, 12, 12)), [1, 3, 12])
    assert wanted(Specific((12, 7)), {3, 1, 12}).missing == (7,)
    assert wanted(Latest(), set()).versions == ()


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("all", All()),
        ("latest", Latest(1)),
        ("latest:3", Latest(3)),
        ("7", Specific((7,))),
        ("1, 3", Specific((1, 3))),
    ],
)
def test_reads_a_policy(text, policy):
    assert parse_policy(text) == policy


@pytest.mark.parametrize(
    "text", ["", "latest:0", "latest:", "latest:x", "all:1", "0", "1,,2", "-1", "9" * 30, "٣"]
)
def test_refuses_what_is_no_policy(text):
    with pytest.raises(BadInput, match="write all, latest:2 or 1,3,7"):
        parse_policy(text)


def test_both_layouts_side_by_side(tmp_path):
    put(
        tmp_path, "iris/1/iris.pkl", "iris/2/better.onnx", "half/3/saved_model.pb", "half/3/variables/v.index"
    )
    put(tmp_path, "ranker/1/model.onnx", "ranker/2/model.onnx", "ranker/3/model.onnx", ".git/config")
    put(tmp_path, "ranker/config.pbtxt", text=CONFIG.encode())
    seen = scan(read_folder(tmp_path))
    assert seen.problems == ()
    found = {model.name: [(one.version, one.path) for one in model.versions] for model in seen.models}
    assert found == {
        "half": [(3, "half/3")],
        "iris": [(2, "iris/2/better.onnx")],
        "ranker": [(1, "ranker/1/model.onnx"), (3, "ranker/3/model.onnx")],
    }
    assert seen.models[2].config.max_batch_size == 64


def test_one_bad_model_does_not_hide_the_others(tmp_path):
    put(
        tmp_path,
        "good/1/model.onnx",
        "bad/1/model.onnx",
        "two/1/a.onnx",
        "two/1/b.onnx",
        "zero/01/model.onnx",
    )
    put(tmp_path, "loose.onnx", "empty/readme", "other/1/model.onnx", "spa ce/1/m.onnx", "none/1/.hidden")
    put(tmp_path, "bad/config.pbtxt", text=b"optimization { }")
    put(tmp_path, "other/config.pbtxt", text=b'name: "another"')
    seen = scan(read_folder(tmp_path))
    assert [model.name for model in seen.models] == ["good"]
    told = "\n".join(seen.problems)
    for says in (
        "bad/config.pbtxt, line 1: field 'optimization' has no effect here",
        "other/config.pbtxt: field 'name' is 'another', but its folder is 'other'",
        "two/1: one model file is wanted, it has: a.onnx, b.onnx",
        "zero/01: a version is a positive whole number",
        "loose.onnx: not a model's folder",
        "empty/readme: neither a version's folder",
        "empty: no version",
        "a model cannot be named 'spa ce'",
        "none/1: one model file is wanted, it has: none",
    ):
        assert says in told


def test_links_stay_inside(tmp_path):
    put(tmp_path, "outside/secret.onnx", "yard/real/1/model.onnx")
    yard = tmp_path / "yard"
    (yard / "alias").symlink_to("real")
    (yard / "leak").mkdir()
    (yard / "leak/1").symlink_to(tmp_path / "outside")
    (yard / "file/1").mkdir(parents=True)
    (yard / "file/1/model.onnx").symlink_to(tmp_path / "outside/secret.onnx")
    (yard / "real/1/loop").symlink_to("..")
    seen = scan(read_folder(yard))
    assert [model.name for model in seen.models] == ["alias", "real"]
    assert "leak/1: a link that leaves the watched folder" in "\n".join(seen.problems)
    assert "file/1/model.onnx: a link that leaves the watched folder" in "\n".join(seen.problems)


def test_a_pipe_is_not_waited_for(tmp_path):
    put(tmp_path, "a/1/model.onnx")
    os.mkfifo(tmp_path / "a/config.pbtxt")
    os.mkdir(tmp_path / "b")
    os.mkdir(tmp_path / "b/1")
    os.mkfifo(tmp_path / "b/1/model.onnx")
    seen = scan(read_folder(tmp_path))
    assert seen.models == ()
    assert "a/config.pbtxt: not a file" in seen.problems[0]
    assert "b/1/model.onnx: neither a file nor a folder" in seen.problems[1]


def test_what_is_being_written_is_waited_for(tmp_path):
    put(tmp_path, "iris/1/model.onnx")
    first = scan(read_folder(tmp_path), All())
    put(tmp_path, "iris/2/model.onnx")
    second = scan(read_folder(tmp_path), All())
    put(tmp_path, "iris/2/model.onnx", text=b"model, and more")
    third = scan(read_folder(tmp_path), All())
    assert settled(Scan(()), first).models == ()
    for before, now in ((first, second), (second, third)):
        assert [one.version for one in settled(before, now).models[0].versions] == [1]
    assert settled(third, scan(read_folder(tmp_path), All())) == third
    shutil.rmtree(tmp_path / "iris")
    assert scan(read_folder(tmp_path)).models == ()


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(MissingFile):
        read_folder(tmp_path / "nowhere")


def test_an_oversized_configuration_is_not_read(tmp_path):
    put(tmp_path, "a/1/model.onnx")
    put(tmp_path, "a/config.pbtxt", text=b"#" * (1 << 20))
    assert "not a file of at most" in scan(read_folder(tmp_path)).problems[0]


PARTS = st.sampled_from(
    ["a", "b", "1", "2", "03", "config.pbtxt", "model.onnx", "x.pkl", ".h", "saved_model.pb", "é"]
)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
LISTINGS = st.builds(
    Listing,
    st.dictionaries(
        PATHS, st.builds(Found, st.sampled_from(["file", "folder", "outside", "other"]), st.integers(0, 9))
    ),
    st.dictionaries(PATHS, st.sampled_from(["", CONFIG, "max_batch_size: 1", "!"])),
)


@given(LISTINGS, st.sampled_from([All(), Latest(1), Specific((1, 7))]))
def test_any_listing_ends_in_models_and_problems(listing, policy):
    seen = scan(listing, policy)
    assert all(model.versions for model in seen.models)
    for model in seen.models:
        for one in model.versions:
            assert one.path.startswith(f"{model.name}/{one.version}")
    assert all(isinstance(problem, str) and problem for problem in seen.problems)


def test_every_field_of_tritons_schema_has_an_answer():
    """A field that Triton knows is either used, or refused with a reason of its own."""
    schema = ModelConfig.DESCRIPTOR.fields_by_name
    nested = ("input", "output", "dynamic_batching", "instance_group")
    places = [("", ModelConfig.DESCRIPTOR), *((f"{name} ", schema[name].message_type) for name in nested)]
    for prefix, message in places:
        for field in message.fields:
            inner = f"{field.name}: 1"
            text = f"{prefix}{{ {inner} }}" if prefix else inner
            assert f"{field.name}' is unknown" not in bad(text + " nonsense: 1"), text


def test_the_page_lists_what_a_configuration_may_say(request):
    page = (request.config.rootpath / "docs/architecture/06-releases.md").read_text()
    config = read_config(CONFIG, "ranker/config.pbtxt")
    assert config.file_name == "model.onnx"
    for field in ("name", "platform", "backend", "max_batch_size", "input", "output", "version_policy"):
        assert f"`{field}`" in page
    for field in ("dynamic_batching", "instance_group", "default_model_filename"):
        assert f"`{field}`" in page
