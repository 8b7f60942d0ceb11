"""LitServe: one worker, batches of up to 32 requests, 1 ms of waiting, its fast queue."""

import sys

import numpy as np
import orjson
from fastapi import Response
from litserve import LitAPI, LitServer
from v2 import Session, rows_of

path, port, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]


class Infer(LitAPI):
    def setup(self, device: str) -> None:
        self.model = Session(path)

    def decode_request(self, request: dict) -> np.ndarray:
        return rows_of(request["inputs"][0])

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(inputs)

    def predict(self, rows: np.ndarray) -> list[np.ndarray]:
        return self.model.run(rows)

    def unbatch(self, output: list[np.ndarray]) -> list[list[np.ndarray]]:
        return [[out[i : i + 1] for out in output] for i in range(len(output[0]))]

    def encode_response(self, output: list[np.ndarray]) -> Response:
        body = orjson.dumps(self.model.answer(name, output), option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(body, media_type="application/json")


if __name__ == "__main__":
    api = Infer(max_batch_size=32, batch_timeout=0.001)
    server = LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1", port=port, num_api_servers=1, log_level="warning", generate_client_file=False
    )
