"""Writes tests/formats/data with TensorFlow, for the tests of OpenVINO and LiteRT, which have none.

.envs/tensorflow/bin/python tests/formats/lite_files.py
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import numpy as np
from saved_models import write

HERE = Path(__file__).parent / "data"


def picture(folder: Path) -> None:
    """A small convolution, converted by TensorFlow's own converter."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3), name="image"),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5, activation="softmax"),
        ]
    )
    x = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype(np.float32)
    (folder / "picture.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    np.savez_compressed(folder / "picture.npz", x=x, y=model(x).numpy())


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    picture(HERE)
    with tempfile.TemporaryDirectory() as place:
        write(Path(place))
        with zipfile.ZipFile(HERE / "saved_model_two.zip", "w", zipfile.ZIP_DEFLATED) as out:
            for path in sorted((Path(place) / "two").rglob("*")):
                out.write(path, path.relative_to(place))
            out.write(Path(place) / "two.npz", "two.npz")
