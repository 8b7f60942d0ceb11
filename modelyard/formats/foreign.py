"""Files that are recognised, so that the message can name them, but are not served by this release."""

from __future__ import annotations

READ_HERE = (
    "formats read by this release: ONNX; scikit-learn from pickle, joblib, cloudpickle or skops; PyTorch; "
    "Keras; TensorFlow SavedModel and Lite; JAX; XGBoost (.json, .ubj); LightGBM (.txt); CatBoost (.cbm); "
    "MLflow folders; Hugging Face folders; TorchServe archives (.mar); Python functions (file.py:function); "
    "pipelines (.toml)"
)

OLD_XGBOOST = (
    "an XGBoost model in its old binary form, which new releases of XGBoost do not read either; open it with "
    "the release that wrote it and save it again: booster.save_model('model.json')"
)

MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"binf", OLD_XGBOOST),
    (0, b"\x93NUMPY", "a numpy array (.npy), which is rows, not a model"),
    (0, b"PAR1", "a Parquet table, which is rows, not a model"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"\x7fELF", "a program (ELF)"),
    (0, b"GGUF", "a GGUF language model"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file; decompress it first"),
)
"""Offset, bytes, what it is."""

ARCHIVES: tuple[tuple[str, str], ...] = (
    ("saved_model.pb", "a zipped TensorFlow SavedModel; unpack it first"),
    (".onnx", "a zip archive with an ONNX file in it; unpack it first"),
    (".pkl", "a zip archive with a pickle in it; unpack it first"),
    (".joblib", "a zip archive with a joblib file in it; unpack it first"),
    (".npy", "a numpy archive (.npz)"),
)
"""Part of a member's name, what the archive is; the first that is found counts."""

CODE_FOLDERS: tuple[tuple[str, str, str], ...] = (
    ("function.json", "python", "Python code"),
    ("pipeline.json", "pipeline", "steps"),
    ("MLmodel", "mlflow", "MLflow model folder"),
    ("MAR-INF/MANIFEST.json", "mar", "TorchServe archive"),
)
"""A file in a folder, format, detail."""

FOLDERS: tuple[tuple[str, str], ...] = (("config.pbtxt", "a Triton model folder"),)
"""A file in a folder, what the folder is."""

TEXTS: tuple[tuple[bytes, str], ...] = (
    (b'"oblivious_trees"', "a CatBoost model in JSON form"),
    (b'"nodeid"', "a dump of XGBoost's trees, which lacks what prediction needs; save it with save_model"),
    (b"<PMML", "a PMML model"),
    (b"<html", "a web page; the download probably failed"),
    (b"<!DOCTYPE html", "a web page; the download probably failed"),
)
"""Bytes near the start, what the file is."""

TORCH_LEGACY = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
"""The magic number that old torch.save pickles first."""

LFS_POINTER = b"version https://git-lfs.github.com/spec"
