"""Runs the matrix with public clients, in those clients' own environment; prints what failed, and a count, as JSON lines.

python matrix.py core|whole|MODELS HTTP_ADDRESS GRPC_ADDRESS TOKEN CLIENT ...

MODELS is a file of lines `MODEL INPUT`: those cases of the core that are about them, with what their input is called.
"""

import json
import sys
from pathlib import Path

from cases import every_case, same
from every_client import GRPC, HTTP, RAW_ONLY


def main(part, http_url, grpc_url, token, *clients):
    models = {} if part in ("core", "whole") else dict(line.split() for line in Path(part).read_text().splitlines())
    for client in clients:
        plain = (False,) if client in RAW_ONLY else (False, True)
        cases = [
            case._replace(given=models.get(case.model, case.given))
            for case in every_case(is_core=part != "whole", plain=plain)
            if not models or case.model in models
        ]
        run, url = (HTTP[client], http_url) if client in HTTP else (GRPC[client], grpc_url)
        count = 0
        for case, answer in run(url, token, cases):
            count += 1
            if not same(case.array, answer):
                wrong = {"client": client, "model": case.model, "shape": case.shape, "is_plain": case.is_plain}
                print(json.dumps(wrong | {"answer": str(answer)[:200]}))
        print(json.dumps({"client": client, "asked": len(cases), "answered": count}))


if __name__ == "__main__":
    main(*sys.argv[1:])
