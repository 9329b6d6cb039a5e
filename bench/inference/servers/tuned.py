"""The hand-written server at its best: bare ASGI on uvloop and httptools, orjson, ONNX Runtime by its inner session.

python tuned.py MODEL PORT
"""

import sys

import numpy as np
import onnxruntime
import orjson
import uvicorn

KINDS = {"FP32": np.float32, "INT64": np.int64}
HEADERS = [(b"content-type", b"application/json")]

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options)
run = session._sess.run  # the wrapper's checks cost as much as a small model


async def app(scope, receive, send):
    """Any path: the protocol's JSON in, its JSON out."""
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    given = orjson.loads(body)["inputs"][0]
    array = np.array(given["data"], dtype=KINDS[given["datatype"]]).reshape(given["shape"])
    (found,) = run(["output"], {"input": array}, None)
    output = {"name": "output", "datatype": "FP32", "shape": found.shape, "data": found.ravel()}
    content = orjson.dumps({"model_name": "model", "outputs": [output]}, option=orjson.OPT_SERIALIZE_NUMPY)
    length = (b"content-length", b"%d" % len(content))
    await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, length]})
    await send({"type": "http.response.body", "body": content})


uvicorn.run(
    app,
    host="127.0.0.1",
    port=int(sys.argv[2]),
    log_level="error",
    access_log=False,
    loop="uvloop",
    http="httptools",
    lifespan="off",
)
