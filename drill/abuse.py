"""`python -m drill.abuse [process|gateway] [WORD ...]`: each kind of bad input in a loop beside a well-behaved client.

For each kind: what the bad ones were told, the good one's p99 without and with them, and what the server's memory grew
by. Seconds without and seconds with bad input take turns, and each second with is held against the two without it on
either side; the median of these ratios is what counts, so that whatever else happens on the machine comes to both. The
words choose kinds by their names. Exit code 1 if a goal was missed.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median

import msgspec
import psutil

from drill import bad_grpc, bad_http
from drill.attack import GRPC, KINDS, Kind, Told, held_mb
from drill.house import CHEAP, PATIENT_MS, content
from drill.load import Load, Seen, between, p99_ms
from drill.others import Others, now
from sill.testing.identity_models import identity
from sill.testing.serving_gateway import GatewayUnderTest
from sill.testing.serving_models import SIGNATURE, classifier, make_signer
from sill.testing.serving_plane import InferenceUnderTest, serving
from sill.testing.serving_zoo import Zoo

RATE_PER_S, LINES = 400.0, 32
"""Of the good client, and its connections."""
WARM_S, SETTLES_S, BEGINS_S = 1.0, 0.1, 0.4
"""Before anything is counted; after bad input has ended; after it has begun."""
P99_RATIO_MAX, GREW_MB_MAX = 2.0, 600.0
"""The latter of each process that listens: all bodies together may hold 512 MiB there."""
STOLEN_MAX = 0.03
"""Of the processors, by the host, in a window that counts."""
ENDS_S = 30.0


class Windows(msgspec.Struct, frozen=True):
    """How one kind is measured.

    Attributes:
        calm_s, abused_s: how long a window without and one with bad input are.
        pairs_min, pairs_max: of windows; more than the least only while the goal seems missed.
    """

    calm_s: float = 0.8
    abused_s: float = 1.2
    pairs_min: int = 3
    pairs_max: int = 5


class Window(msgspec.Struct, frozen=True):
    """Some seconds, by the monotonic clock."""

    from_s: float
    until_s: float
    is_abused: bool
    stolen: float

    def p99_ms(self, seen: list[Seen]) -> float:
        """Of the good client's requests in that time."""
        return p99_ms(between(seen, self.from_s, self.until_s))


class Outcome(msgspec.Struct, frozen=True):
    """What came of one kind.

    Attributes:
        answers: to the bad ones, by status.
        p99s_ms: the good client's, in windows without and with bad input in turns.
        stolen: in each window, the share of the processors that the host gave to others.
        failed: requests of the good client that were not answered.
    """

    kind: Kind
    answers: dict[str, int]
    p99s_ms: tuple[float, ...]
    stolen: tuple[float, ...]
    failed: int
    grew_mb: float
    grew_mb_max: float
    others: Others

    @property
    def ratio(self) -> float:
        """How many times longer the good client waits."""
        return median(ratios(self.p99s_ms, self.stolen))

    @property
    def wrong(self) -> dict[str, int]:
        """Answers to the bad ones that they may not have."""
        right = allowed(self.kind)
        return {told: count for told, count in self.answers.items() if right and told not in right}

    @property
    def is_met(self) -> bool:
        """Answered exactly, with nobody else the worse for it."""
        is_light = self.ratio <= P99_RATIO_MAX and self.grew_mb <= self.grew_mb_max
        has_answers = bool(self.answers) or self.kind[1] in bad_http.LASTING
        return is_light and not self.failed and not self.wrong and has_answers


def ratios(p99s_ms: Sequence[float], stolen: Sequence[float]) -> list[float]:
    """Of each window with bad input, every other one, to the mean of those on either side.

    Those during which the host gave more than `STOLEN_MAX` to others are left out, if there are others.
    """
    calm, abused = p99s_ms[::2], p99s_ms[1::2]
    found = [2 * here / (before + after) for before, here, after in zip(calm, abused, calm[1:], strict=False)]
    quiet = [
        one for one, at in zip(found, range(0, len(stolen), 2), strict=False) if max(stolen[at : at + 3]) <= STOLEN_MAX
    ]
    return quiet or found


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


class Attacker:
    """The process that sends bad input; see `drill.attack`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def say(self, word: str) -> bytes:
        """Tell it a word; what it answers, once it has done so."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(word.encode() + b"\n")
        async with asyncio.timeout(ENDS_S):
            return await self._process.stdout.readline()


@asynccontextmanager
async def attacker(kind: Kind, plane: InferenceUnderTest) -> AsyncIterator[Attacker]:
    """The process that sends a kind, at rest."""
    command = [sys.executable, "-m", "drill.attack", *kind, str(plane.port), str(server(plane).pid)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        found = Attacker(process)
        await found.say("rest")
        yield found
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def measure(kind: Kind, plane: InferenceUnderTest, plan: Windows = Windows()) -> Outcome:  # noqa: B008 -- frozen
    """One kind beside a good client."""
    load = Load(plane.port, content(CHEAP, PATIENT_MS), RATE_PER_S, LINES, counts_own_delay=False)
    asking = asyncio.create_task(load.run_until_stopped())
    own = (psutil.Process(), server(plane))
    async with attacker(kind, plane) as bad:
        await asyncio.sleep(WARM_S)
        before_mb, before = held_mb(server(plane)), now(own)
        windows = [await window(plan.calm_s)]
        while len(windows) < 2 * plan.pairs_max and not is_settled(windows, load.seen, plan):
            await bad.say("go")
            await asyncio.sleep(BEGINS_S)
            windows.append(await window(plan.abused_s, is_abused=True))
            await bad.say("rest")
            await asyncio.sleep(SETTLES_S)
            windows.append(await window(plan.calm_s))
        others = before.until(now(own))
        told = msgspec.json.decode(await bad.say("end"), type=Told)
    load.stop()
    await asking
    return Outcome(
        kind=kind,
        answers=told.answers,
        p99s_ms=tuple(one.p99_ms(load.seen) for one in windows),
        stolen=tuple(one.stolen for one in windows),
        failed=sum(status != 200 for _, _, status in load.seen),
        grew_mb=told.most_mb - before_mb,
        grew_mb_max=GREW_MB_MAX * (1 + getattr(plane, "replicas", 0)),
        others=others,
    )


async def window(seconds: float, *, is_abused: bool = False) -> Window:
    """So many seconds from now."""
    begun = now(())
    await asyncio.sleep(seconds)
    ended = now(())
    return Window(begun.at_s, ended.at_s, is_abused, begun.until(ended).stolen)


def is_settled(windows: Sequence[Window], seen: list[Seen], plan: Windows) -> bool:
    """Whether there are enough: a goal that seems missed is looked at longer."""
    if len(windows) <= 2 * plan.pairs_min:
        return False
    found = ratios([one.p99_ms(seen) for one in windows], [one.stolen for one in windows])
    return median(found) <= P99_RATIO_MAX


def server(plane: InferenceUnderTest) -> psutil.Process:
    """The process that listens."""
    assert plane.process is not None
    return psutil.Process(plane.process.pid)


def tell(outcome: Outcome) -> None:
    """Print a line of the table."""
    calm, abused = outcome.p99s_ms[::2], outcome.p99s_ms[1::2]
    spread = " ".join(f"{one:.1f}" for one in sorted(ratios(outcome.p99s_ms, outcome.stolen)))
    answers = " ".join(f"{told}:{count}" for told, count in sorted(outcome.answers.items()))
    figures = f"{median(calm):8.2f} {median(abused):8.2f} {outcome.ratio:6.2f} {outcome.grew_mb:8.0f}"
    others = f"{outcome.others.stolen:6.1%} {outcome.others.foreign:7.1%}"
    verdict = "yes" if outcome.is_met else "MISSED"
    door, name = outcome.kind
    print(f"{door:5} {name:34} {figures} {outcome.failed:6} {others} {verdict:7} [{spread}] {answers}", flush=True)


HEAD = (
    f"{'door':5} {'what is sent':34} {'p99 ms':>8} {'then':>8} {'ratio':>6} {'grew MB':>8} failed stolen foreign met     "
    "[ratios of the pairs] answers"
)


def main(arguments: list[str]) -> int:
    """Exit code 1 if a goal was missed."""
    import uvloop

    is_gateway, words = arguments[:1] == ["gateway"], [one for one in arguments if one not in ("process", "gateway")]
    chosen = [kind for kind in KINDS if not words or any(word in " ".join(kind) for word in words)]
    print(HEAD)
    is_met = True
    with house(GatewayUnderTest if is_gateway else InferenceUnderTest) as plane:
        for kind in chosen:
            outcome = uvloop.run(measure(kind, plane))
            tell(outcome)
            is_met = is_met and outcome.is_met
    return 0 if is_met else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
