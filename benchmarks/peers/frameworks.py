"""Framework models: made once, and called as their framework's own pages call them.

    frameworks.py make KIND FILE      write the model, and beside it FILE.npz: rows and their right scores
    frameworks.py call KIND FILE      for each line "ROWS SECONDS" of the input, print calls a second

Each kind imports its own framework only; all of them compute on one thread.
"""

import pickle
import sys
import time
from functools import partial

import numpy as np

FEATURES, CLASSES, QUESTIONS = 20, 3, 256
IMAGE = (3, 96, 96)


def table(rows=4000):
    """Rows with three classes that depend on some of the columns."""
    random = np.random.default_rng(3)
    x = random.standard_normal((rows, FEATURES)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(int) + (x[:, 3] > 0.5)
    return x, y


def _sklearn(model):
    def make(path):
        x, y = table()
        with open(path, "wb") as file:
            pickle.dump(model().fit(x, y), file)

    return make


def _forest(trees):
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(n_estimators=trees, random_state=7)


def _pipeline():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))


def _open_sklearn(path):
    with open(path, "rb") as file:
        model = pickle.load(file)
    return model.predict_proba


def _make_xgboost(path):
    import xgboost

    model = xgboost.XGBClassifier(n_estimators=100, max_depth=6, nthread=1, seed=7)
    model.fit(*table())
    model.get_booster().save_model(path)


def _open_xgboost(path):
    import xgboost

    booster = xgboost.Booster({"nthread": 1}, model_file=path)
    return lambda rows: booster.predict(xgboost.DMatrix(rows, nthread=1))


def _make_lightgbm(path, trees=100, leaves=31):
    import lightgbm

    model = lightgbm.LGBMClassifier(
        n_estimators=trees, num_leaves=leaves, n_jobs=1, random_state=7, verbose=-1
    )
    x, y = table()
    model.fit(x, y)
    model.booster_.save_model(path)


def _open_lightgbm(path):
    import lightgbm

    booster = lightgbm.Booster(model_file=path)
    return partial(booster.predict, num_threads=1)


def _make_catboost(path):
    import catboost

    x, y = table()
    model = catboost.CatBoostClassifier(
        iterations=100,
        depth=6,
        thread_count=1,
        random_seed=7,
        verbose=False,
        allow_writing_files=False,
    )
    model.fit(x, y)
    model.save_model(path)


def _open_catboost(path):
    import catboost

    model = catboost.CatBoostClassifier()
    model.load_model(path)
    return partial(model.predict_proba, thread_count=1)


def _make_torchscript(path):
    from torch import jit, manual_seed, nn, zeros

    manual_seed(7)
    layers = [nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES)]
    jit.trace(nn.Sequential(*layers, nn.Softmax(-1)).eval(), zeros(2, FEATURES)).save(path)


def _make_image_classifier(path):
    from torch import jit, manual_seed, nn, zeros

    manual_seed(7)
    layers, size = [], IMAGE[0]
    for width in (32, 64, 128, 256):
        layers += [nn.Conv2d(size, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        size = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(size, CLASSES), nn.Softmax(-1)]
    jit.trace(nn.Sequential(*layers).eval(), zeros(2, *IMAGE)).save(path)


def _open_torchscript(path):
    import torch

    torch.set_num_threads(1)
    model = torch.jit.load(path).eval()

    def call(rows):
        with torch.inference_mode():
            return model(torch.from_numpy(rows)).numpy()

    return call


def _make_keras(path):
    import keras

    keras.utils.set_random_seed(7)
    dense = keras.layers.Dense
    layers = [keras.Input((FEATURES,)), dense(64, "relu"), dense(64, "relu"), dense(CLASSES, "softmax")]
    keras.Sequential(layers).save(path)


def _open_keras(path):
    import keras
    import torch

    torch.set_num_threads(1)
    model = keras.saving.load_model(path, compile=False)
    return partial(model.predict, verbose=0)


KINDS = {
    "forest": (_sklearn(partial(_forest, 100)), _open_sklearn),
    "pipeline": (_sklearn(_pipeline), _open_sklearn),
    "xgboost": (_make_xgboost, _open_xgboost),
    "lightgbm": (_make_lightgbm, _open_lightgbm),
    "catboost": (_make_catboost, _open_catboost),
    "torchscript": (_make_torchscript, _open_torchscript),
    "keras": (_make_keras, _open_keras),
    "native-forest": (_sklearn(partial(_forest, 300)), _open_sklearn),
    "native-booster": (partial(_make_lightgbm, trees=1000, leaves=127), _open_lightgbm),
    "native-torch": (_make_image_classifier, _open_torchscript),
}


def rows_of(kind, count):
    """Real rows for a kind, FP32."""
    if kind == "native-torch":
        return np.random.default_rng(5).standard_normal((count, *IMAGE), dtype=np.float32)
    return np.ascontiguousarray(np.resize(table()[0], (count, FEATURES)))


def make(kind, path):
    """The file, and beside it questions with their answers."""
    write, read = KINDS[kind]
    write(path)
    rows = rows_of(kind, QUESTIONS)
    np.savez(path + ".npz", rows=rows, scores=np.asarray(read(path)(rows), np.float32))


def loop(call, batches, seconds):
    """Calls a second, of batches in turn: one that is asked again and again is in every cache."""
    call(batches[0])
    runs, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        call(batches[runs % len(batches)])
        runs += 1
    return runs / spent


def batches_of(kind, rows):
    """The questions that servers are asked, so many rows at a time."""
    pool = rows_of(kind, max(rows, QUESTIONS))
    return [pool[at : at + rows] for at in range(0, len(pool) - rows + 1, rows)]


def answer(call, kind):
    """Say that it is ready, then answer lines until there are no more."""
    print("ready", flush=True)
    for line in sys.stdin:
        rows, seconds = line.split()
        print(loop(call, batches_of(kind, int(rows)), float(seconds)), flush=True)


if __name__ == "__main__":
    verb, kind, path = sys.argv[1:]
    if verb == "make":
        make(kind, path)
    else:
        answer(KINDS[kind][1](path), kind)
