"""LitServe, with its own batching as its guide has it.   python lit.py MODEL PORT"""

import sys

import litserve
from session import Session

MODEL, PORT = sys.argv[1], int(sys.argv[2])


class Api(litserve.LitAPI):
    """The protocol's JSON in, its JSON out."""

    def setup(self, device):
        """Load the model."""
        self.session = Session(MODEL)

    def predict(self, asked):
        """Answer a request."""
        return self.session.reply(asked)


if __name__ == "__main__":
    server = litserve.LitServer(Api(api_path="/infer"), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="error", num_api_servers=2)
