"""An ONNX model behind the Open Inference Protocol v2: a runtime for mlserver, which `make serve` starts."""

from __future__ import annotations

import numpy as np
import onnxruntime
from mlserver import MLModel, types
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.types import MetadataTensor
from mlserver.utils import get_model_uri

DATATYPES = {"tensor(float)": "FP32", "tensor(float16)": "FP16", "tensor(double)": "FP64", "tensor(int64)": "INT64"}


class OnnxRuntime(MLModel):  # type: ignore[misc] # mlserver is not installed where this is checked
    """Serves the first input and the first output of the file that `parameters.uri` names, and says what they are."""

    async def load(self) -> bool:
        """Reads the file."""
        self._session = onnxruntime.InferenceSession(
            await get_model_uri(self._settings), providers=["CPUExecutionProvider"]
        )
        self._input, self._output = self._session.get_inputs()[0], self._session.get_outputs()[0]
        self.inputs, self.outputs = [_described(self._input)], [_described(self._output)]
        return True

    async def predict(self, payload: types.InferenceRequest) -> types.InferenceResponse:
        """Scores of one batch."""
        images = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        try:
            (scores,) = self._session.run([self._output.name], {self._input.name: images.astype(np.float32)})
        except Exception as error:
            raise InferenceError(f"the model cannot take these images: {error}") from error
        output = NumpyCodec.encode_output(self._output.name, scores)
        return types.InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])


def _described(tensor: onnxruntime.NodeArg) -> MetadataTensor:
    shape = [size if isinstance(size, int) else -1 for size in tensor.shape]
    return MetadataTensor(name=tensor.name, datatype=DATATYPES[tensor.type], shape=shape)
