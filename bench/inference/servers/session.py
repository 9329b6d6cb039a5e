"""What the small servers of this folder share: a session on one thread, and the protocol's JSON in and out.

These files run in the peers' environments, which have no Sill in them.
"""

import numpy as np
import onnxruntime

KINDS = {"FP32": np.float32, "INT64": np.int64}


class Session:
    """One ONNX model with one input and one output."""

    def __init__(self, path):
        self._path = path
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options)

    def __reduce__(self):
        """A process that gets it loads it anew: KServe hands models to its workers."""
        return Session, (self._path,)

    def answer(self, array):
        """The output for the input."""
        return self._session.run(["output"], {"input": array})[0]

    def reply(self, asked):
        """The protocol's answer, as a value, to its request, as a value."""
        given = asked["inputs"][0]
        array = np.array(given["data"], dtype=KINDS[given["datatype"]]).reshape(given["shape"])
        found = self.answer(array)
        output = {"name": "output", "datatype": "FP32", "shape": list(found.shape), "data": found.ravel().tolist()}
        return {"model_name": "model", "outputs": [output]}
