"""Runs the examples of docs/autolog one after the other in this process and says what each did, as JSON.

It runs in the peer's environment, without Sill: python examples.py FOLDER NAME...
"""

import contextlib
import importlib
import json
import sys
import time
import traceback

import mlflow
import numpy


def run(name: str) -> dict[str, object]:
    """What the example did, or the error it ended with."""
    started_s = time.monotonic()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            did = importlib.import_module(name).main()
    except Exception:
        return {"error": traceback.format_exc()}
    return {
        "run": did["run"],
        "scores": int(numpy.size(did["scored"])),
        "is_same": bool(numpy.array_equal(did["scored"], did["again"])),
        "took_s": round(time.monotonic() - started_s, 1),
    }


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    mlflow.set_experiment("autolog")
    print(json.dumps({name: run(name) for name in sys.argv[2:]}))
