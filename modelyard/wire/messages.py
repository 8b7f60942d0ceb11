"""Message classes of V2 gRPC, Triton's extensions and grpc.health.v1, made from the tables below.

One rule: they live in a descriptor pool of their own. Other libraries in the process (tritonclient, for
one) register the same names in the default pool, and two files of one name there end the process.
Field numbers are those of open_inference_grpc.proto, of Triton's grpc_service.proto and model_config.proto
(of the latter what we fill) and of gRPC's health.proto; a test compares them.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from modelyard.core.errors import BadRequest

_SCALARS = {
    "double": 1,
    "float": 2,
    "int64": 3,
    "uint64": 4,
    "int32": 5,
    "bool": 8,
    "string": 9,
    "message": 11,
    "bytes": 12,
    "uint32": 13,
    "enum": 14,
}
# "name number type"; "*" after a type: repeated; "map": string -> InferParameter, or to what follows the
# colon; "|": in one oneof.
_TENSOR = "name 1 string, datatype 2 string, shape 3 int64*, parameters 4 map, contents 5 InferTensorContents"
_REF = "name 1 string, version 2 string"
_REGION = "name 1 string, key 2 string, offset 3 uint64, byte_size 4 uint64"
_LOG_VALUE = "bool_param 1 |bool, uint32_param 2 |uint32, string_param 3 |string"
_V2 = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "live 1 bool",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "ready 1 bool",
    "ModelReadyRequest": _REF,
    "ModelReadyResponse": "ready 1 bool",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "name 1 string, version 2 string, extensions 3 string*",
    "ModelMetadataRequest": _REF,
    "ModelMetadataResponse": "name 1 string, versions 2 string*, platform 3 string,"
    " inputs 4 ModelMetadataResponse.TensorMetadata*, outputs 5 ModelMetadataResponse.TensorMetadata*",
    "ModelMetadataResponse.TensorMetadata": "name 1 string, datatype 2 string, shape 3 int64*",
    "InferParameter": "bool_param 1 |bool, int64_param 2 |int64, string_param 3 |string,"
    " double_param 4 |double, uint64_param 5 |uint64",
    "InferTensorContents": "bool_contents 1 bool*, int_contents 2 int32*, int64_contents 3 int64*,"
    " uint_contents 4 uint32*, uint64_contents 5 uint64*, fp32_contents 6 float*, fp64_contents 7 double*,"
    " bytes_contents 8 bytes*",
    "ModelInferRequest": "model_name 1 string, model_version 2 string, id 3 string, parameters 4 map,"
    " inputs 5 ModelInferRequest.InferInputTensor*,"
    " outputs 6 ModelInferRequest.InferRequestedOutputTensor*, raw_input_contents 7 bytes*",
    "ModelInferRequest.InferInputTensor": _TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": "name 1 string, parameters 2 map",
    "ModelInferResponse": "model_name 1 string, model_version 2 string, id 3 string, parameters 4 map,"
    " outputs 5 ModelInferResponse.InferOutputTensor*, raw_output_contents 6 bytes*",
    "ModelInferResponse.InferOutputTensor": _TENSOR,
}
_TRITON = {
    "ModelRepositoryParameter": "bool_param 1 |bool, int64_param 2 |int64, string_param 3 |string,"
    " bytes_param 4 |bytes",
    "RepositoryIndexRequest": "repository_name 1 string, ready 2 bool",
    "RepositoryIndexResponse": "models 1 RepositoryIndexResponse.ModelIndex*",
    "RepositoryIndexResponse.ModelIndex": "name 1 string, version 2 string, state 3 string, reason 4 string",
    "RepositoryModelLoadRequest": "repository_name 1 string, model_name 2 string,"
    " parameters 3 map:ModelRepositoryParameter",
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": "repository_name 1 string, model_name 2 string,"
    " parameters 3 map:ModelRepositoryParameter",
    "RepositoryModelUnloadResponse": "",
    "StatisticDuration": "count 1 uint64, ns 2 uint64",
    "InferStatistics": "success 1 StatisticDuration, fail 2 StatisticDuration, queue 3 StatisticDuration,"
    " compute_input 4 StatisticDuration, compute_infer 5 StatisticDuration,"
    " compute_output 6 StatisticDuration, cache_hit 7 StatisticDuration, cache_miss 8 StatisticDuration",
    "InferBatchStatistics": "batch_size 1 uint64, compute_input 2 StatisticDuration,"
    " compute_infer 3 StatisticDuration, compute_output 4 StatisticDuration",
    "InferResponseStatistics": "compute_infer 1 StatisticDuration, compute_output 2 StatisticDuration,"
    " success 3 StatisticDuration, fail 4 StatisticDuration, empty_response 5 StatisticDuration,"
    " cancel 6 StatisticDuration",
    "MemoryUsage": "type 1 string, id 2 int64, byte_size 3 uint64",
    "ModelStatisticsRequest": _REF,
    "ModelStatistics": "name 1 string, version 2 string, last_inference 3 uint64, inference_count 4 uint64,"
    " execution_count 5 uint64, inference_stats 6 InferStatistics, batch_stats 7 InferBatchStatistics*,"
    " memory_usage 8 MemoryUsage*, response_stats 9 map:InferResponseStatistics",
    "ModelStatisticsResponse": "model_stats 1 ModelStatistics*",
    "ModelConfigRequest": _REF,
    "ModelConfigResponse": "config 1 ModelConfig",
    "TraceSettingRequest": "settings 1 map:TraceSettingRequest.SettingValue, model_name 2 string",
    "TraceSettingRequest.SettingValue": "value 1 string*",
    "TraceSettingResponse": "settings 1 map:TraceSettingResponse.SettingValue",
    "TraceSettingResponse.SettingValue": "value 1 string*",
    "LogSettingsRequest": "settings 1 map:LogSettingsRequest.SettingValue",
    "LogSettingsRequest.SettingValue": _LOG_VALUE,
    "LogSettingsResponse": "settings 1 map:LogSettingsResponse.SettingValue",
    "LogSettingsResponse.SettingValue": _LOG_VALUE,
    "SystemSharedMemoryStatusRequest": "name 1 string",
    "SystemSharedMemoryStatusResponse": "regions 1 map:SystemSharedMemoryStatusResponse.RegionStatus",
    "SystemSharedMemoryStatusResponse.RegionStatus": _REGION,
    "SystemSharedMemoryRegisterRequest": _REGION,
    "SystemSharedMemoryUnregisterRequest": "name 1 string",
}
_CONFIG = {
    "ModelInput": "name 1 string, data_type 2 enum:DataType, dims 4 int64*",
    "ModelOutput": "name 1 string, data_type 2 enum:DataType, dims 3 int64*",
    "ModelVersionPolicy": "specific 3 |ModelVersionPolicy.Specific",
    "ModelVersionPolicy.Specific": "versions 1 int64*",
    "ModelDynamicBatching": "preferred_batch_size 1 int32*, max_queue_delay_microseconds 2 uint64",
    "ModelTransactionPolicy": "decoupled 1 bool",
    "ModelConfig": "name 1 string, platform 2 string, version_policy 3 ModelVersionPolicy,"
    " max_batch_size 4 int32, input 5 ModelInput*, output 6 ModelOutput*,"
    " dynamic_batching 11 |ModelDynamicBatching, backend 17 string,"
    " model_transaction_policy 19 ModelTransactionPolicy",
}
_ONEOF = {"ModelVersionPolicy": "policy_choice", "ModelConfig": "scheduling_choice"}
"""The names of oneofs that are not a parameter_choice."""
_DATA_TYPES = (
    "INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16",
    "FP32", "FP64", "STRING", "BF16",
)  # fmt: skip
_HEALTH = {
    "HealthCheckRequest": "service 1 string",
    "HealthCheckResponse": "status 1 enum:HealthCheckResponse.ServingStatus",
}
_SERVING = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


def _fill(message: Any, package: str, path: str, fields: str) -> None:
    """Add the fields of one line of a table."""
    for line in filter(None, (part.strip() for part in fields.split(","))):
        name, number, kind = line.split()
        field = message.field.add(name=name, number=int(number), label=3 if kind.endswith("*") else 1)
        kind = kind.rstrip("*")
        if kind.startswith("|"):
            kind = kind[1:]
            if not message.oneof_decl:
                message.oneof_decl.add(name=_ONEOF.get(path, "parameter_choice"))
            field.oneof_index = 0
        if kind.startswith("map"):
            inner = "".join(word.title() for word in name.split("_")) + "Entry"
            entry = message.nested_type.add(name=inner)
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, type=_SCALARS["string"], label=1)
            value = entry.field.add(name="value", number=2, type=_SCALARS["message"], label=1)
            value.type_name = f".{package}.{kind[4:] or 'InferParameter'}"
            field.label, field.type = 3, _SCALARS["message"]
            field.type_name = f".{package}.{path}.{inner}"
        elif kind.startswith("enum:"):
            field.type, field.type_name = _SCALARS["enum"], f".{package}.{kind[5:]}"
        elif kind in _SCALARS:
            field.type = _SCALARS[kind]
        else:
            field.type, field.type_name = _SCALARS["message"], f".{package}.{kind}"


def _file(name: str, package: str, table: dict[str, str]) -> Any:
    file = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3")
    made: dict[str, Any] = {}
    for path, fields in table.items():
        outer, _, inner = path.rpartition(".")
        message = made[outer].nested_type.add(name=inner) if outer else file.message_type.add(name=inner)
        made[path] = message
        _fill(message, package, path, fields)
    return file


def message_classes(name: str, package: str, table: dict[str, str]) -> dict[str, Any]:
    """The messages of a table as classes, in a pool of their own: message -> class."""
    pool: Any = descriptor_pool.DescriptorPool()
    pool.Add(_file(name, package, table))
    return {
        path: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{path}"))
        for path in table
    }


_pool: Any = descriptor_pool.DescriptorPool()
_config = _file("modelyard/model_config.proto", "inference", _CONFIG)
_data_type = _config.enum_type.add(name="DataType")
for _number, _name in enumerate(_DATA_TYPES):
    _data_type.value.add(name=f"TYPE_{_name}", number=_number)
_pool.Add(_config)
_inference = _file("modelyard/inference.proto", "inference", {**_V2, **_TRITON})
_inference.dependency.append("modelyard/model_config.proto")
_pool.Add(_inference)
_health = _file("modelyard/health.proto", "grpc.health.v1", _HEALTH)
_status = _health.message_type[1].enum_type.add(name="ServingStatus")
for _number, _name in enumerate(_SERVING):
    _status.value.add(name=_name, number=_number)
_pool.Add(_health)


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(name))


ModelRef = _class("inference.ModelReadyRequest")
"""ModelReadyRequest and its like: a name and a version."""
ServerLiveResponse = _class("inference.ServerLiveResponse")
ReadyResponse = _class("inference.ServerReadyResponse")
"""ServerReadyResponse and ModelReadyResponse alike."""
ServerMetadataResponse = _class("inference.ServerMetadataResponse")
ModelMetadataResponse = _class("inference.ModelMetadataResponse")
ModelInferRequest = _class("inference.ModelInferRequest")
ModelInferResponse = _class("inference.ModelInferResponse")
InferInputTensor = _class("inference.ModelInferRequest.InferInputTensor")
InferTensorContents = _class("inference.InferTensorContents")
RepositoryIndexRequest = _class("inference.RepositoryIndexRequest")
RepositoryIndexResponse = _class("inference.RepositoryIndexResponse")
RepositoryModelLoadRequest = _class("inference.RepositoryModelLoadRequest")
"""RepositoryModelLoadRequest and RepositoryModelUnloadRequest alike."""
ModelStatisticsResponse = _class("inference.ModelStatisticsResponse")
ModelConfigResponse = _class("inference.ModelConfigResponse")
InferParameter = _class("inference.InferParameter")
TraceSettingRequest = _class("inference.TraceSettingRequest")
TraceSettingResponse = _class("inference.TraceSettingResponse")
LogSettingsRequest = _class("inference.LogSettingsRequest")
LogSettingsResponse = _class("inference.LogSettingsResponse")
SharedMemoryName = _class("inference.SystemSharedMemoryStatusRequest")
"""SystemSharedMemoryStatusRequest and its like, CUDA's too: a name."""
SharedMemoryRegister = _class("inference.SystemSharedMemoryRegisterRequest")
SharedMemoryStatus = _class("inference.SystemSharedMemoryStatusResponse")
HealthCheckRequest = _class("grpc.health.v1.HealthCheckRequest")
HealthCheckResponse = _class("grpc.health.v1.HealthCheckResponse")


def parse(kind: Any, payload: bytes) -> Any:
    """Read a message.

    Raises:
        BadRequest: malformed.
    """
    try:
        return kind.FromString(payload)
    except DecodeError:
        raise BadRequest(f"malformed protobuf message: not a {kind.DESCRIPTOR.name}") from None


POOL = _pool
"""For a test that compares it with the canonical files."""
