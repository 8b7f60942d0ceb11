"""Triton's Python backend around ONNX Runtime: one execute call for each dynamic batch."""

import json

import numpy as np
import triton_python_backend_utils as pb
from v2 import Session


class TritonPythonModel:
    def initialize(self, args: dict) -> None:
        config = json.loads(args["model_config"])
        self.model = Session(config["parameters"]["path"]["string_value"])

    def execute(self, requests: list) -> list:
        inputs = [pb.get_input_tensor_by_name(request, self.model.input).as_numpy() for request in requests]
        outputs = self.model.run(np.concatenate(inputs))
        ends = np.cumsum([len(rows) for rows in inputs])[:-1]
        names = [label for label, _ in self.model.outputs]
        parts = zip(*(np.split(out, ends) for out in outputs), strict=True)
        return [
            pb.InferenceResponse([pb.Tensor(label, out) for label, out in zip(names, part, strict=True)])
            for part in parts
        ]
