"""PyTriton's own interface: bind a function, dynamic batching on."""

import sys

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from v2 import Session

path, port, grpc_port, name = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
model = Session(path)
KINDS = {"FP32": np.float32, "INT64": np.int64, "FP64": np.float64}


@batch
def infer(**inputs: np.ndarray) -> dict[str, np.ndarray]:
    outputs = zip(model.outputs, model.run(inputs[model.input]), strict=True)
    return {label: out.reshape(len(out), -1) for (label, _), out in outputs}


config = TritonConfig(
    http_address="127.0.0.1",
    http_port=port,
    grpc_address="127.0.0.1",
    grpc_port=grpc_port,
    allow_metrics=False,
)
shape = tuple(size for size in model.session.get_inputs()[0].shape[1:])
outputs = [
    Tensor(name=out.name, dtype=KINDS[kind], shape=tuple(out.shape[1:]) or (1,))
    for out, (_, kind) in zip(model.session.get_outputs(), model.outputs, strict=True)
]
with Triton(config=config) as triton:
    triton.bind(
        model_name=name,
        infer_func=infer,
        inputs=[Tensor(name=model.input, dtype=np.float32, shape=shape)],
        outputs=outputs,
        config=ModelConfig(max_batch_size=128, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
    )
    triton.serve()
