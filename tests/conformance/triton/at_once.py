"""Asks all cases at once with one of tritonclient's asyncio clients, of either wire."""

import asyncio

AT_ONCE_MAX = 16


def ask_at_once(module, url, cases, asked):
    """(case, answer) of every one; `asked` gives what is said to `infer` of a case."""

    async def ask_all():
        async with module.InferenceServerClient(url) as client:
            limit = asyncio.Semaphore(AT_ONCE_MAX)

            async def ask(case):
                async with limit:
                    answer = await client.infer(case.model, **asked(case))
                return case, answer.as_numpy(case.wanted)

            return await asyncio.gather(*(ask(case) for case in cases))

    return asyncio.run(ask_all())
