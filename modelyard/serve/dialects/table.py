"""The dialects. Where several claim a path, the first that takes the call answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.core.table import Table

if TYPE_CHECKING:
    from modelyard.serve.dialects.dialect import Dialect
    from modelyard.serve.dialects.rpc import RpcDialect

DIALECTS: Table[type[Dialect]] = Table(
    {
        "tfserving": "modelyard.serve.dialects.tfserving:TensorFlowServing",
        "kserve1": "modelyard.serve.dialects.kserve1:KServeV1",
        "torchserve": "modelyard.serve.dialects.torchserve:TorchServe",
        "sagemaker": "modelyard.serve.dialects.sagemaker:SageMaker",
        "mlflow": "modelyard.serve.dialects.mlflow:MlflowScoring",
        "vertex": "modelyard.serve.dialects.vertex:Vertex",
    },
    "dialect",
)

EXTENSIONS: Table[type[Dialect]] = Table(
    {"triton": "modelyard.serve.dialects.triton:TritonRest"}, "extension of V2"
)
"""Always there: they are part of the protocol of the inference port."""

RPC_DIALECTS: Table[type[RpcDialect]] = Table(
    {
        "tfserving": "modelyard.serve.dialects.tfserving_rpc:TensorFlowServingRpc",
        "torchserve": "modelyard.serve.dialects.torchserve_rpc:TorchServeRpc",
    },
    "gRPC dialect",
)
