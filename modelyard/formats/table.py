"""The formats that can be opened: ``name -> "module:attr"``, each a loader that runs in the child only.

A loader is ``(path, ask) -> (object, notes)``, see ``opened.py``. ONNX needs none: its file is the graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from modelyard.core.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.formats.opened import Ask

    Loader: TypeAlias = Callable[[str, Ask], tuple[Any, list[str]]]

FORMATS: Table[Loader] = Table(
    {
        "onnx": "modelyard.formats.loading:load_onnx",
        "pickle": "modelyard.formats.loading:load_pickle",
        "joblib": "modelyard.formats.loading:load_pickle",
        "cloudpickle": "modelyard.formats.loading:load_pickle",
        "skops": "modelyard.formats.loading:load_skops",
        "torchscript": "modelyard.formats.nets.torchscript:load_torchscript",
        "pt2": "modelyard.formats.nets.exported:load_exported",
        "torch": "modelyard.formats.nets.weights:load_torch",
        "safetensors": "modelyard.formats.nets.weights:load_safetensors",
        "keras": "modelyard.formats.nets.keras_model:load_keras",
        "keras-h5": "modelyard.formats.nets.keras_model:load_keras",
        "savedmodel": "modelyard.formats.nets.savedmodel:load_savedmodel",
        "tflite": "modelyard.formats.nets.tflite:load_tflite",
        "jax": "modelyard.formats.nets.jax_export:load_jax",
        "xgboost": "modelyard.formats.boosters.xgboost:load",
        "lightgbm": "modelyard.formats.boosters.lightgbm:load",
        "catboost": "modelyard.formats.boosters.catboost:load",
        "python": "modelyard.formats.functions.load:load",
        "mar": "modelyard.formats.containers.mar:load",
        "mlflow": "modelyard.formats.containers.mlflow:load",
        "huggingface": "modelyard.formats.nets.transformers_model:load_transformers",
        "huggingface-onnx": "modelyard.formats.loading:load_onnx",
        "pipeline": "modelyard.formats.pipeline.chain:load",
    },
    "format",
)
