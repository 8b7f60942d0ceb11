"""Weights in a Hugging Face folder, put into the class of Transformers that they belong to. Child only.

Sources: PreTrainedModel.from_pretrained and ModelOutput (Transformers 5). Nothing is fetched, and no code of
the folder is run: the class is one that the installed package has.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.core.errors import CorruptFile, NotConvertible
from modelyard.core.profile import ColumnProfile, Profile
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.formats.containers import hub
from modelyard.formats.nets.asked import NO_SAMPLE
from modelyard.formats.nets.eager import export_module
from modelyard.formats.nets.extras import extra
from modelyard.formats.nets.network import Network, study
from modelyard.formats.nets.torch_arrays import answering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.formats.opened import Ask

_MASK = ColumnProfile("flag", 0.0, 1.0, values=("1",) * 15 + ("0",))
"""Most tokens are looked at: a row without any has no answer that means something."""


def load_transformers(path: str, ask: Ask) -> tuple[Network, list[str]]:
    """A folder with ``config.json`` and safetensors.

    Raises:
        MissingExtra: Transformers or PyTorch is not installed.
        UnsafeFile: it needs code that it brings.
        NotConvertible: a task that is not known here, or weights that are not all there.
        CorruptFile: it is damaged.
    """
    folder = Path(path)
    told = hub.read(folder)
    outputs = told.outputs()
    with extra("huggingface", "a Hugging Face folder with weights"):
        import torch
        import transformers
    model = _filled(transformers, folder, told.architecture)
    tensors = _inputs(folder, model)
    inputs = [spec for spec, _ in tensors]
    call = _module(torch, model, [spec.name for spec in inputs], outputs)
    answer = answering(call)
    tops = {spec.name: int(one.high) for spec, one in tensors if one.high is not None}
    signature, _, example = study(inputs, answer, tops)
    signature = hub.with_classes(signature, told.classes)
    facts = {
        "class": told.architecture,
        "library": "transformers",
        "version": str(transformers.__version__),
        "net": True,
    }
    notes = [NO_SAMPLE] if ask.sample is None and ask.tensor is None else []

    def export() -> bytes:
        return export_module(call, signature, example, packed=True)

    return Network(signature, Profile(tuple((one,) for _, one in tensors)), facts, answer, export), notes


def _filled(transformers: Any, folder: Path, architecture: str) -> Any:
    """The model with its weights.

    Raises:
        NotConvertible: this Transformers has no such class, or weights are missing.
        CorruptFile: they cannot be read.
    """
    import torch

    kind: Any = getattr(transformers, architecture, None)
    known = inspect.isclass(kind) and issubclass(kind, transformers.PreTrainedModel)
    if not known:
        raise NotConvertible(f"Transformers {transformers.__version__} has no model {architecture!r}")
    transformers.utils.logging.set_verbosity(transformers.utils.logging.CRITICAL)
    transformers.utils.logging.disable_progress_bar()
    try:
        model, found = kind.from_pretrained(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
    except Exception as error:  # a plug-in call: its readers raise whatever they do
        raise CorruptFile(
            f"its weights cannot be read: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error
    # What is missing would be filled with random numbers, and the model would answer all the same.
    missing = sorted(map(str, (*found["missing_keys"], *found["mismatched_keys"])))
    if missing:
        raise NotConvertible(
            f"its file lacks {len(missing)} of the weights of {architecture}: {', '.join(missing[:4])[:200]}"
        )
    return model.eval().requires_grad_(False)


def _inputs(folder: Path, model: Any) -> list[tuple[TensorSpec, ColumnProfile]]:
    """What the model takes, each with what made-up rows are drawn from.

    Raises:
        NotConvertible: neither tokens nor pictures.
    """
    config, takes = model.config, inspect.signature(model.forward).parameters
    if model.main_input_name == "input_ids":
        words = int(getattr(config, "vocab_size", 0)) or 1000
        kinds = int(getattr(config, "type_vocab_size", 0) or 0)
        found = [("input_ids", ColumnProfile("integer", 0.0, words - 1.0)), ("attention_mask", _MASK)]
        if kinds > 1 and "token_type_ids" in takes:
            found.append(("token_type_ids", ColumnProfile("flag", 0.0, 1.0)))
        return [
            (TensorSpec(name, DTYPES["INT64"], (None, None)), one) for name, one in found if name in takes
        ]
    if model.main_input_name == "pixel_values":
        shape = (None, int(getattr(config, "num_channels", 3)), *_size(folder, config))
        return [(TensorSpec("pixel_values", DTYPES["FP32"], shape), ColumnProfile("number", -3.0, 3.0))]
    raise NotConvertible(
        f"it takes {str(model.main_input_name)[:60]!r}; read here are models of tokens (input_ids) and of "
        "pictures (pixel_values)"
    )


def _size(folder: Path, config: Any) -> tuple[int | None, int | None]:
    """Height and width of a picture: of the model, else what its pictures are cut to, else any."""
    told: Any = getattr(config, "image_size", None)
    if told is None:
        try:
            made = msgspec.json.decode((folder / "preprocessor_config.json").read_bytes())
            told = made.get("crop_size") or made.get("size")
        except (OSError, ValueError, RecursionError, AttributeError):
            told = None
    if isinstance(told, dict):
        told = (told.get("height"), told.get("width"))
    if isinstance(told, int):
        return told, told
    if isinstance(told, list | tuple) and len(told) == 2 and all(isinstance(one, int) for one in told):
        return told[0], told[1]
    return None, None


def _module(torch: Any, model: Any, names: Sequence[str], outputs: Sequence[str]) -> Any:
    """The model as a module of tensors in this order, which answers what is served."""

    class Served(torch.nn.Module):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> dict[str, Any]:
            found = self.model(**dict(zip(names, tensors, strict=True)), return_dict=True)
            return {name: found[name] for name in outputs if found.get(name) is not None}

    return Served().eval()
