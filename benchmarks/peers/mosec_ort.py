"""mosec: one worker, dynamic batches of up to 32 requests, 1 ms of waiting, orjson."""

import os

import numpy as np
import orjson
from mosec import Server, Worker
from v2 import Session, rows_of

NAME = os.environ["MODEL_NAME"]


class Infer(Worker):
    def __init__(self) -> None:
        super().__init__()
        self.model = Session(os.environ["MODEL_PATH"])

    def deserialize(self, data: bytes) -> np.ndarray:
        return rows_of(orjson.loads(data)["inputs"][0])

    def forward(self, data: list[np.ndarray]) -> list[dict]:
        outputs = self.model.run(np.concatenate(data))
        ends = np.cumsum([len(rows) for rows in data])[:-1]
        parts = zip(*(np.split(out, ends) for out in outputs), strict=True)
        return [self.model.answer(NAME, list(part)) for part in parts]

    def serialize(self, data: dict) -> bytes:
        return orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Infer, num=1, max_batch_size=32, max_wait_time=1)
    server.run()
