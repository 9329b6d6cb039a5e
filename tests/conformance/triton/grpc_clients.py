"""Public clients over gRPC. Each takes address, token and cases, and gives (case, answer) of every one.

tritonclient sends raw contents only: cases in plain form are KServe's, which sends those as typed contents.
"""

import asyncio
import queue

from at_once import ask_at_once


def inputs_of(module, case):
    """The input, and the output that is wanted, in tritonclient's form."""
    given = module.InferInput(case.given, list(case.shape), case.datatype)
    given.set_data_from_numpy(case.array)
    return {"inputs": [given], "outputs": [module.InferRequestedOutput(case.wanted)]}


def headers_of(token):
    return {"authorization": f"Bearer {token}"}


def run_grpc(url, token, cases):
    import tritonclient.grpc as module

    with module.InferenceServerClient(url) as client:
        for case in cases:
            packing = {(3, 4): "gzip", (5,): "deflate"}.get(case.shape)
            answer = client.infer(
                case.model, **inputs_of(module, case), headers=headers_of(token), compression_algorithm=packing
            )
            yield case, answer.as_numpy(case.wanted)


def run_grpc_stream(url, token, cases):
    """All cases as one stream; each answer names its request."""
    import tritonclient.grpc as module

    answers = queue.Queue()
    with module.InferenceServerClient(url) as client:
        client.start_stream(lambda result, error: answers.put((result, error)), headers=headers_of(token))
        for number, case in enumerate(cases):
            client.async_stream_infer(case.model, **inputs_of(module, case), request_id=str(number))
        for number, case in enumerate(cases):
            answer, error = answers.get(timeout=60)
            if error is not None:
                raise error
            assert answer.get_response().id == str(number)
            yield case, answer.as_numpy(case.wanted)
        client.stop_stream()


def run_grpc_aio(url, token, cases):
    import tritonclient.grpc.aio as module

    return ask_at_once(module, url, cases, lambda case: {**inputs_of(module, case), "headers": headers_of(token)})


def run_grpc_aio_stream(url, token, cases):
    import tritonclient.grpc.aio as module

    async def ask_all():
        async def requests():
            for number, case in enumerate(cases):
                yield {"model_name": case.model, "request_id": str(number), **inputs_of(module, case)}

        found = []
        async with module.InferenceServerClient(url) as client:
            async for answer, error in client.stream_infer(requests(), headers=headers_of(token)):
                if error is not None:
                    raise error
                found.append((cases[len(found)], answer.as_numpy(cases[len(found)].wanted)))
                if len(found) == len(cases):
                    break
        return found

    return asyncio.run(ask_all())


def run_kserve_grpc(url, token, cases):
    from kserve import InferenceGRPCClient, InferInput, InferRequest

    async def ask_all():
        client = InferenceGRPCClient(url, channel_args=[("grpc.max_receive_message_length", -1)])
        found = []
        for case in cases:
            given = InferInput(case.given, list(case.shape), case.datatype)
            given.set_data_from_numpy(case.array, binary_data=not case.is_plain)
            wanted = InferRequest(model_name=case.model, infer_inputs=[given])
            answer = await client.infer(wanted, headers=tuple(headers_of(token).items()))
            (output,) = answer.outputs
            found.append((case, output.as_numpy()))
        await client.close()
        return found

    return asyncio.run(ask_all())
