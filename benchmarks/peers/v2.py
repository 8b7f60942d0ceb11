"""The plainest honest way from an Open Inference Protocol body to ONNX Runtime and back."""

import numpy as np
import onnxruntime as ort

DTYPES = {"tensor(float)": "FP32", "tensor(int64)": "INT64", "tensor(double)": "FP64"}


class Session:
    """One ONNX Runtime session with one thread, as fits a server that owns one core."""

    def __init__(self, path: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.outputs = [(out.name, DTYPES[out.type]) for out in self.session.get_outputs()]

    def run(self, rows: np.ndarray) -> list[np.ndarray]:
        return self.session.run(None, {self.input: rows})

    def answer(self, name: str, outputs: list[np.ndarray]) -> dict:
        """The V2 answer; the arrays are for an encoder that knows numpy."""
        tensors = [
            {"name": label, "datatype": dtype, "shape": out.shape, "data": out.ravel()}
            for (label, dtype), out in zip(self.outputs, outputs, strict=True)
        ]
        return {"model_name": name, "outputs": tensors}


def rows_of(tensor: dict) -> np.ndarray:
    """The numbers of one V2 JSON tensor."""
    return np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
