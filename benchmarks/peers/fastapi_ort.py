"""FastAPI, pydantic, uvicorn with uvloop and httptools, orjson, ONNX Runtime.

`async def`, because a thread hop costs more than this model, and orjson for the answer. With `--plain`
it is what most tutorials show: a plain `def`, and a dict that FastAPI encodes.
"""

import sys

import numpy as np
import orjson
import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel
from v2 import Session

path, port, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
model = Session(path)
app = FastAPI()


class Tensor(BaseModel):
    name: str
    datatype: str
    shape: list[int]
    data: list[float]


class Infer(BaseModel):
    inputs: list[Tensor]


def answer_to(body: Infer) -> dict:
    tensor = body.inputs[0]
    rows = np.array(tensor.data, dtype=np.float32).reshape(tensor.shape)
    return model.answer(name, model.run(rows))


async def infer(body: Infer) -> Response:
    answer = answer_to(body)
    return Response(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


def infer_plain(body: Infer) -> dict:
    answer = answer_to(body)
    for tensor in answer["outputs"]:
        tensor["data"] = tensor["data"].tolist()
    return answer


app.post(f"/v2/models/{name}/infer")(infer_plain if "--plain" in sys.argv else infer)
uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)
