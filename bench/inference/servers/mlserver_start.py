"""Starts MLServer with the runtime beside this file; adaptive batching is off, for it waits by a clock.

python mlserver_start.py MODEL PORT GRPC_PORT
"""

import json
import os
import sys
import tempfile
from pathlib import Path

model = Path(sys.argv[1]).resolve()
folder = Path(tempfile.mkdtemp(dir=model.parent))
ports = {"http_port": int(sys.argv[2]), "grpc_port": int(sys.argv[3]), "metrics_port": int(sys.argv[3]) + 1}
(folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "debug": False, "parallel_workers": 0, **ports}))
served = {"name": "model", "implementation": "mlserver_model.Runtime", "parameters": {"uri": str(model)}}
(folder / "model-settings.json").write_text(json.dumps(served))
os.environ["PYTHONPATH"] = str(Path(__file__).parent)
os.execvp("mlserver", ["mlserver", "start", str(folder)])
