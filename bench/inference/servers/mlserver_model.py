"""The runtime that MLServer loads."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse
from session import Session


class Runtime(MLModel):
    """Answers by ONNX Runtime."""

    async def load(self):
        """Load the model."""
        self.session = Session(self.settings.parameters.uri)
        return True

    async def predict(self, payload):
        """Answer a request."""
        found = self.session.answer(NumpyCodec.decode_input(payload.inputs[0]))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("output", found)])
