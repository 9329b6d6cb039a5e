"""Triton's scenarios, asked by tritonclient over HTTP and gRPC; prints what each found as one JSON object.

python scenarios.py HTTP_ADDRESS GRPC_ADDRESS TOKEN ADMIN_TOKEN      The models are those of test_scenarios.py.
"""

import json
import sys

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

MIB = 1024 * 1024
ACCEPTED = "nothing was refused"
NO_TEXT = [b"\xfa\x03\x94\x01\x0f", b"\n\0\x07", b"", b"\xff" * 100]
ZEROS = (
    [(0,), (0,), (0,)],
    [(0,), (0,), (1,)],
    [(0,), (1,), (0,)],
    [(1,), (0,), (0,)],
    [(1,), (0,), (6,)],
    [(1,), (2,), (1,)],
)
"""Inner shapes of three inputs."""


class Client:
    """One of tritonclient's, with a token."""

    def __init__(self, module, url, token):
        self.module = module
        self.client = module.InferenceServerClient(url)
        self.headers = {"authorization": f"Bearer {token}"}
        self.is_http = module is tritonclient.http

    def infer(self, model, arrays, outputs=None, **binary):
        """Arrays by the names of inputs, each with its datatype."""
        given = []
        for name, (array, datatype) in arrays.items():
            one = self.module.InferInput(name, list(array.shape), datatype)
            one.set_data_from_numpy(array, **({"binary_data": binary.get("sends", True)} if self.is_http else {}))
            given.append(one)
        more = {"binary_data": binary.get("takes", True)} if self.is_http else {}
        wanted = [self.module.InferRequestedOutput(name, **more) for name in outputs] if outputs else None
        return self.client.infer(model, given, outputs=wanted, headers=dict(self.headers))

    def refused(self, call, *arguments, **more):
        """What the client was told."""
        try:
            call(*arguments, **more)
        except InferenceServerException as error:
            return f"{error.status()}: {error.message()}"
        return ACCEPTED

    def is_refused(self, call, *arguments, **more):
        """Whether it was."""
        return self.refused(call, *arguments, **more) != ACCEPTED

    def as_dict(self, value):
        """A message as plain values, however the client gives it."""
        if isinstance(value, dict | list):
            return value
        from google.protobuf.json_format import MessageToDict

        return MessageToDict(value, preserving_proto_field_name=True)


def zeros(client):
    """L0_infer_zero: three inputs, of which some have no values, in batches of one and of eight."""
    wrong = []
    for rows in (1, 8):
        for inner in ZEROS:
            arrays = {
                "INPUT0": (np.ones((rows, *inner[0]), np.float32), "FP32"),
                "INPUT1": (np.ones((rows, *inner[1]), np.float32), "FP32"),
                "INPUT2": (np.ones((rows, *inner[2]), np.float32), "FP32"),
            }
            answer = client.infer("triple", arrays)
            for place, (array, _) in enumerate(arrays.values()):
                told = answer.as_numpy(f"OUTPUT{place}")
                if told is None or told.shape != array.shape or not np.array_equal(told, array):
                    wrong.append([rows, inner, place])
    return wrong


def strings(client):
    """L0_string_io: bytes that are no text, by both of NumPy's types; numbers as texts; and what JSON cannot hold."""
    found = {}
    for kind in (np.object_, np.bytes_):
        array = np.array([NO_TEXT], dtype=kind)
        told = client.infer("bytes", {"INPUT0": (array, "BYTES")}, ["output"]).as_numpy("output")
        found[f"no text as {kind.__name__}"] = told.reshape(-1).tolist() == array[0].tolist()
    numbers = np.array([[str(number) for number in range(10_000, 10_008)]], dtype=np.object_)
    for sends, takes in ((False, False), (True, False), (False, True)):
        answer = client.infer("texts", {"INPUT0": (numbers, "BYTES")}, ["output"], sends=sends, takes=takes)
        told = [one if isinstance(one, str) else one.decode() for one in answer.as_numpy("output").reshape(-1)]
        found[f"numbers, binary {sends} and {takes}"] = told == numbers[0].tolist()
    no_text = {"INPUT0": (np.array([NO_TEXT], dtype=np.object_), "BYTES")}
    found["a model of texts alone"] = client.is_refused(client.infer, "texts", no_text)
    if client.is_http:
        found["no text in JSON"] = client.is_refused(client.infer, "bytes", no_text, ["output"], takes=False)
        found["no text as JSON"] = client.is_refused(client.infer, "bytes", no_text, ["output"], sends=False)
    return found


def large(client):
    """L0_large_payload: tens of megabytes come back, too many are refused, and a small one is answered after that."""
    found = []
    for size in (40 * MIB, 80 * MIB, 4):
        array = np.arange(size // 4, dtype=np.float32).reshape(1, -1)
        try:
            told = client.infer("wide", {"INPUT0": (array, "FP32")}, ["output"]).as_numpy("output")
            found.append("equal" if np.array_equal(told, array) else "wrong")
        except (InferenceServerException, OSError) as error:
            found.append(type(error).__name__)
    return found


def batches(client):
    """L0_batcher: many at once, of several sizes; each gets its own answer, and they were answered together."""
    arrays = [np.full((1 + number % 4, 5), number, np.float32) for number in range(64)]
    before = executions(client)
    if client.is_http:
        waiting = []
        for array in arrays:
            given = client.module.InferInput("INPUT0", list(array.shape), "FP32")
            given.set_data_from_numpy(array)
            waiting.append(client.client.async_infer("wide", [given], headers=dict(client.headers)))
        told = [one.get_result() for one in waiting]
    else:
        import queue

        answers = queue.Queue()
        for number, array in enumerate(arrays):
            given = client.module.InferInput("INPUT0", list(array.shape), "FP32")
            given.set_data_from_numpy(array)
            client.client.async_infer(
                "wide",
                [given],
                callback=lambda result, error, number=number: answers.put((number, result)),
                headers=dict(client.headers),
            )
        told = [result for _, result in sorted((answers.get(timeout=30) for _ in arrays), key=lambda one: one[0])]
    after = executions(client)
    right = all(np.array_equal(one.as_numpy("output"), array) for one, array in zip(told, arrays, strict=True))
    counted = after[0] - before[0], after[1] - before[1]
    return [right, counted[0] == sum(map(len, arrays)), 0 < counted[1] <= counted[0]]


def executions(client):
    """Rows and executions counted for the model."""
    stats = client.as_dict(client.client.get_inference_statistics("wide", headers=dict(client.headers)))
    (model,) = stats["model_stats"]
    return int(model.get("inference_count", 0)), int(model.get("execution_count", 0))


def life(client, admin):
    """L0_lifecycle: what is there, what is not, and a model that is taken out of service and brought back."""
    tools, headers, row = client.client, dict(client.headers), {"INPUT0": (np.ones((1, 2), np.float32), "FP32")}
    admin_headers = {"authorization": f"Bearer {admin}"}
    found = {
        "live": [tools.is_server_live(headers=headers), tools.is_server_ready(headers=headers)],
        "ready": [tools.is_model_ready(name, headers=headers) for name in ("wide", "nothing")],
        "versions": [
            client.refused(tools.get_model_metadata, "wide", version, headers=headers) for version in ("3", "99", "-1")
        ],
        "nothing": [
            client.refused(tools.get_model_metadata, "nothing", headers=headers),
            client.refused(client.infer, "nothing", row),
            client.refused(tools.load_model, "nothing", headers=admin_headers),
            client.refused(tools.unload_model, "nothing", headers=admin_headers),
        ],
        "not allowed": client.refused(tools.unload_model, "extra", headers=headers),
        "files": client.refused(
            tools.load_model, "extra", config="{}", files={"file:1/../../x": b"abc"}, headers=admin_headers
        ),
    }
    states = []
    for change in (None, tools.unload_model, tools.load_model):
        if change is not None:
            change("extra", headers=admin_headers)
        index = client.as_dict(tools.get_model_repository_index(headers=headers))
        models = index["models"] if isinstance(index, dict) else index
        told = client.refused(client.infer, "extra", row)
        states.append(
            [next(one["state"] for one in models if one["name"] == "extra"), tools.is_model_ready("extra", headers=headers),
             told == ACCEPTED, not client.is_refused(client.infer, "wide", row)]
        )  # fmt: skip
    return found | {"states": states}


def main(http_url, grpc_url, token, admin):
    found = {}
    for way, module, url in (("http", tritonclient.http, http_url), ("grpc", tritonclient.grpc, grpc_url)):
        client = Client(module, url, token)
        found[way] = {
            "zeros": zeros(client),
            "strings": strings(client),
            "large": large(client),
            "batches": batches(client),
            "life": life(client, admin),
        }
        client.client.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
