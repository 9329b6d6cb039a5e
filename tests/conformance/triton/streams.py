"""Streams of a model that answers in parts, as tritonclient sees them; prints what came as one JSON object.

python streams.py GRPC_ADDRESS TOKEN      The model is `sill.testing.repeating_model`, as `repeat`.
"""

import json
import queue
import sys

import numpy as np
import tritonclient.grpc as triton

FAILS = -1


class Talk:
    """One stream, and what comes back on it."""

    def __init__(self, client, token, **more):
        self._client = client
        self._answers = queue.Queue()
        headers = {"authorization": f"Bearer {token}"}
        client.start_stream(lambda result, error: self._answers.put((result, error)), headers=headers, **more)

    def ask(self, request_id, values, delay_ms=0, **more):
        inputs = []
        for name, array in (("IN", values), ("DELAY_MS", [delay_ms] * len(values))):
            given = triton.InferInput(name, [len(values)], "INT32")
            given.set_data_from_numpy(np.array(array, dtype=np.int32))
            inputs.append(given)
        self._client.async_stream_infer("repeat", inputs, request_id=request_id, **more)
        return self

    def told(self, count):
        """(id, values, whether it is the last) of so many answers; an error as its text."""
        return [self._next() for _ in range(count)]

    def closed_before(self):
        """How many streams the model saw closed."""
        result, _ = self._answers.get(timeout=30)
        return int(result.as_numpy("CLOSED")[0])

    def _next(self):
        result, error = self._answers.get(timeout=30)
        if error is not None:
            return str(error)
        response = result.get_response()
        values = result.as_numpy("OUT")
        is_last = response.parameters["triton_final_response"].bool_param
        return [response.id, None if values is None else values.tolist(), is_last]

    def stop(self, **more):
        self._client.stop_stream(**more)


def main(url, token):
    found = {}
    with triton.InferenceServerClient(url) as client:
        talk = Talk(client, token)
        found["parts"] = talk.ask("a", [4, 2, 0]).told(3)
        found["with an end"] = talk.ask("b", [7], enable_empty_final_response=True).told(2)
        found["nothing but an end"] = talk.ask("c", [], enable_empty_final_response=True).told(1)
        found["fails in the middle"] = talk.ask("d", [1, FAILS, 2]).told(2)
        found["goes on"] = talk.ask("e", [8]).told(1)
        found["several at once"] = sorted(talk.ask("f", [1, 2]).ask("g", [3, 4]).told(4))
        talk.stop()

        talk = Talk(client, token)
        talk.ask("h", [5] * 1_000, delay_ms=10).told(1)
        talk.stop(cancel_requests=True)
        talk = Talk(client, token, stream_timeout=0.3)
        talk.ask("i", [6] * 1_000, delay_ms=10)
        while not isinstance(said := talk.told(1)[0], str):
            pass
        found["too late"] = said
        talk.stop()
        talk = Talk(client, token)
        found["closed"] = talk.ask("j", [0]).closed_before()
        talk.stop()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
