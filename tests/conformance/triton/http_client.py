"""Runs the matrix over HTTP with a public client, in that client's own environment; prints what failed as JSON lines.

python http_client.py CLIENT HOST:PORT TOKEN      CLIENT: http, aio, gevent (all of tritonclient) or kserve
"""

import asyncio
import json
import sys

from cases import NO_JSON, cases, same, values


def skipped(datatype, is_json):
    return is_json and datatype in NO_JSON


def inputs_of(module, array, datatype, is_json):
    given = module.InferInput("INPUT0", list(array.shape), datatype)
    given.set_data_from_numpy(array, binary_data=not is_json)
    return [given], [module.InferRequestedOutput("output", binary_data=not is_json)]


def run_http(url, headers):
    import tritonclient.http as module

    with module.InferenceServerClient(url, connection_timeout=30, network_timeout=30) as client:
        for model, datatype, shape, is_json, array in all_cases():
            asked, wanted = inputs_of(module, array, datatype, is_json)
            packing = "gzip" if is_json and shape == (3, 4) else None
            answer = client.infer(
                model,
                asked,
                outputs=wanted,
                headers=dict(headers),  # the client writes into it
                request_id="r1",
                request_compression_algorithm=packing,
                response_compression_algorithm=packing,
            )
            yield model, shape, is_json, array, answer.as_numpy("output")


def run_gevent(url, headers):
    import tritonclient.http as module

    with module.InferenceServerClient(url, concurrency=8, connection_timeout=30, network_timeout=30) as client:
        waiting = []
        for model, datatype, shape, is_json, array in all_cases():
            asked, wanted = inputs_of(module, array, datatype, is_json)
            waiting.append(
                (model, shape, is_json, array, client.async_infer(model, asked, outputs=wanted, headers=dict(headers)))
            )
        for model, shape, is_json, array, answer in waiting:
            yield model, shape, is_json, array, answer.get_result(timeout=60).as_numpy("output")


def run_aio(url, headers):
    import tritonclient.http.aio as module

    async def ask_all():
        async with module.InferenceServerClient(url) as client:
            limit = asyncio.Semaphore(16)

            async def ask(model, datatype, shape, is_json, array):
                asked, wanted = inputs_of(module, array, datatype, is_json)
                async with limit:
                    answer = await client.infer(model, asked, outputs=wanted, headers=dict(headers))
                return model, shape, is_json, array, answer.as_numpy("output")

            return await asyncio.gather(*(ask(*case) for case in all_cases()))

    return asyncio.run(ask_all())


def run_kserve(url, headers):
    from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

    async def ask_all():
        client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60))
        found = []
        for model, datatype, shape, is_json, array in all_cases():
            given = InferInput("INPUT0", list(shape), datatype)
            given.set_data_from_numpy(array, binary_data=not is_json)
            wanted = InferRequest(
                model_name=model, infer_inputs=[given], parameters={"binary_data_output": not is_json}
            )
            answer = await client.infer(f"http://{url}", wanted, model_name=model, headers=dict(headers))
            (output,) = answer.outputs
            found.append((model, shape, is_json, array, output.as_numpy()))
        return found

    return asyncio.run(ask_all())


def all_cases():
    for is_json in (False, True):
        for model, datatype, shape, _ in cases():
            if not skipped(datatype, is_json):
                yield model, datatype, shape, is_json, values(datatype, shape, is_json)


def main(client, url, token):
    run = {"http": run_http, "aio": run_aio, "gevent": run_gevent, "kserve": run_kserve}[client]
    count = 0
    for model, shape, is_json, array, answer in run(url, {"Authorization": f"Bearer {token}"}):
        count += 1
        if answer is None or not same(array, answer):
            print(json.dumps({"model": model, "shape": shape, "is_json": is_json, "answer": str(answer)[:200]}))
    print(json.dumps({"cases": count}))


if __name__ == "__main__":
    main(*sys.argv[1:])
