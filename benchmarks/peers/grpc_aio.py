"""grpc.aio with tritonclient's generated V2 stubs and ONNX Runtime: the plain servicer."""

import asyncio
import sys

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc
from v2 import Session

path, port, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
model = Session(path)


class Service(service_pb2_grpc.GRPCInferenceServiceServicer):
    async def ServerReady(self, request, context):  # noqa: N802 - the method of the service
        return service_pb2.ServerReadyResponse(ready=True)

    async def ModelInfer(self, request, context):  # noqa: N802 - the method of the service
        shape = tuple(request.inputs[0].shape)
        rows = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(shape)
        reply = service_pb2.ModelInferResponse(model_name=name, id=request.id)
        for (label, dtype), out in zip(model.outputs, model.run(rows), strict=True):
            reply.outputs.add(name=label, datatype=dtype, shape=out.shape)
            reply.raw_output_contents.append(out.tobytes())
        return reply


async def main() -> None:
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Service(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


asyncio.run(main())
