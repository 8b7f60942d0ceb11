"""The optional packages: what each is for, and the line that installs it.

One table for every place that finds one missing: loaders, converters, ``modelyard doctor``.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgspec import Struct

from modelyard.core.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator


class Framework(Struct, frozen=True):
    """One optional package.

    Args:
        module: as it is imported.
        packages: names under which it may be installed.
        extra: of Modelyard, which brings it.
        use: what it is for.
    """

    module: str
    packages: tuple[str, ...]
    extra: str
    use: str

    @property
    def line(self) -> str:
        """The command that installs it.

        >>> FRAMEWORKS["xgboost"].line
        "pip install 'modelyard[boost]'"
        """
        return f"pip install 'modelyard[{self.extra}]'"


_ROWS = (
    Framework("sklearn", ("scikit-learn",), "sklearn", "scikit-learn models"),
    Framework("skl2onnx", ("skl2onnx",), "sklearn", "scikit-learn to ONNX"),
    Framework("onnx", ("onnx",), "sklearn", "changing ONNX graphs"),
    Framework("joblib", ("joblib",), "sklearn", "joblib files"),
    Framework("cloudpickle", ("cloudpickle",), "sklearn", "cloudpickle files"),
    Framework("skops", ("skops",), "sklearn", "skops files"),
    Framework("pandas", ("pandas",), "sklearn", "models trained on DataFrames"),
    Framework("xgboost", ("xgboost-cpu", "xgboost"), "boost", "XGBoost models"),
    Framework("lightgbm", ("lightgbm",), "boost", "LightGBM models"),
    Framework("catboost", ("catboost",), "boost", "CatBoost models"),
    Framework("onnxmltools", ("onnxmltools",), "boost", "XGBoost and LightGBM to ONNX"),
    Framework("torch", ("torch",), "torch", "TorchScript, torch.export programs, weights"),
    Framework("onnxscript", ("onnxscript",), "torch", "torch.export programs to ONNX"),
    Framework("safetensors", ("safetensors",), "torch", "safetensors weights"),
    Framework("PIL", ("pillow",), "torch", "pictures in TorchServe archives"),
    Framework("transformers", ("transformers",), "huggingface", "Hugging Face folders with weights"),
    Framework("keras", ("keras",), "keras", "Keras models"),
    Framework("h5py", ("h5py",), "keras", "Keras .h5 files"),
    Framework("tensorflow", ("tensorflow-cpu", "tensorflow"), "tensorflow", "SavedModels in TensorFlow"),
    Framework("tf2onnx", ("tf2onnx",), "tensorflow", "SavedModels to ONNX"),
    Framework("openvino", ("openvino",), "openvino", "SavedModels without TensorFlow"),
    Framework("ai_edge_litert", ("ai-edge-litert",), "litert", "TensorFlow Lite models"),
    Framework("jax", ("jax",), "jax", "JAX exported functions"),
    Framework("yaml", ("PyYAML",), "mlflow", "MLflow model folders"),
    Framework("pyarrow", ("pyarrow",), "parquet", "Parquet rows"),
    Framework("matplotlib", ("matplotlib",), "plot", "plots of modelyard bench"),
    Framework("psycopg", ("psycopg",), "postgres", "a registry on PostgreSQL"),
    Framework("obstore", ("obstore",), "cloud", "artifacts in S3 and the like"),
)
FRAMEWORKS = {row.module: row for row in _ROWS}
"""Module -> row."""


def way_to(module: str) -> str:
    """What to do about a module that cannot be imported, as the end of a sentence.

    >>> way_to("lightgbm.basic")
    "run: pip install 'modelyard[boost]'"
    >>> way_to("mine")
    'install the package it comes from'
    """
    found = FRAMEWORKS.get(module.partition(".")[0])
    return f"run: {found.line}" if found is not None else "install the package it comes from"


@contextmanager
def needed(what: str) -> Iterator[None]:
    """Around the imports of a framework.

    Args:
        what: the file or step that needs it, as the start of a sentence.

    Raises:
        MissingExtra: a package is not installed; the message has the line.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = error.name or str(error)
        raise MissingExtra(
            f"{what} needs the Python package {name.partition('.')[0]!r}, which is not installed here; "
            f"{way_to(name)}"
        ) from error
