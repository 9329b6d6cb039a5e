"""Public clients over HTTP. Each takes address, token and cases, and gives (case, answer) of every one."""

import asyncio

from at_once import ask_at_once


def inputs_of(module, case):
    """The input, and the output that is wanted, in tritonclient's form."""
    given = module.InferInput(case.given, list(case.shape), case.datatype)
    given.set_data_from_numpy(case.array, binary_data=not case.is_plain)
    return {"inputs": [given], "outputs": [module.InferRequestedOutput(case.wanted, binary_data=not case.is_plain)]}


def headers_of(token):
    """Made anew for each request: the client writes into it."""
    return {"Authorization": f"Bearer {token}"}


def run_http(url, token, cases):
    import tritonclient.http as module

    with module.InferenceServerClient(url, connection_timeout=30, network_timeout=60) as client:
        for case in cases:
            packing = "gzip" if case.is_plain and case.shape == (3, 4) else None
            answer = client.infer(
                case.model,
                **inputs_of(module, case),
                headers=headers_of(token),
                request_id="r1",
                request_compression_algorithm=packing,
                response_compression_algorithm=packing,
            )
            yield case, answer.as_numpy(case.wanted)


def run_gevent(url, token, cases):
    """The same client's `async_infer`."""
    import tritonclient.http as module

    with module.InferenceServerClient(url, concurrency=8, connection_timeout=30, network_timeout=60) as client:
        waiting = [
            (case, client.async_infer(case.model, **inputs_of(module, case), headers=headers_of(token)))
            for case in cases
        ]
        for case, answer in waiting:
            yield case, answer.get_result(timeout=60).as_numpy(case.wanted)


def run_aio(url, token, cases):
    import tritonclient.http.aio as module

    return ask_at_once(module, url, cases, lambda case: {**inputs_of(module, case), "headers": headers_of(token)})


def run_kserve(url, token, cases):
    from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

    async def ask_all():
        client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60))
        found = []
        for case in cases:
            given = InferInput(case.given, list(case.shape), case.datatype)
            given.set_data_from_numpy(case.array, binary_data=not case.is_plain)
            wanted = InferRequest(
                model_name=case.model, infer_inputs=[given], parameters={"binary_data_output": not case.is_plain}
            )
            answer = await client.infer(f"http://{url}", wanted, model_name=case.model, headers=headers_of(token))
            (output,) = answer.outputs
            found.append((case, output.as_numpy()))
        return found

    return asyncio.run(ask_all())
