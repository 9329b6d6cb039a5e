"""Sends each request to a replica, and to another one if that fails or is late. Knows nothing of processes or clients."""

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Collection

from sill.gateway.budget import Budget
from sill.gateway.latency import FLOOR_S, Histogram, Latency
from sill.gateway.refusals import is_refusal, unanswered
from sill.gateway.upstream import Connection, Replica
from sill.safety.bodies import Content

ATTEMPTS_MAX = 4
OUTSTANDING_MAX = 1_024
"""Requests that one replica may have at once."""
RETRY_RATIO, RETRIES_SAVED_MAX = 0.2, 2.0 * OUTSTANDING_MAX
"""All that two replicas had may be asked again at once."""
ELSEWHERE_RATIO, ELSEWHERE_SAVED_MAX = 0.2, 100.0
"""The same for answers 503. They are counted apart: who asks for what fails everywhere takes nobody else's repeats."""
HEDGE_RATIO, HEDGES_SAVED_MAX = 0.05, 50.0
HELD_S = 10.0
"""How long requests wait while no replica is there. How many is bounded by the gate: they are in flight."""
TICK_S = 0.005
LATE_S = 630.0
"""No endpoint allows a request longer than ten minutes."""
PATHS_MAX = 1_024
FAULTS = (500, 502)
LACKING_S = 1.0
"""So long a replica that answered 503 is not asked again for the same path, if another one is there: it has no model for
it yet."""
CALM_S = 1.0
"""So long after a replica refused for want of time or room, nothing is asked twice for being late."""


class Ask:
    """One request on its way. `reply` is called once, later, with the whole answer."""

    __slots__ = (
        "attempts", "born_s", "connections", "content", "has_no_body", "is_done", "is_hedged", "is_repeatable",
        "latency", "reply", "router", "tried", "until_s",
    )  # fmt: skip

    def __init__(
        self,
        router: "Router",
        content: Content,
        path: bytes,
        reply: Callable[[bytes], None],
        *,
        is_repeatable: bool = True,
        has_no_body: bool = False,
        seconds: float = LATE_S,
    ) -> None:
        self.router = router
        self.content = content
        self.reply = reply
        self.is_repeatable = is_repeatable
        self.has_no_body = has_no_body
        self.latency = router.latency(path)
        self.born_s = asyncio.get_running_loop().time()
        self.until_s = self.born_s + seconds
        self.tried: set[Replica] = set()
        self.connections: list[Connection] = []
        self.attempts = 0
        self.is_done = self.is_hedged = False

    def sent(self, connection: Connection) -> None:
        """See `upstream.Asking`."""
        if self.is_done:
            connection.leave()
        else:
            self.connections.append(connection)

    def answered(self, connection: Connection, status: int, content: bytes) -> None:
        """See `upstream.Asking`."""
        self.router.answered(self, connection, status, content)

    def broken(self, connection: Connection, why: str, is_stale: bool) -> None:
        """See `upstream.Asking`."""
        self.router.broken(self, connection, why, is_stale)


class Router:
    """Power of two choices among the replicas that may serve.

    Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001; hedging: Dean and Barroso,
    "The Tail at Scale", 2013.
    """

    def __init__(self) -> None:
        self.replicas: list[Replica] = []
        self.retries = Budget(RETRY_RATIO, RETRIES_SAVED_MAX)
        self.elsewhere = Budget(ELSEWHERE_RATIO, ELSEWHERE_SAVED_MAX)
        self.hedges = Budget(HEDGE_RATIO, HEDGES_SAVED_MAX)
        self.counts = dict.fromkeys(
            ("requests", "retried", "hedged", "failed", "held", "repeats_refused", "shed", "answered_twice"), 0
        )
        self.refused = Histogram()
        """What refusals took in the gateway, its own and those of replicas."""
        self._latencies: OrderedDict[bytes, Latency] = OrderedDict()
        self._open: OrderedDict[Ask, None] = OrderedDict()
        self._held: deque[Ask] = deque()
        self._lacking: dict[tuple[Latency, Replica], float] = {}
        self._is_ticking = False
        self._refused_s = float("-inf")

    @property
    def open(self) -> int:
        """Requests on their way."""
        return len(self._open)

    def latency(self, path: bytes) -> Latency:
        """What is known of the answers to a path."""
        known = self._latencies.get(path)
        if known is None:
            known = self._latencies[path] = Latency()
            if len(self._latencies) > PATHS_MAX:
                self._latencies.popitem(last=False)
        return known

    def send(self, ask: Ask) -> None:
        """Have a request answered."""
        self.counts["requests"] += 1
        self.retries.earn()
        self.elsewhere.earn()
        self.hedges.earn()
        self._open[ask] = None
        if not self._is_ticking:
            self._is_ticking = True
            asyncio.get_running_loop().call_later(TICK_S, self._tick)
        self._try(ask)

    def leave(self, ask: Ask) -> None:
        """Nobody waits for the answer any more."""
        if not ask.is_done:
            self._close(ask)

    def changed(self) -> None:
        """Some replica may serve that did not: what was held goes there."""
        held, self._held = self._held, deque()
        for ask in held:
            if not ask.is_done:
                self._try(ask)

    def eject(self, replica: Replica, reason: str, *, is_lost: bool) -> None:
        """Send nothing more to a replica; if it is lost, what waits for it is asked elsewhere."""
        if replica.health.is_admitted:
            replica.ejections += 1
        replica.health.eject(asyncio.get_running_loop().time(), reason)
        if is_lost:
            replica.forsake()

    def answered(self, ask: Ask, connection: Connection, status: int, content: bytes) -> None:
        """A replica has answered."""
        replica, now_s = connection.replica, asyncio.get_running_loop().time()
        replica.answers += 1
        replica.health.answered(now_s, status in FAULTS)
        if ask.is_done:
            self.counts["answered_twice"] += 1
            return
        if connection in ask.connections:
            ask.connections.remove(connection)
        if is_refusal(status, content):  # another replica has as much to do: asking it too would only add to that
            self._refused_s = now_s
            if ask.connections:
                return  # another one is asked already
        elif status == 503 and self._may_ask_elsewhere(ask, replica, now_s):
            self.counts["retried"] += 1
            self._try(ask)
            return
        else:
            took_s = now_s - connection.asked_s
            replica.took(took_s)
            ask.latency.add(took_s)
            if self._lacking and status < 400:
                self._lacking.pop((ask.latency, replica), None)
        self._close(ask)
        ask.reply(content)

    def broken(self, ask: Ask, connection: Connection, why: str, is_stale: bool) -> None:
        """A replica will not answer."""
        replica = connection.replica
        never_sent = connection.asked_s == 0.0
        if not is_stale:
            replica.failures += 1
        if connection.is_unreachable and replica.health.is_admitted:
            self.eject(replica, why, is_lost=True)  # nobody listens there: the next probe would find the same
        if ask.is_done:
            return
        if not is_stale:  # one that hangs up on everybody would have the fewest, and get all
            replica.health.answered(asyncio.get_running_loop().time(), is_fault=True)
        if connection in ask.connections:
            ask.connections.remove(connection)
        if ask.connections:
            return  # another one is asked already
        if ask.attempts >= ATTEMPTS_MAX or not (ask.is_repeatable or never_sent):
            self._fail(ask, f"replica {replica.name} did not answer: {why}.")
        elif is_stale or self.retries.take():
            ask.attempts -= is_stale  # nobody has seen it; and there are only so many old connections
            self.counts["retried"] += 1
            self._try(ask)
        else:
            self.counts["repeats_refused"] += 1
            self._fail(ask, f"replica {replica.name} did not answer, and too much is repeated already.")

    def pick(self, avoided: Collection[Replica]) -> Replica | None:
        """The less busy of two replicas by chance; None if there is none to take."""
        fit = [one for one in self.replicas if one.may_serve and one not in avoided]
        if not fit:
            return None
        if len(fit) > 2:
            fit = random.sample(fit, 2)
        best = min(fit, key=lambda one: one.outstanding)
        if len(fit) == 2 and fit[0].outstanding == fit[1].outstanding:
            best = random.choice(fit)  # noqa: S311  # spreads load, guards nothing
        return best if best.outstanding < OUTSTANDING_MAX else None

    def _try(self, ask: Ask) -> None:
        avoided = ask.tried | self._lacking_for(ask) if self._lacking else ask.tried
        replica = self.pick(avoided) or self.pick(())
        if replica is not None:
            ask.attempts += 1
            ask.tried.add(replica)
            replica.ask(ask, ask.is_repeatable)
        elif any(one.may_serve for one in self.replicas):
            self._fail(ask, "every replica is busy.")
        else:
            self.counts["held"] += 1
            self._held.append(ask)

    def _may_ask_elsewhere(self, ask: Ask, replica: Replica, now_s: float) -> bool:
        """Whether a request that a replica cannot answer goes to another one; that one is passed over for a while."""
        if len(self._lacking) >= PATHS_MAX:
            self._lacking.clear()
        self._lacking[ask.latency, replica] = now_s + LACKING_S
        left_out = ask.tried | self._lacking_for(ask)  # where nobody has it, no repeat is spent on asking everybody
        others = any(one.may_serve and one not in left_out for one in self.replicas)
        return ask.is_repeatable and others and ask.attempts < ATTEMPTS_MAX and self.elsewhere.take()

    def _lacking_for(self, ask: Ask) -> set[Replica]:
        now_s = asyncio.get_running_loop().time()
        return {one for one in self.replicas if self._lacking.get((ask.latency, one), 0.0) > now_s}

    def _tick(self) -> None:
        """Ask elsewhere what is late, give up what is over its time. The oldest come first."""
        now_s = asyncio.get_running_loop().time()
        is_calm = now_s - self._refused_s > CALM_S
        for ask in list(self._open):
            if now_s - ask.born_s < FLOOR_S:
                break
            if now_s >= ask.until_s or (not ask.attempts and now_s - ask.born_s > HELD_S):
                self._fail(ask, "no replica answered in time.")
            elif is_calm and not ask.is_hedged and now_s - ask.born_s > ask.latency.hedge_after_s:
                self._hedge(ask)
        if self._open:
            asyncio.get_running_loop().call_later(TICK_S, self._tick)
        else:
            self._is_ticking = False

    def _hedge(self, ask: Ask) -> None:
        """Only to a replica with less to do: where all are equally behind, a second request adds to it."""
        if not ask.attempts or not ask.is_repeatable or ask.attempts >= ATTEMPTS_MAX:
            return
        busy = min(one.outstanding for one in ask.tried)
        if not any(one.may_serve and one not in ask.tried and one.outstanding < busy for one in self.replicas):
            return
        if not self.hedges.take():
            return
        ask.is_hedged = True
        self.counts["hedged"] += 1
        self._try(ask)

    def _fail(self, ask: Ask, why: str) -> None:
        self.counts["failed"] += 1
        self._close(ask)
        asyncio.get_running_loop().call_soon(ask.reply, unanswered(why))  # later: perhaps it is asked just now

    def _close(self, ask: Ask) -> None:
        ask.is_done = True
        self._open.pop(ask, None)
        for connection in ask.connections:
            connection.leave()  # the slower one need not go on
        ask.connections.clear()
