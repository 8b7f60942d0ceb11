"""The rows that the models of the zoo are trained on and asked about."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes, load_iris

IRIS, CLASS = load_iris(return_X_y=True)
IRIS = IRIS.astype(np.float32)
SUGAR, LEVEL = load_diabetes(return_X_y=True)
SUGAR = SUGAR.astype(np.float32)
NAMES = np.array(["setosa", "versicolor", "virginica"])
BINARY = (CLASS > 0).astype(int)
TARGETS = np.stack([CLASS, BINARY], axis=1)


@functools.cache
def people() -> tuple[pd.DataFrame, np.ndarray]:
    """A frame with numbers, strings, gaps in both, and a column that no model uses."""
    rng = np.random.default_rng(7)
    rows = 240
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows).astype(float),
            "city": rng.choice(["Lyon", "Oslo", "Xi'an", "Łódź"], rows).astype(object),
            "income": rng.lognormal(10, 1, rows),
            "plan": rng.choice(["free", "pro"], rows).astype(object),
            "note": rng.choice(["x", "y"], rows).astype(object),
        }
    )
    frame.loc[::17, "age"] = np.nan
    frame.loc[::13, "city"] = np.nan
    y = ((frame["age"].fillna(40) > 45) ^ (frame["plan"] == "pro")).astype(int).to_numpy()
    return frame, y


GOOD = ["good film", "great great film", "lovely story told well", "a good story", "great acting here"] * 4
BAD = ["bad film", "dull dull story", "awful acting", "a bad plot", "boring story told badly"] * 4
TEXTS = GOOD + BAD
MOOD = np.array(["up"] * len(GOOD) + ["down"] * len(BAD))
ASCII_TEXTS = [
    "a good film",
    "dull plot",
    "great story",
    "boring",
    "nothing known",
    "",
    "GOOD Film!",
    "bad  acting",
]
_SENTENCE = "film good bad is a the of story plot i was to great not"
_WORDS = _SENTENCE.split()
CHATTER = [" ".join(np.random.default_rng(at).choice(_WORDS, 2 + at % 7)) for at in range(60)]
CHATTER_MOOD = np.array(["up" if "good" in text else "down" for text in CHATTER])
ACCENTED = [
    "Éclair good café",
    "Don't miss",
    "it's a naïve story",
    "schön and bad",
    "great: l'été",
    "süß film",
]
