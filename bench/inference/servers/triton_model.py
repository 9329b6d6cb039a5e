"""The model as Triton's Python back end runs it: what Triton batched is answered by one call."""

import json

import numpy as np
import triton_python_backend_utils as triton
from session import Session


class TritonPythonModel:
    """Answers by ONNX Runtime."""

    def initialize(self, arguments):
        """Load the model."""
        told = json.loads(arguments["model_config"])["parameters"]
        self.session = Session(told["file"]["string_value"])

    def execute(self, requests):
        """Answer a batch of requests."""
        rows = [triton.get_input_tensor_by_name(one, "input").as_numpy() for one in requests]
        found = self.session.answer(np.concatenate(rows))
        ends = np.cumsum([len(one) for one in rows])[:-1]
        return [triton.InferenceResponse([triton.Tensor("output", part)]) for part in np.split(found, ends)]
