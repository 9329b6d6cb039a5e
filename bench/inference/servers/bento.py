"""BentoML, one service with one endpoint.   python bento.py MODEL PORT"""

import os
import sys
from pathlib import Path

import bentoml

if __name__ == "__main__":
    os.environ["BENCH_MODEL"] = str(Path(sys.argv[1]).resolve())
    os.environ["BENTOML_DO_NOT_TRACK"] = "1"
    os.chdir(Path(__file__).parent)
    command = [sys.executable, "-m", "bentoml", "serve", "bento:Service", "--host", "127.0.0.1", "--port", sys.argv[2]]
    os.execv(sys.executable, command)


@bentoml.service(workers=2, traffic={"timeout": 60}, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Service:
    """The protocol's JSON in, its JSON out."""

    def __init__(self):
        from session import Session

        self.session = Session(os.environ["BENCH_MODEL"])

    @bentoml.api(route="/infer")
    def infer(self, inputs: list) -> dict:
        """Answer a request."""
        return self.session.reply({"inputs": inputs})
