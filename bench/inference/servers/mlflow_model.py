"""Saves the model in MLflow's form and becomes `mlflow models serve`.   python mlflow_model.py MODEL PORT"""

import os
import sys
import tempfile

import mlflow
import onnx

folder = os.path.join(tempfile.mkdtemp(dir=os.path.dirname(os.path.abspath(sys.argv[1]))), "model")
mlflow.onnx.save_model(onnx.load(sys.argv[1]), folder, onnx_session_options={"intra_op_num_threads": 1})
os.environ["MLFLOW_ENABLE_MLSERVER"] = "false"
command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", folder, "-p", sys.argv[2], "--env-manager", "local"]
os.execv(sys.executable, [*command, "-h", "127.0.0.1"])
