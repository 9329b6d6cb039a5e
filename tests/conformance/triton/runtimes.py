"""Asks one model of each runtime with public clients, in those clients' own environment.

python runtimes.py QUESTIONS.npz ANSWERS.npz HTTP_ADDRESS GRPC_ADDRESS TOKEN

QUESTIONS holds each model's rows as `MODEL/INPUT`; ANSWERS gets `CLIENT/MODEL/OUTPUT`.
"""

import sys

import ml_dtypes
import numpy as np
import tritonclient.grpc
import tritonclient.http

BF16 = "bf16"
"""The model whose FP32 rows are sent as BF16, which NumPy does not have."""


def ask(module, client, model, name, rows, token, **more):
    given = module.InferInput(name, list(rows.shape), "BF16" if model == BF16 else "FP32")
    given.set_data_from_numpy(rows.astype(ml_dtypes.bfloat16) if model == BF16 else rows, **more)
    answer = client.infer(model, [given], headers={"authorization": f"Bearer {token}"})
    response = answer.get_response()
    names = [one["name"] for one in response["outputs"]] if isinstance(response, dict) else None
    for output in names or [one.name for one in response.outputs]:
        yield output, answer.as_numpy(output)


def main(questions, answers, http_url, grpc_url, token):
    found = {}
    with (
        tritonclient.http.InferenceServerClient(http_url) as http,
        tritonclient.grpc.InferenceServerClient(grpc_url) as grpc,
    ):
        for place, rows in np.load(questions).items():
            model, name = place.split("/")
            ways = {
                "grpc": (tritonclient.grpc, grpc, {}),
                "binary": (tritonclient.http, http, {"binary_data": True}),
                "json": (tritonclient.http, http, {"binary_data": False}),
            }
            if model == BF16:
                del ways["json"]
            for way, (module, client, more) in ways.items():
                for output, array in ask(module, client, model, name, rows, token, **more):
                    if array.dtype != object:
                        found[f"{way}/{model}/{output}"] = array.astype(np.float32)
    np.savez(answers, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
