"""The handlers of TorchServe for pictures: ``image_classifier``, and the class that others derive from.

Sources: ts/torch_handler/vision_handler.py and image_classifier.py (TorchServe 0.12). Pictures are cut as
torchvision cuts them (shorter side 256, middle 224, mean and deviation of ImageNet), by Pillow alone.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.formats.containers.torchserve import BaseHandler
from modelyard.formats.extras import needed

if TYPE_CHECKING:
    from modelyard.core.tensor import Array
    from modelyard.formats.containers.torchserve import Context

SHORTER, MIDDLE = 256, 224
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


class VisionHandler(BaseHandler):
    """Bodies that are pictures, or lists of numbers."""

    mapping: dict[str, Any] | None = None

    def initialize(self, context: Context) -> None:
        """Load the model and the names of its classes (``index_to_name.json``)."""
        with needed("a handler of pictures"):
            import PIL.Image
        PIL.Image.init()  # its readers are imported while files may still be read
        super().initialize(context)
        path = Path(str(context.system_properties["model_dir"])) / "index_to_name.json"
        self.mapping = json.loads(path.read_bytes()) if path.is_file() else None

    def image_processing(self, image: Any) -> Any:
        """A picture as the model takes it: float32 [3, 224, 224]."""
        import torch

        return torch.from_numpy(cut(image))

    def preprocess(self, data: Any) -> Any:
        """Bodies to one tensor [rows, ...]: a picture's bytes, or its base64 text, or numbers."""
        import torch
        from PIL import Image

        found = []
        for row in data:
            body = row.get("data") or row.get("body")
            if isinstance(body, str):
                body = base64.b64decode(body)
            if isinstance(body, bytes | bytearray):
                found.append(self.image_processing(Image.open(io.BytesIO(body))))
            else:
                found.append(torch.as_tensor(body, dtype=torch.float32))
        return torch.stack(found).to(self.device)


class ImageClassifier(VisionHandler):
    """The likeliest classes with their probabilities."""

    topk = 5

    def set_max_result_classes(self, topk: int) -> None:
        """How many classes are answered."""
        self.topk = topk

    def get_max_result_classes(self) -> int:
        """How many classes are answered."""
        return self.topk

    def postprocess(self, data: Any) -> Any:
        """``[{name: probability}]``, the likeliest first; a number stands for a class without a name."""
        import torch

        shares, classes = torch.topk(torch.softmax(data, 1), min(self.topk, data.shape[1]), dim=1)
        return [
            {self._name(str(at)): share for at, share in zip(row, own, strict=True)}
            for row, own in zip(classes.tolist(), shares.tolist(), strict=True)
        ]

    def _name(self, at: str) -> str:
        told = self.mapping.get(at, at) if isinstance(self.mapping, dict) else at
        return str(told[-1] if isinstance(told, list) and told else told)


def cut(image: Any) -> Array:
    """The middle of a picture, float32 [3, 224, 224].

    Args:
        image: a ``PIL.Image.Image`` of any size and mode.
    """
    from PIL import Image

    image = image.convert("RGB")
    wide, high = image.size
    short = min(wide, high)
    size = (int(SHORTER * wide / short), int(SHORTER * high / short))
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - MIDDLE) / 2), round((size[1] - MIDDLE) / 2)
    pixels = np.asarray(image.crop((left, top, left + MIDDLE, top + MIDDLE)), np.float32) / 255
    return np.ascontiguousarray(((pixels - _MEAN) / _DEVIATION).transpose(2, 0, 1))
