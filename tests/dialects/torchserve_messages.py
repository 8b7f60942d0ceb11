"""TorchServe's messages as a client has them: real protobuf classes, in a pool of their own.

Written from pytorch/serve frontend/server/src/main/resources/proto/{inference,management}.proto.
"""

from proto_messages import load_messages

INFERENCE = """
message Empty { }
message PredictionsRequest { string model_name = 1; string model_version = 2; repeated Input input = 3 }
message Input { string key = 1; bytes value = 2 }
message PredictionResponse { bytes prediction = 1 }
message TorchServeHealthResponse { string health = 1 }
"""
MANAGEMENT = """
message ManagementResponse { string msg = 1 }
message DescribeModelRequest { string model_name = 1; string model_version = 2; bool customized = 3 }
message ListModelsRequest { int32 limit = 1; int32 next_page_token = 2 }
message RegisterModelRequest { int32 batch_size = 1; string handler = 2; int32 initial_workers = 3;
  int32 max_batch_delay = 4; string model_name = 5; int32 response_timeout = 6; string runtime = 7;
  bool synchronous = 8; string url = 9; bool s3_sse_kms = 10; int32 queue_timeout = 11 }
message ScaleWorkerRequest { string model_name = 1; string model_version = 2; int32 max_worker = 3;
  int32 min_worker = 4; int32 number_gpu = 5; bool synchronous = 6; int32 timeout = 7 }
message SetDefaultRequest { string model_name = 1; string model_version = 2 }
message UnregisterModelRequest { string model_name = 1; string model_version = 2 }
"""
SERVICE = "org.pytorch.serve.grpc.{}.{}APIsService"
inference = load_messages(INFERENCE, "ts_inference")
management = load_messages(MANAGEMENT, "ts_management")


def predictions(name, inputs, version=""):
    """A PredictionsRequest; on the wire a map is a list of entries."""
    made = inference["PredictionsRequest"](model_name=name, model_version=version)
    for key, value in inputs.items():
        made.input.add(key=key, value=value)
    return made


def infer(channel, method, request):
    """A unary call of the inference service."""
    gives = "TorchServeHealthResponse" if method == "Ping" else "PredictionResponse"
    call = channel.unary_unary(
        f"/{SERVICE.format('inference', 'Inference')}/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=inference[gives].FromString,
    )
    return call(request, timeout=20)


def manage(channel, method, **fields):
    """The text that a call of the management service answers."""
    call = channel.unary_unary(
        f"/{SERVICE.format('management', 'Management')}/{method}",
        request_serializer=management[f"{method}Request"].SerializeToString,
        response_deserializer=management["ManagementResponse"].FromString,
    )
    return call(management[f"{method}Request"](**fields), timeout=60).msg
