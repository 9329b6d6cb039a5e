"""`python -m drill.abuse [process|gateway] [WORD ...]`: each kind of bad input in a loop beside a well-behaved client.

For each kind: what the bad ones were told, the good one's p99 before and meanwhile, and what the server's memory grew
by. The words choose kinds by their names. The bad ones are in a process of their own, of low priority, as they would be
on another machine. Exit code 1 if a goal was missed.
"""

import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import msgspec
import psutil

from drill import bad_grpc, bad_http
from drill.house import CHEAP, PATIENT_MS, content
from drill.load import Load, Seen, between, p99_ms
from sill.testing.identity_models import identity
from sill.testing.serving_gateway import GatewayUnderTest
from sill.testing.serving_models import SIGNATURE, classifier, make_signer
from sill.testing.serving_plane import InferenceUnderTest, serving
from sill.testing.serving_zoo import Zoo

RATE_PER_S, LINES = 300.0, 32
"""Of the good client, and its connections."""
AT_ONCE, PAUSE_S = 4, 0.02
"""Bad connections at a time, and how long each rests after an answer: together they ask about as often as the good one."""
LASTING_AT_ONCE = 30
"""The same for connections that stay."""
WARM_S, CALM_S, BEGINS_S, ABUSED_S = 1.0, 4.0, 2.0, 6.0
"""A kind is sent for `BEGINS_S` before what the good client sees is counted, and for `ABUSED_S` after that."""
P99_RATIO_MAX, GREW_MB_MAX = 2.0, 600.0
"""The latter of each process that listens: all bodies together may hold 512 MiB there."""
LOOK_S = 0.1
ENDS_S = 60.0
HTTP, GRPC = "http", "grpc"

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


class Outcome(msgspec.Struct, frozen=True):
    """What came of one kind.

    Attributes:
        answers: to the bad ones, by status; `seen` is what the good client saw while they were sent.
        before_ms, meanwhile_ms: the good client's p99.
    """

    kind: Kind
    answers: dict[str, int]
    before_ms: float
    meanwhile_ms: float
    failed: int
    grew_mb: float
    grew_mb_max: float

    @property
    def ratio(self) -> float:
        """How many times longer the good client waits."""
        return self.meanwhile_ms / self.before_ms

    @property
    def wrong(self) -> dict[str, int]:
        """Answers to the bad ones that they may not have."""
        right = allowed(self.kind)
        return {told: count for told, count in self.answers.items() if right and told not in right}

    @property
    def is_met(self) -> bool:
        """Answered exactly, with nobody else the worse for it."""
        is_light = self.ratio <= P99_RATIO_MAX and self.grew_mb <= self.grew_mb_max
        return is_light and not self.failed and not self.wrong and bool(self.answers)


def allowed(kind: Kind) -> Sequence[str]:
    """What a kind may be told; nothing if that does not matter."""
    door, name = kind
    bad = bad_grpc.BAD.get(name) if door == GRPC else bad_http.BAD.get(name)
    return () if bad is None else bad.told


@contextmanager
def house(make: Callable[..., InferenceUnderTest]) -> Iterator[InferenceUnderTest]:
    """What is asked: a cheap model of two tenants, and identities of texts and numbers."""
    with tempfile.TemporaryDirectory(prefix="sill-abuse-") as name:
        folder = Path(name)
        zoo = Zoo(make_signer(folder))
        zoo.add(CHEAP, classifier(), SIGNATURE)
        zoo.add("texts", *identity("BYTES", (-1,)))
        zoo.add("ints", *identity("INT32", (-1,)))
        with serving(folder, zoo.plan(), zoo.bundles, make) as found:
            yield found


@asynccontextmanager
async def attacked(kind: Kind, plane: InferenceUnderTest) -> AsyncIterator[Told]:
    """Bad input of a kind until the block ends; what it was told, then."""
    assert plane.process is not None
    command = ["nice", "-n", "10", sys.executable, "-m", "drill.abuse", "attack"]
    process = await asyncio.create_subprocess_exec(
        *command, *kind, str(plane.port), str(plane.process.pid), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    told = Told()
    try:
        await process.stdout.readline()  # it has begun
        yield told
        process.terminate()
        async with asyncio.timeout(ENDS_S):
            found = msgspec.json.decode(await process.stdout.read(), type=Told)
        told.answers, told.most_mb = found.answers, found.most_mb
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def measure(kind: Kind, plane: InferenceUnderTest, calm_s: float = CALM_S, abused_s: float = ABUSED_S) -> Outcome:
    """One kind beside a good client, who asks alone for `calm_s` first."""
    load = Load(plane.port, content(CHEAP, PATIENT_MS), RATE_PER_S, LINES)
    asking = asyncio.create_task(load.run_until_stopped())
    await asyncio.sleep(WARM_S + calm_s)
    calm_until_s, held_mb = time.monotonic(), memory_mb(plane)
    async with attacked(kind, plane) as told:
        await asyncio.sleep(BEGINS_S)
        from_s = time.monotonic()
        await asyncio.sleep(abused_s)
        load.stop()
        await asking
    meanwhile = between(load.seen, from_s, from_s + abused_s)
    return Outcome(
        kind=kind,
        answers=told.answers,
        before_ms=p99_ms(between(load.seen, calm_until_s - calm_s, calm_until_s)),
        meanwhile_ms=p99_ms(meanwhile),
        failed=failures(load.seen),
        grew_mb=told.most_mb - held_mb,
        grew_mb_max=GREW_MB_MAX * (1 + getattr(plane, "replicas", 0)),
    )


def failures(seen: Sequence[Seen]) -> int:
    """Requests that were not answered."""
    return sum(status != 200 for _, _, status in seen)


def memory_mb(plane: InferenceUnderTest) -> float:
    """What the server's processes hold."""
    assert plane.process is not None
    return held_mb(psutil.Process(plane.process.pid))


def held_mb(process: psutil.Process) -> float:
    """What a process and those below it hold."""
    return float(sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))) / 1e6


async def attack(kind: Kind, port: int, server: psutil.Process) -> Told:
    """Send a kind again and again until SIGTERM; what it was told, and the most that the server held."""
    answers: Counter[str] = Counter()
    door, name = kind
    count = LASTING_AT_ONCE if name in bad_http.LASTING else AT_ONCE

    async def one(address: str) -> None:
        while True:
            if door == GRPC:
                told = await asyncio.to_thread(bad_grpc.ask, name, port + 1)
            else:
                told = await bad_http.asks(name)(port, address)
            answers[told] += 1
            await asyncio.sleep(PAUSE_S)

    tasks = [asyncio.create_task(one(f"127.0.1.{1 + number}")) for number in range(count)]
    ended, most_mb = asyncio.Event(), 0.0
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    print("begun", flush=True)
    while not ended.is_set():
        await asyncio.wait([asyncio.ensure_future(ended.wait())], timeout=LOOK_S)
        most_mb = max(most_mb, held_mb(server))
    with suppress(TimeoutError):
        async with asyncio.timeout(0 if name in bad_http.LASTING else bad_http.ANSWER_S):
            while not answers:  # noqa: ASYNC110 -- of what takes long there may be none yet
                await asyncio.sleep(LOOK_S)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=10)
    return Told(dict(answers), most_mb)


def tell(outcome: Outcome) -> None:
    """Print a line of the table."""
    answers = " ".join(f"{told}:{count}" for told, count in sorted(outcome.answers.items()))
    figures = f"{outcome.before_ms:8.2f} {outcome.meanwhile_ms:8.2f} {outcome.ratio:6.2f} {outcome.grew_mb:8.0f}"
    verdict = "yes" if outcome.is_met else "MISSED"
    print(f"{outcome.kind[0]:5} {outcome.kind[1]:34} {figures} {outcome.failed:6} {verdict:7} {answers}", flush=True)


def main(arguments: list[str]) -> int:
    """Exit code 1 if a goal was missed."""
    import uvloop

    if arguments[:1] == ["attack"]:
        door, name, port, server = arguments[1:]
        told = uvloop.run(attack((door, name), int(port), psutil.Process(int(server))))
        print(msgspec.json.encode(told).decode())
        return 0
    is_gateway, words = arguments[:1] == ["gateway"], [one for one in arguments if one not in ("process", "gateway")]
    chosen = [kind for kind in KINDS if not words or any(word in " ".join(kind) for word in words)]
    print(
        f"{'door':5} {'what is sent':34} {'p99 ms':>8} {'then':>8} {'ratio':>6} {'grew MB':>8} failed met     answers"
    )
    is_met = True
    with house(GatewayUnderTest if is_gateway else InferenceUnderTest) as plane:
        for kind in chosen:
            outcome = uvloop.run(measure(kind, plane))
            tell(outcome)
            is_met = is_met and outcome.is_met
    return 0 if is_met else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
