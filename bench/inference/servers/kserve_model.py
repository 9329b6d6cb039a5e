"""KServe's model server with a model of our own.   python kserve_model.py MODEL PORT GRPC_PORT"""

import os
import sys

os.environ["KSERVE_LOGLEVEL"] = "WARNING"  # it logs three lines a request otherwise; read at import, in each process
import kserve
from kserve.protocol.infer_type import InferOutput, InferResponse
from session import Session


class Model(kserve.Model):
    """Answers by ONNX Runtime."""

    def __init__(self, path):
        super().__init__("model")
        self.session = Session(path)
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None):
        """Answer a request."""
        found = self.session.answer(payload.inputs[0].as_numpy())
        output = InferOutput("output", list(found.shape), "FP32")
        output.set_data_from_numpy(found, binary_data=bool((payload.parameters or {}).get("binary_data_output")))
        return InferResponse(response_id=payload.id or "1", model_name="model", infer_outputs=[output])


if __name__ == "__main__":
    server = kserve.ModelServer(
        http_port=int(sys.argv[2]),
        grpc_port=int(sys.argv[3]),
        workers=2,
        access_log_format=None,
        enable_latency_logging=False,
    )
    server.start([Model(sys.argv[1])])
