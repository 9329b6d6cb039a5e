"""`python -m drill.attack DOOR NAME PORT PID`: sends one kind of bad input again and again, when it is told to.

On its standard input: `go`, `rest` (what is under way is finished, or hung up on if it would stay), `end`. It says a word
when it has begun and when it rests, and what it was told at the end. It takes the processor only when nobody else wants
it: on the server's own machine it would otherwise be the client, and not what the server does, that others wait for.
"""

import asyncio
import os
import sys
from collections import Counter

import msgspec
import psutil

from drill import bad_grpc, bad_http

HTTP, GRPC = "http", "grpc"
AT_ONCE, PAUSE_S = 4, 0.02
"""Bad connections at a time, and how long each rests after an answer: together they ask about as often as the good one."""
LASTING_AT_ONCE = 30
"""The same for connections that stay."""
FINISH_S = 10.0
"""What takes longer to be finished is hung up on."""
LOOK_S = 0.1

Kind = tuple[str, str]
"""A door, and the name of what is sent there."""
KINDS: list[Kind] = [
    *((HTTP, name) for name in (*bad_http.BAD, *bad_http.LASTING)),
    *((GRPC, name) for name in bad_grpc.BAD),
]


class Told(msgspec.Struct):
    """What bad input was told, by status, and the most that the server held meanwhile."""

    answers: dict[str, int] = {}
    most_mb: float = 0.0


class Attack:
    """One kind, against the inference plane at a port (gRPC: the next one). Use it from one event loop."""

    def __init__(self, kind: Kind, port: int) -> None:
        self.answers: Counter[str] = Counter()
        self._door, self._name = kind
        self._port = port
        self._is_lasting = self._name in bad_http.LASTING
        self._is_on = False
        self._tasks: set[asyncio.Task[None]] = set()

    def go(self) -> None:
        """Send it from now on."""
        self._is_on = True
        count = LASTING_AT_ONCE if self._is_lasting else AT_ONCE
        self._tasks = {asyncio.create_task(self._again_and_again(f"127.0.1.{1 + one}")) for one in range(count)}

    async def rest(self) -> None:
        """Send nothing more; returns when nothing of it is left."""
        self._is_on = False
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=0 if self._is_lasting else FINISH_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            self._tasks.clear()

    async def _again_and_again(self, address: str) -> None:
        while self._is_on:
            if self._door == GRPC:
                told = await asyncio.to_thread(bad_grpc.ask, self._name, self._port + 1)
            else:
                told = await bad_http.asks(self._name)(self._port, address)
            self.answers[told] += 1
            await asyncio.sleep(PAUSE_S)


def held_mb(process: psutil.Process) -> float:
    """What a process and those below it hold."""
    return float(sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))) / 1e6


async def obey(attack: Attack, server: psutil.Process) -> Told:
    """Do as the standard input says, until `end` or the end of it."""
    words = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    told = Told()
    looking = asyncio.create_task(_look(told, server))
    while (word := (await words.readline()).strip()) in (b"go", b"rest"):
        if word == b"go":
            attack.go()
        else:
            await attack.rest()
        print(word.decode(), flush=True)
    looking.cancel()
    await attack.rest()
    told.answers = dict(attack.answers)
    return told


async def _look(told: Told, server: psutil.Process) -> None:
    while True:
        told.most_mb = max(told.most_mb, held_mb(server))
        await asyncio.sleep(LOOK_S)


def main(arguments: list[str]) -> None:
    """See the module."""
    import uvloop

    door, name, port, server = arguments
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    told = uvloop.run(obey(Attack((door, name), int(port)), psutil.Process(int(server))))
    print(msgspec.json.encode(told).decode(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
