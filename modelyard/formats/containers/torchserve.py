"""The part of TorchServe that handlers import: ``ts.torch_handler.base_handler`` and ``ts.context``.

Written from what the documented handler interface says: ``initialize(context)`` once, then
``handle(data, context)``, which is ``postprocess(inference(preprocess(data)))``.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import types
from typing import TYPE_CHECKING, Any

from modelyard.formats.extras import needed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Context:
    """What a handler is told of its model and of the request."""

    def __init__(self, folder: Path, model: dict[str, Any]) -> None:
        self.manifest = {"model": model}
        self.model_name = str(model.get("modelName", ""))
        self.system_properties = {
            "model_dir": str(folder),
            "gpu_id": None,
            "batch_size": 1,
            "limit_max_image_pixels": True,
        }
        self.model_yaml_config: dict[str, Any] = {}
        self.metrics = None
        self.request_ids = {0: "0"}

    def get_request_id(self, index: int = 0) -> str | None:
        """Requests have no name here."""
        return self.request_ids.get(index)

    def get_request_header(self, index: int, key: str) -> None:
        """Headers do not reach a model."""
        del index, key

    def set_response_content_type(self, index: int, value: str) -> None:
        """The protocol decides on the content type."""
        del index, value


class BaseHandler:
    """The handler that others derive from: TorchScript, or a class with its weights."""

    def __init__(self) -> None:
        self.model: Any = None
        self.device: Any = None
        self.initialized = False
        self.context: Any = None
        self.manifest: Any = None
        self.map_location = "cpu"

    def initialize(self, context: Context) -> None:
        """Load the model that the archive brings."""
        with needed("its handler"):
            import torch
        self.context, self.manifest = context, context.manifest
        self.device = torch.device("cpu")
        told, folder = context.manifest["model"], context.system_properties["model_dir"]
        weights = f"{folder}/{told['serializedFile']}" if told.get("serializedFile") else ""
        if told.get("modelFile"):
            module = importlib.import_module(str(told["modelFile"]).removesuffix(".py"))
            kinds = [
                kind
                for kind in vars(module).values()
                if inspect.isclass(kind) and kind.__module__ == module.__name__
            ]
            self.model = kinds[0]()
            if weights:
                self.model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        else:
            self.model = torch.jit.load(weights, map_location="cpu")
        self.model.eval()
        self.initialized = True

    def preprocess(self, data: Any) -> Any:
        """Bodies to one tensor."""
        import torch

        return torch.as_tensor([row.get("data") or row.get("body") for row in data], device=self.device)

    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """The model's answer."""
        import torch

        with torch.inference_mode():
            return self.model(data.to(self.device), *args, **kwargs)

    def postprocess(self, data: Any) -> Any:
        """A list with one item a body."""
        return data.tolist()

    def handle(self, data: Any, context: Context) -> Any:
        """One batch."""
        self.context = context
        return self.postprocess(self.inference(self.preprocess(data)))


def install(more: Mapping[str, type]) -> None:
    """Make ``import ts...`` find the above, unless TorchServe itself is installed.

    Args:
        more: further classes, by the dotted name that handlers import.
    """
    if "ts" in sys.modules:
        return
    classes = {
        "ts.torch_handler.base_handler.BaseHandler": BaseHandler,
        "ts.context.Context": Context,
        **more,
    }
    homes = dict.fromkeys(name.rpartition(".")[0] for name in classes)
    modules = {name: types.ModuleType(name) for name in ("ts", "ts.torch_handler", *homes)}
    for name, module in modules.items():
        module.__path__ = []
        above, _, own = name.rpartition(".")
        if above:
            setattr(modules[above], own, module)
    for name, kind in classes.items():
        home, _, own = name.rpartition(".")
        vars(modules[home])[own] = kind
    sys.modules.update(modules)
