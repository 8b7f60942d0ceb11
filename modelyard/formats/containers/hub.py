"""Folders as Hugging Face's libraries write them: what one is, by its ``config.json``. Nothing is loaded.

Sources: PretrainedConfig (Transformers 5), Optimum's ONNX export. ``auto_map`` names Python code that the
folder brings; it is never run here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from modelyard.core.errors import CorruptFile, NotConvertible, UnknownFormat, UnsafeFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.signature import Signature

CONFIG = "config.json"
GRAPHS = ("model.onnx", "onnx/model.onnx")
"""Where the graph of a folder lies, the first that is there counts."""
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_UNSAFE = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack")
_CONFIG_BYTES = 4 << 20
_LABELS = 20_000

TASKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ForSequenceClassification", ("logits",)),
    ("ForTokenClassification", ("logits",)),
    ("ForQuestionAnswering", ("start_logits", "end_logits")),
    ("ForMaskedLM", ("logits",)),
    ("ForImageClassification", ("logits",)),
    ("Model", ("last_hidden_state", "pooler_output")),
)
"""How the name of an architecture ends, and what is served of its answer."""


class Hub(Struct, frozen=True):
    """One folder.

    Args:
        config: all that ``config.json`` says.
        architecture: the class that the weights belong to; empty when it is not said.
        graph: the name of the ONNX graph in the folder; empty: weights only.
    """

    config: Mapping[str, Any]
    architecture: str
    graph: str

    @property
    def detail(self) -> str:
        """What it is, for a person."""
        what = self.architecture or str(self.config.get("model_type"))[:60]
        return f"Hugging Face folder, {what}, {'ONNX graph' if self.graph else 'safetensors weights'}"

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in the order of the logits; none where an answer is not one of them."""
        told = self.config.get("id2label")
        kind = self.config.get("problem_type")
        if not self.architecture.endswith(("ForSequenceClassification", "ForImageClassification")):
            return ()
        if not isinstance(told, dict) or not 1 < len(told) <= _LABELS or kind not in (None, _SINGLE):
            return ()
        names = [told.get(str(at)) for at in range(len(told))]
        return tuple(str(name) for name in names) if all(isinstance(name, str) for name in names) else ()

    @property
    def code(self) -> tuple[str, ...]:
        """Python code of the folder that its configuration asks for."""
        told = self.config.get("auto_map")
        if not told:
            return ()
        return tuple(str(one)[:80] for one in told.values()) if isinstance(told, dict) else (str(told)[:80],)

    def outputs(self) -> tuple[str, ...]:
        """What is served of its answer, where weights must be put into a class.

        Raises:
            UnsafeFile: it needs code that it brings.
            NotConvertible: a task that is not known here.
        """
        if self.code:
            raise UnsafeFile(
                f"the folder asks for Python code of its own (auto_map: {', '.join(self.code[:4])}), "
                "which is never run here; export it to ONNX where you trust that code, and serve the graph"
            )
        name = self.architecture
        found = next((names for end, names in TASKS if name.endswith(end) and "Head" not in name), None)
        if found is None or self.config.get("is_encoder_decoder"):
            known = ", ".join(f"*{end}" for end, _ in TASKS)
            # A model with a head of its own (GPT2LMHeadModel) ends on Model too, and gives no features.
            raise NotConvertible(
                f"{self.architecture or 'an architecture that is not said'} is no task that is known here; "
                f"known are {known}, without a decoder; an ONNX graph (model.onnx) is served whatever it does"
            )
        return found


_SINGLE = "single_label_classification"


def look(folder: Path) -> Hub | None:
    """What a folder is; None: not one of these.

    Raises:
        UnsafeFile: its graph is a link that leads out of it.
        UnknownFormat: one of these without a model in it that is read here.
    """
    config = _config(folder / CONFIG)
    if config is None:
        return None
    named = config.get("architectures")
    first = named[0] if isinstance(named, list) and named else ""
    architecture = first[:100] if isinstance(first, str) and first.isidentifier() else ""
    graph = next((name for name in GRAPHS if os.path.lexists(folder / name)), "")
    if graph:
        _inside(folder, graph)
    elif not any((folder / name).is_file() for name in _WEIGHTS):
        raise UnknownFormat(f"{folder} is a Hugging Face folder {_without(folder)}")
    return Hub(config, architecture, graph)


def read(folder: Path) -> Hub:
    """The same for a folder that is known to be one.

    Raises:
        CorruptFile: its ``config.json`` says nothing of a model.
    """
    found = look(folder)
    if found is None:
        raise CorruptFile(f"{CONFIG} says nothing of a model")
    return found


def with_classes(signature: Signature, classes: Sequence[str]) -> Signature:
    """A signature whose logits are one number a class, if that is what its shapes say."""
    only = [spec for spec in signature.outputs if spec.name == "logits"]
    if (
        not classes
        or len(only) != 1
        or len(only[0].shape) != 2
        or only[0].shape[1] not in (None, len(classes))
    ):
        return signature
    return replace(signature, task="classifier", scores="logits", classes=tuple(classes))


def _config(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as stream:
            data = stream.read(_CONFIG_BYTES + 1)
        told = msgspec.json.decode(data) if len(data) <= _CONFIG_BYTES else None
    except (OSError, ValueError, RecursionError):  # no such file, or another kind of config.json
        return None
    if not isinstance(told, dict):
        return None
    return told if isinstance(told.get("model_type"), str) or told.get("architectures") else None


def _inside(folder: Path, name: str) -> None:
    root = Path(os.path.realpath(folder))
    if not Path(os.path.realpath(folder / name)).is_relative_to(root):
        raise UnsafeFile(
            f"{name!r} is a link that leads out of {folder}; copy the folder with its files: cp -rL"
        )


def _without(folder: Path) -> str:
    graphs = sorted(one.name for place in (folder, folder / "onnx") for one in place.glob("*.onnx"))
    if graphs:
        return (
            f"whose graph is in parts or variants ({', '.join(graphs[:6])[:200]}), none of them model.onnx; "
            "serve one of them by its own path"
        )
    old = next((name for name in _UNSAFE if (folder / name).is_file()), None)
    if old is not None:
        return f"with {old} only; save it with model.save_pretrained(folder), which writes model.safetensors"
    return f"without a model in it; it needs {', '.join((*GRAPHS, _WEIGHTS[0]))}"
