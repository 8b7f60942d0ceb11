"""The script people write: Flask, a pickle, `app.run(threaded=True)`.

With `--one-pass` the label is read off the scores instead of asking the forest twice, which few
scripts do and which halves the work.
"""

import pickle
import sys

import numpy as np
from flask import Flask, jsonify, request

path, port = sys.argv[1], int(sys.argv[2])
one_pass = "--one-pass" in sys.argv
with open(path, "rb") as file:
    model = pickle.load(file)
app = Flask(__name__)


@app.post("/predict")
def predict():
    rows = np.array(request.get_json()["rows"], dtype=np.float32)
    scores = model.predict_proba(rows)
    labels = model.classes_[scores.argmax(axis=1)] if one_pass else model.predict(rows)
    return jsonify(labels=labels.tolist(), scores=scores.tolist())


app.run(host="127.0.0.1", port=port, threaded=True)
