"""The hand-written server at its best: bare ASGI on uvloop and httptools, orjson, ONNX Runtime by its inner session,
the collector frozen, a process for each core on one port.

python tuned.py MODEL PORT
"""

import gc
import os
import socket
import sys

import numpy as np
import onnxruntime
import orjson
import uvicorn

KINDS = {"FP32": np.float32, "INT64": np.int64}
HEADER_LENGTH = b"inference-header-content-length"

for _ in range(len(os.sched_getaffinity(0)) - 1):
    if os.fork() == 0:
        break
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
listener.bind(("127.0.0.1", int(sys.argv[2])))

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options)
run = session._sess.run  # the wrapper's checks cost as much as a small model


async def app(scope, receive, send):
    """Any path: the protocol's JSON in, its JSON out; or its binary extension, for one input and one output."""
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    for name, value in scope["headers"]:
        if name == HEADER_LENGTH:
            content, headers = binary(body, int(value))
            break
    else:
        content, headers = plain(body)
    headers.append((b"content-length", b"%d" % len(content)))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def plain(body):
    """The JSON answer to a JSON question."""
    given = orjson.loads(body)["inputs"][0]
    (found,) = run(
        ["output"], {"input": np.array(given["data"], KINDS[given["datatype"]]).reshape(given["shape"])}, None
    )
    output = {"name": "output", "datatype": "FP32", "shape": found.shape, "data": found.ravel()}
    content = orjson.dumps({"model_name": "model", "outputs": [output]}, option=orjson.OPT_SERIALIZE_NUMPY)
    return content, [(b"content-type", b"application/json")]


def binary(body, length):
    """The binary answer to a binary question."""
    given = orjson.loads(body[:length])["inputs"][0]
    (found,) = run(
        ["output"],
        {"input": np.frombuffer(body, KINDS[given["datatype"]], offset=length).reshape(given["shape"])},
        None,
    )
    parameters = {"binary_data_size": found.nbytes}
    output = {"name": "output", "datatype": "FP32", "shape": found.shape, "parameters": parameters}
    head = orjson.dumps({"model_name": "model", "outputs": [output]})
    headers = [(b"content-type", b"application/octet-stream"), (HEADER_LENGTH, b"%d" % len(head))]
    return head + found.tobytes(), headers


gc.collect()
gc.freeze()
told = uvicorn.Config(app, log_level="error", access_log=False, loop="uvloop", http="httptools", lifespan="off")
uvicorn.Server(told).run(sockets=[listener])
