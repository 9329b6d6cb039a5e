"""ONNX Runtime without a server: how long one row takes, and how many rows a second the best batch gives.

A process of its own, so that its threads meet nobody else's.   python direct.py MODEL < ROWS (npy) > FOUND (JSON)
"""

import io
import json
import sys
import threading
import time
from typing import Any

SECONDS = 0.6
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


def main() -> None:
    """Measure."""
    import numpy as np

    rows = np.load(io.BytesIO(sys.stdin.buffer.read()))
    alone = session(1)
    answer = run(alone, rows[:1])
    wide, narrow = session(0), [session(1) for _ in range(cores())]
    per_s = {f"{size} wide": rate([wide], rows[:size]) for size in BATCHES}
    per_s |= {f"{size} in {len(narrow)} lanes": rate(narrow, rows[:size]) for size in BATCHES}
    best = max(per_s, key=lambda name: per_s[name])
    found = {"row_ms": row_ms(alone, rows[:1]), "wide_row_ms": row_ms(wide, rows[:1]), "best": best}
    json.dump(found | {"per_s": per_s[best], "answer": answer.ravel().tolist()}, sys.stdout)


def session(threads: int) -> Any:
    """A session on so many threads; 0: one for each core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(sys.argv[1], options)


def run(one: Any, rows: Any) -> Any:
    """The output for rows."""
    return one._sess.run(["output"], {"input": rows}, None)[0]


def row_ms(one: Any, row: Any) -> float:
    """The median of many single rows, in milliseconds."""
    taken = []
    until_s = time.perf_counter() + SECONDS
    while (begun_s := time.perf_counter()) < until_s:
        run(one, row)
        taken.append(time.perf_counter() - begun_s)
    return sorted(taken)[len(taken) // 2] * 1e3


def rate(sessions: list[Any], rows: Any) -> float:
    """Rows a second, each session in a thread of its own."""
    counts = [0] * len(sessions)
    until_s = time.perf_counter() + SECONDS

    def ask(number: int) -> None:
        while time.perf_counter() < until_s:
            run(sessions[number], rows)
            counts[number] += len(rows)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(sessions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / SECONDS


def cores() -> int:
    """Cores this process may use."""
    import os

    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    main()
