"""Asks one model of each runtime with every client of tritonclient, in that client's own environment.

python runtimes.py QUESTIONS.npz ANSWERS.npz HTTP_ADDRESS GRPC_ADDRESS TOKEN

QUESTIONS holds rows as `MODEL/INPUT/OUTPUT/CLASS`, where CLASS is one of shapes; ANSWERS gets `FORM/MODEL/CLASS`.
"""

import sys

import ml_dtypes
import numpy as np
from cases import Case
from every_client import GRPC, HTTP, RAW_ONLY

CLIENTS = ("http", "gevent", "aio", "grpc", "grpc-stream", "grpc-aio", "grpc-aio-stream")
BF16 = "bf16"
"""The model whose FP32 rows are sent as BF16, which NumPy does not have, and which has no JSON form."""


def case_of(place, rows, *, is_plain):
    """One request, from how it is called in QUESTIONS."""
    model, given, wanted, _ = place.split("/")
    datatype, array = ("BF16", rows.astype(ml_dtypes.bfloat16)) if model == BF16 else ("FP32", rows)
    return Case(model, datatype, rows.shape, is_plain, array, given, wanted)


def main(questions, answers, http_url, grpc_url, token):
    found, asked = {}, dict(np.load(questions))
    for client in CLIENTS:
        run, url = (HTTP[client], http_url) if client in HTTP else (GRPC[client], grpc_url)
        for is_plain in (False,) if client in RAW_ONLY else (False, True):
            places = [place for place in asked if not (is_plain and place.startswith(BF16))]
            cases = [case_of(place, asked[place], is_plain=is_plain) for place in places]
            named = {id(case): place for case, place in zip(cases, places, strict=True)}
            for case, array in run(url, token, cases):
                model, _, _, kind = named[id(case)].split("/")
                found[f"{client}{'-json' if is_plain else ''}/{model}/{kind}"] = array.astype(np.float32)
    np.savez(answers, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
