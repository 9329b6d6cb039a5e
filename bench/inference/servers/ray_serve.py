"""Ray Serve, one replica behind its HAProxy, optimised for throughput.   python ray_serve.py MODEL PORT"""

import os
import sys
import time

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
}  # read at import
from pathlib import Path

import ray
from ray import serve

HERE = str(Path(__file__).parent)


@serve.deployment(num_replicas=1, max_ongoing_requests=128, ray_actor_options={"num_cpus": 0.5})
class Served:
    """The protocol's JSON in, its JSON out."""

    def __init__(self, path):
        sys.path.insert(0, HERE)
        from session import Session

        self.session = Session(path)

    async def __call__(self, request):
        """Answer a request."""
        return self.session.reply(await request.json())


if __name__ == "__main__":
    ray.init(include_dashboard=False, configure_logging=False, log_to_driver=False, num_cpus=2)
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(sys.argv[2])}, logging_config={"enable_access_log": False}
    )
    serve.run(Served.bind(str(Path(sys.argv[1]).resolve())), route_prefix="/infer")
    while True:
        time.sleep(60)
