"""A bare ONNX Runtime loop: the ceiling for a server on the same core. Prints rows/s for each batch size."""

import sys
import time

import numpy as np
import onnxruntime as ort

path, seconds, *sizes = sys.argv[1:]
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
source = session.get_inputs()[0]
rows = np.random.default_rng(1).standard_normal((64, source.shape[1]), dtype=np.float32)
for size in map(int, sizes):
    feed = {source.name: rows[:size]}
    session.run(None, feed)
    runs, began = 0, time.perf_counter()
    while time.perf_counter() - began < float(seconds):
        session.run(None, feed)
        runs += 1
    print(size, runs * size / (time.perf_counter() - began), flush=True)
