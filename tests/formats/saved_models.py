"""SavedModel folders, made once by TensorFlow.

Run as a script, it writes them where no TensorFlow shares the environment of what reads them:
``python saved_models.py FOLDER``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def write(folder: Path) -> None:
    """``two`` has two signatures, ``text`` takes strings, ``sized`` has a fixed number of rows."""
    import tensorflow as tf

    class Two(tf.Module):
        def __init__(self):
            self.weights = tf.Variable(np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32))

        @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="features")])
        def serve(self, features):
            raw = features @ self.weights
            return {"scores": tf.nn.softmax(raw), "best": tf.argmax(raw, 1)}

        @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="features")])
        def raw(self, features):
            return {"logits": features @ self.weights}

    class Text(tf.Module):
        def __init__(self):
            self.unit = tf.Variable(1)

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="text")])
        def serve(self, text):
            return {"length": tf.strings.length(text) * self.unit, "upper": tf.strings.upper(text)}

    class Sized(tf.Module):
        def __init__(self):
            self.unit = tf.Variable(2.0)

        @tf.function(input_signature=[tf.TensorSpec((3, 2), tf.float32, name="x")])
        def serve(self, x):
            return {"y": x * self.unit}

    two, text, sized = Two(), Text(), Sized()
    tf.saved_model.save(two, str(folder / "two"), signatures={"serving_default": two.serve, "raw": two.raw})
    tf.saved_model.save(text, str(folder / "text"), signatures=text.serve)
    tf.saved_model.save(sized, str(folder / "sized"), signatures=sized.serve)
    x = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    np.savez(folder / "two.npz", x=x, **{name: one.numpy() for name, one in two.serve(x).items()})


if __name__ == "__main__":
    write(Path(sys.argv[1]))
