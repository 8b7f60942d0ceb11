"""Hugging Face folders with weights: small models with random weights, saved by Transformers itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.heavy

from roads import cut, prepared, served, shapes
from safetensors.torch import load_file, save_file

from modelyard.core.errors import CorruptFile, NotConvertible
from modelyard.formats.nets.transformers_model import load_transformers
from modelyard.formats.opened import Ask
from modelyard.formats.sniff import sniff

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
BERT = {**SMALL, "vocab_size": 50, "max_position_embeddings": 32, "initializer_range": 1.0}
VIT = {**SMALL, "image_size": 16, "patch_size": 8, "initializer_range": 1.0}
NAMES = {0: "bad", 1: "fair", 2: "good"}
TEXT = {"input_ids": [-1, -1], "attention_mask": [-1, -1], "token_type_ids": [-1, -1]}
KINDS = {
    "BertForSequenceClassification": {"logits": [-1, 3]},
    "BertForTokenClassification": {"logits": [-1, -1, 3]},
    "BertForMaskedLM": {"logits": [-1, -1, 50]},
    "BertForQuestionAnswering": {"start_logits": [-1, -1], "end_logits": [-1, -1]},
    "BertModel": {"last_hidden_state": [-1, -1, 16], "pooler_output": [-1, 16]},
    "ViTForImageClassification": {"logits": [-1, 3]},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    for name in KINDS:
        more = {} if name.endswith("Answering") else {"id2label": NAMES}
        picture = name.startswith("ViT")
        config = transformers.ViTConfig(**VIT, **more) if picture else transformers.BertConfig(**BERT, **more)
        getattr(transformers, name)(config).save_pretrained(folder / name)
    return folder


def rows_of(name: str, rows: int, length: int = 5) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(rows)
    if name.startswith("ViT"):
        return (rng.normal(size=(rows, 3, 16, 16)).astype(np.float32),)
    mask = np.ones((rows, length), np.int64)
    mask[:, length - 2 :] = rng.integers(0, 2, (rows, 2))
    return rng.integers(0, 50, (rows, length)), mask, rng.integers(0, 2, (rows, length))


def asked(folder: Path, *rows: np.ndarray):
    """What Transformers itself answers."""
    model = getattr(transformers, folder.name).from_pretrained(folder, local_files_only=True).eval()
    names = list(TEXT) if len(rows) == 3 else ["pixel_values"]
    with torch.inference_mode():
        return model(**dict(zip(names, map(torch.from_numpy, rows), strict=True)))


def same(folder: Path, run, *rows: np.ndarray) -> None:
    want = asked(folder, *rows)
    for name, array in run(*rows).items():
        np.testing.assert_allclose(array, want[name], atol=2e-5)


@pytest.mark.parametrize("name", KINDS)
def test_every_task_that_is_known(name, files):
    network, _ = load_transformers(str(files / name), Ask())
    signature = network.signature
    assert {spec.name: spec.wire_shape() for spec in signature.outputs} == KINDS[name]
    assert signature.batched
    outputs = [spec.name for spec in signature.outputs]
    for rows in (1, 3):
        same(
            files / name, lambda *x: dict(zip(outputs, network.predict(x), strict=True)), *rows_of(name, rows)
        )


@pytest.mark.proves("format:huggingface", "imports", "verifies", "batch")
def test_a_classifier_of_text_is_converted_and_verified(files, tmp_path):
    folder = files / "BertForSequenceClassification"
    assert sniff(folder).format == "huggingface"
    found = prepared(folder, tmp_path)
    assert found.report.road == "onnx", found.report.reason
    assert found.report.verdict.ok
    assert found.signature.batched
    assert shapes(found) == (TEXT, {"logits": [-1, 3]})
    assert (found.signature.scores, found.signature.classes) == ("logits", ("bad", "fair", "good"))
    with served(found) as run:
        same(folder, run, *rows_of("", 1, 3))
        same(folder, run, *rows_of("", 5, 11))


@pytest.mark.proves("format:huggingface", "native")
def test_a_classifier_of_pictures_by_itself(files, tmp_path):
    folder = files / "ViTForImageClassification"
    found = prepared(folder, tmp_path, native=True)
    assert shapes(found) == ({"pixel_values": [-1, 3, 16, 16]}, {"logits": [-1, 3]})
    assert found.signature.batched
    with served(found) as run:
        same(folder, run, *rows_of("ViT", 2))


def test_weights_that_are_missing_wrong_or_cut(files, tmp_path):
    whole = files / "BertForSequenceClassification"
    folder = shutil.copytree(whole, tmp_path / "lacks")
    kept = load_file(folder / "model.safetensors")
    kept.pop("classifier.weight")
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(NotConvertible, match=r"lacks 1 of the weights .*classifier\.weight"):
        load_transformers(str(folder), Ask())
    cut(whole / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(CorruptFile, match="weights cannot be read"):
        load_transformers(str(folder), Ask())
    text = (whole / "config.json").read_text()
    (folder / "config.json").write_text(text.replace(whole.name, "NoSuchModel"))
    with pytest.raises(NotConvertible, match="has no model 'NoSuchModel'"):
        load_transformers(str(folder), Ask())
