"""A custom MLServer runtime around ONNX Runtime, for what its scikit-learn runtime does not serve."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from v2 import Session


class OnnxModel(MLModel):
    async def load(self) -> bool:
        self.model = Session(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32, copy=False)
        outputs = zip(self.model.outputs, self.model.run(rows), strict=True)
        tensors = [NumpyCodec.encode_output(label, out) for (label, _), out in outputs]
        return InferenceResponse(model_name=self.name, outputs=tensors)
