"""Hugging Face folders: what they are, and their graphs. ``config.json`` is as Transformers 5 wrote it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from roads import prepared, served

from modelyard.console.cli.main import cli
from modelyard.core.errors import FileError, MissingFile, NotConvertible, UnknownFormat, UnsafeFile
from modelyard.formats.sniff import sniff

CONFIG = {
    "architectures": ["BertForSequenceClassification"],
    "hidden_size": 16,
    "id2label": {"0": "bad", "1": "fair", "2": "good"},
    "label2id": {"bad": 0, "fair": 1, "good": 2},
    "model_type": "bert",
    "transformers_version": "5.24.0",
    "type_vocab_size": 2,
    "vocab_size": 50,
}
TABLE = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)


def graph(path: Path, weights: str = "") -> None:
    """Logits are the mean of a row of the table for each token."""
    table = numpy_helper.from_array(TABLE, "table")
    if weights:
        table.ClearField("raw_data")
        table.data_location = TensorProto.EXTERNAL
        for key, value in {"location": weights, "offset": "0", "length": str(TABLE.nbytes)}.items():
            table.external_data.add(key=key, value=value)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("ReduceMean", ["words"], ["logits"], axes=[1], keepdims=0),
    ]
    takes = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])]
    gives = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])]
    made = helper.make_graph(nodes, "bert", takes, gives, [table])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(model.SerializeToString())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "hub"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(CONFIG))
    (made / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    return made


@pytest.mark.proves("format:huggingface-onnx", "imports")
@pytest.mark.parametrize(("name", "weights"), [("model.onnx", ""), ("onnx/model.onnx", "model.onnx_data")])
def test_a_graph_with_its_classes(folder: Path, tmp_path: Path, name: str, weights: str) -> None:
    graph(folder / name, weights)
    if weights:
        ((folder / name).parent / weights).write_bytes(TABLE.tobytes())
    assert sniff(folder).detail == "Hugging Face folder, BertForSequenceClassification, ONNX graph"
    found = prepared(folder, tmp_path)
    assert found.report.road == "onnx"
    signature = found.signature
    assert [spec.name for spec in signature.inputs] == ["input_ids"]
    assert (signature.task, signature.scores, signature.classes) == (
        "classifier",
        "logits",
        ("bad", "fair", "good"),
    )
    words = np.array([[1, 2, 3], [4, 49, 0]], np.int64)
    with served(found) as run:
        np.testing.assert_allclose(run(words)["logits"], TABLE[words].mean(1), atol=1e-6)


def test_weights_outside_of_the_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(TABLE.tobytes())
    graph(folder / "onnx" / "model.onnx", "../../secret")
    with pytest.raises(UnsafeFile, match="outside its own folder"):
        prepared(folder, tmp_path)
    graph(folder / "onnx" / "model.onnx", "weights")
    with pytest.raises(MissingFile, match="not beside it"):
        prepared(folder, tmp_path)
    (folder / "onnx" / "weights").symlink_to(tmp_path / "secret")
    with pytest.raises(UnsafeFile, match="a link"):
        prepared(folder, tmp_path)


def test_a_graph_that_is_a_link_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    graph(tmp_path / "elsewhere.onnx")
    (folder / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(UnsafeFile, match="cp -rL"):
        prepared(folder, tmp_path)


def test_a_graph_needs_no_code_of_the_folder(folder: Path, tmp_path: Path) -> None:
    told = {**CONFIG, "auto_map": {"AutoModel": "modeling.Mine"}}
    (folder / "config.json").write_text(json.dumps(told))
    (folder / "modeling.py").write_text("raise SystemExit('it ran')")
    graph(folder / "model.onnx")
    assert prepared(folder, tmp_path).report.road == "onnx"


def weights(folder: Path, **told: object) -> Path:
    (folder / "config.json").write_text(json.dumps({**CONFIG, **told}))
    (folder / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    return folder


@pytest.mark.parametrize(
    ("told", "error", "said"),
    [
        (
            {"auto_map": {"AutoModel": "modeling.Mine"}},
            UnsafeFile,
            r"auto_map: modeling\.Mine\), which is never",
        ),
        ({"auto_map": "odd"}, UnsafeFile, "never run here"),
        ({"architectures": ["GPT2LMHeadModel"]}, NotConvertible, "GPT2LMHeadModel is no task"),
        ({"architectures": ["T5Model"], "is_encoder_decoder": True}, NotConvertible, "known are"),
        ({"architectures": ["LlamaForCausalLM"]}, NotConvertible, r"known are \*ForSequenceClassification"),
        ({"architectures": ["os.system"]}, NotConvertible, "known are"),
        ({"architectures": []}, NotConvertible, "known are"),
    ],
)
def test_weights_that_are_not_served(
    folder: Path, tmp_path: Path, told: dict[str, object], error: type, said: str
) -> None:
    with pytest.raises(error, match=said):
        prepared(weights(folder, **told), tmp_path)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "without a model in it"),
        ({"pytorch_model.bin": "x"}, "save_pretrained"),
        ({"encoder_model.onnx": "x", "decoder_model.onnx": "x"}, "in parts or variants"),
    ],
)
def test_folders_without_a_model_that_is_read(folder: Path, files: dict[str, str], said: str) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(UnknownFormat, match=said):
        sniff(folder)


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": 1}', "[" * 100_000, " " * (5 << 20)])
def test_another_kind_of_config(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    began = time.process_time()
    with pytest.raises(MissingFile, match="is a folder"):
        sniff(folder)
    assert time.process_time() - began < 1


def test_inspect_names_what_it_would_do(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path))
    graph(folder / "model.onnx")
    done = CliRunner().invoke(cli, ["inspect", str(folder), "--static"], catch_exceptions=False)
    assert "ONNX graph" in done.output
    assert "operator sets" in done.output
    (folder / "model.onnx").unlink()
    weights(folder, auto_map={"AutoModel": "modeling.Mine"})
    done = CliRunner().invoke(cli, ["inspect", str(folder), "--static"], catch_exceptions=False)
    assert "never run here" in done.output


def test_the_line_that_installs_transformers(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"modelyard\[huggingface\]"):
        prepared(weights(folder), tmp_path)
