"""The scheduler in step with the runs of the database. Decisions are made on it; what they come to is committed elsewhere.

What is true stands in the database: the board only remembers it. It starts from the runs that wait or run, follows the
log from there, and looks at each run the log names: that it stands as it does is then told to the scheduler. So it may be
thrown away at any moment, an event may come twice, and another control plane's starts are seen as well as ours.
"""

import asyncio

import msgspec

from sill.core.clock import Clock, iso
from sill.costs.types import Usage
from sill.engines.types import Capacity
from sill.queues.rules import in_force, next_change_us, own_queue, queue_of, under_maintenance
from sill.queues.types import Declared
from sill.runs import following, rules
from sill.runs.budgets import Refusal
from sill.runs.decisions import Decision, Stop, given_to
from sill.runs.jobs import NODE, cluster_of, job_of, resources_of, running_of
from sill.runs.prices import PriceBook
from sill.runs.shadow import Shadow
from sill.runs.spending import Meters, Spending
from sill.runs.store import RUNS
from sill.runs.types import Resources, Run, RunSpec, RunState
from sill.scheduler.rules import Scheduler
from sill.scheduler.types import (
    Action,
    Ended,
    Event,
    Job,
    NodeJoined,
    NodeLeft,
    Observed,
    Policy,
    Preempt,
    QueuesSet,
    Standing,
    Start,
    Stopped,
    Submitted,
    Withdrawn,
)
from sill.stores.database import Database

RECONSIDERED_MAX = 100
"""So many runs that a budget holds back are looked at again when something of their queues has ended."""
NOTES_S = 0.5
"""Why runs wait is written down at most this often; `why` always tells it as of now."""
POSSIBLE_MAX = 10_000
ROUNDS_MAX = 100
"""A decision looks again when a budget held back what it chose, so many times at most."""


class Board:
    """Runs as the scheduler sees them."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        capacity: Capacity,
        costs: Meters,
        policy: str | Policy = "local",
        prices: PriceBook | None = None,
        shadow_policy: str = "",
    ) -> None:
        self._database = database
        self._clock = clock
        cluster = cluster_of(capacity)
        self.resources = resources_of(cluster)
        self._nodes = {node.name: node for node in cluster.nodes}
        self._scheduler = Scheduler(cluster, policy)
        self._prices = prices
        self.shadow = Shadow(shadow_policy, self._scheduler) if shadow_policy else None
        self._spending = Spending(database, clock, costs, self._scheduler)
        self._declared = Declared()
        self._queues: dict[str, str] = {}
        self._changes_us = 0
        self._closed: frozenset[str] = frozenset()
        """Nodes under maintenance."""
        self._projects: dict[str, str] = {}
        self._attempts: dict[str, int] = {}
        """The attempt of each run that runs, as the runs count them."""
        self._held: dict[str, Refusal] = {}
        """Waiting runs that a budget holds back, and why."""
        self._possible: set[tuple[str, Resources]] = set()
        """What was found to be possible since queues were declared last."""
        self._seq = -1
        self._noted_at = -2
        self._noted_s = -NOTES_S
        self._noted: dict[tuple[str, str], str] = {}
        self._lock = asyncio.Lock()

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the machines."""
        return tuple(self._nodes)

    @property
    def scheduler(self) -> Scheduler:
        """What it decides with; to look at, and to fork."""
        return self._scheduler

    @property
    def declared(self) -> Declared:
        """Queues and bookings as they were read last."""
        return self._declared

    @property
    def waiting(self) -> int:
        """How many runs wait."""
        state = self._scheduler.state
        return len(state.entries) - len(state.running)

    @property
    def wake_us(self) -> int:
        """When to decide next if nothing happens; 0 for never."""
        times = (self._scheduler.state.wake_us, self._changes_us)
        return min((at_us for at_us in times if at_us), default=0)

    async def refresh(self) -> None:
        """Take in what was committed since the last time."""
        async with self._lock:
            if self._prices is not None:  # first: a run that comes now may wait for a better hour
                priced = await asyncio.to_thread(self._prices.due, self._clock.now_us())
                if priced is not None:
                    self._take(priced)
            if self._seq < 0:
                news, ended = await self._database.read(following.beginning)
                self._take_news(news)
                for run in ended:
                    runtime_s = (run.ended_us - run.started_us) / 1e6
                    self._take(Observed(job=self._job(run), runtime_s=runtime_s))
            more = True
            while more:
                seq, knows = self._seq, self._attempts
                news = await self._database.read(lambda connection: following.since(connection, seq, knows))  # noqa: B023
                self._take_news(news)
                more = news.is_more
            if self._spending.is_needed:
                await self._spending.measure(self._seq)

    def decide(self) -> Decision:
        """What to do now. Runs to start hold their places; say `take_back` of one that was not started."""
        now_us = self._clock.now_us()
        if self._changes_us and self._changes_us <= now_us:
            self._declare(self._declared)
        made = Decision(starts=[], stops=[], ends=[], version=self._declared.version, given={})
        if self.shadow is not None:
            self.shadow.foresee(now_us)
        for _ in range(ROUNDS_MAX):
            added = [self._add(each, made) for each in self._scheduler.decide(now_us)]
            if all(added):
                break
        if self.shadow is not None:
            self.shadow.compare({run_id for _, run_id in made.starts}, {each.run_id for each in made.stops}, now_us)
        made.stops.extend(self._passing())
        return made

    def _add(self, action: Action, made: Decision) -> bool:
        """Take an action into the decision; False if it cannot be done, so that others may have its place."""
        run_id, project = action.job_id, self._projects[action.job_id]
        if isinstance(action, Preempt):
            if self._attempts.get(run_id) == 0:  # chosen a moment ago, it runs nowhere yet
                made.starts.remove((project, run_id))
                self._take(Stopped(job_id=run_id, attempt=action.attempt))
                return False
            why = f"it was stopped: it {action.reason} {action.for_job}".rstrip()
            made.stops.append(Stop(project, run_id, why, 1))
        elif isinstance(action, Start):
            refusal = self._spending.refusal(run_id)
            if refusal is not None:
                self._hold(run_id, refusal)
                if refusal.is_end:
                    made.ends.append(Stop(project, run_id, refusal.text, 0, is_end=True))
                return False
            self._attempts[run_id] = 0  # until it is committed
            made.starts.append((project, run_id))
            if action.accelerator:
                made.given[run_id] = given_to(action)
        return True

    def started(self, run: Run) -> None:
        """The start of an attempt was committed."""
        self._attempts[run.id] = run.attempt

    async def take_back(self, chosen: list[tuple[str, str]]) -> None:
        """These starts could not be committed: look at the runs as they are."""
        found = await self._database.read(lambda connection: RUNS.find_many(connection, chosen))
        for project, run_id in chosen:
            run = found.get((project, run_id))
            if run is None:
                self._gone(run_id, is_success=False)
            elif run.state is RunState.QUEUED:
                self._stopped(run)
            else:
                self._see(run)

    def note_use(self, run_id: str, usage: Usage) -> None:
        """What a running run has used so far; it counts while there are budgets."""
        self._spending.note_use(run_id, usage)

    def why(self, run_id: str) -> str:
        """Why a run waits, and when it starts once forecasts have proved right; empty if it does not wait."""
        if not self._scheduler.is_waiting(run_id):
            return ""
        text = self.reason(run_id)
        start = None if run_id in self._held else self._scheduler.forecast(run_id)
        if start is None or not start.is_calibrated:
            return text
        return f"{text}; starts between {iso(start.low_us)} and {iso(start.high_us)}, four times of five"

    def reason(self, run_id: str) -> str:
        """What holds a waiting run back: a budget, or what the scheduler says; no forecast, which takes much longer."""
        held = self._held.get(run_id)
        return held.text if held is not None else self._scheduler.reason(run_id)

    def project_of(self, run_id: str) -> str:
        """The project of a run that waits or runs."""
        return self._projects[run_id]

    def new_reasons(self, most: int) -> dict[tuple[str, str], str]:
        """Why the first runs wait, by project and run; only what is new since the last time, and nothing if nothing
        happened since."""
        now_s = self._clock.monotonic_s()
        if self._noted_at == self._seq or 0 <= now_s - self._noted_s < NOTES_S:
            return {}
        self._noted_at, self._noted_s = self._seq, now_s
        reasons = {
            (self._projects[run_id], run_id): self._scheduler.reason(run_id)
            for run_id in self._scheduler.waiting(most)[:most]
        }
        reasons |= {(self._projects[run_id], run_id): self._held[run_id].text for run_id in list(self._held)[:most]}
        new = {key: text for key, text in reasons.items() if self._noted.get(key) != text}
        self._noted = reasons
        return new

    async def check_possible(self, project: str, spec: RunSpec) -> None:
        """Refuse at submission what could never start.

        Raises:
            Refused: it asks for more than there is, or than its queue may ever hold.
            InvalidValue: it asks for a part of several devices.
        """
        if self._seq < 0:
            await self.refresh()
        asked = self.queue_of(project), spec.resources
        if asked in self._possible:
            return
        self._scheduler.check_possible(self._job(Run(id="", project=project, spec=spec, state=RunState.QUEUED)))
        if len(self._possible) < POSSIBLE_MAX:
            self._possible.add(asked)

    def queue_of(self, project: str) -> str:
        """The queue the project's runs wait in."""
        return self._queues.get(project) or own_queue(project, self._declared)

    def standing(self) -> Standing:
        """How the cluster, the queues and their budgets stand."""
        spent = self._spending.spent()
        found = self._scheduler.standing()
        queues = tuple(
            msgspec.structs.replace(each, budget=spent[each.name][0], spent=spent[each.name][1])
            if each.name in spent
            else each
            for each in found.queues
        )
        return msgspec.structs.replace(found, queues=queues)

    # --- what was committed -----------------------------------------------------------------------------------------

    def _take_news(self, news: following.News) -> None:
        self._seq = news.seq
        if news.declared is not None:
            self._declare(news.declared)
        for run in news.changed:
            self._see(run)
        for run_id, is_success in news.over.items():
            self._gone(run_id, is_success=is_success)

    def _see(self, run: Run) -> None:
        """Bring the scheduler in step with one run."""
        is_known = run.id in self._scheduler.state.entries
        is_running = run.id in self._scheduler.state.running
        if run.state.is_final or run.kind not in rules.KINDS:
            self._gone(run.id, is_success=run.state is RunState.FINISHED)
            return
        self._projects[run.id] = run.project
        if run.state is RunState.RUNNING:
            if not is_running:
                self._take(running_of(run, self.queue_of(run.project), self._nodes[NODE].accelerators))
            self._attempts[run.id] = run.attempt
        elif not is_known:
            self._take(Submitted(job=self._job(run)))
        elif is_running and 0 < self._attempts.get(run.id, 0) < run.attempt:
            self._stopped(run)

    def _stopped(self, run: Run) -> None:
        attempt = self._scheduler.attempt(run.id) if run.id in self._scheduler.state.entries else 0
        self._forget_attempt(run.id)
        self._take(Stopped(job_id=run.id, attempt=attempt, not_before_us=run.not_before_us))
        self._reconsider(run.id)

    def _gone(self, run_id: str, *, is_success: bool) -> None:
        self._forget_attempt(run_id)
        self._held.pop(run_id, None)
        if run_id in self._scheduler.state.running:
            self._take(Ended(job_id=run_id, attempt=self._scheduler.attempt(run_id), is_success=is_success))
            self._reconsider(run_id)
        elif run_id in self._scheduler.state.entries:
            self._take(Withdrawn(job_id=run_id))
        self._projects.pop(run_id, None)

    def _forget_attempt(self, run_id: str) -> None:
        self._attempts.pop(run_id, None)
        self._spending.forget(run_id)

    def _take(self, event: Event) -> None:
        self._scheduler.take(event, self._clock.now_us())

    def _job(self, run: Run) -> Job:
        return job_of(run, self.queue_of(run.project))

    # --- declarations -----------------------------------------------------------------------------------------------

    def _declare(self, declared: Declared) -> None:
        """Take the queues as they hold now, move runs whose project has another queue, open and close nodes."""
        now_us = self._clock.now_us()
        self._declared = declared
        self._queues = queue_of(declared)
        self._changes_us = next_change_us(declared, now_us)
        self._spending.declare(declared, self.queue_of)
        self._possible.clear()
        self._take(QueuesSet(queues=in_force(declared, now_us, self.resources)))
        closed = under_maintenance(declared, now_us)
        for name in closed - self._closed:
            self._take(NodeLeft(name=name, is_lost=False))
        for name in self._closed - closed:
            self._take(NodeJoined(node=self._nodes[name]))
        self._closed = closed
        for run_id in list(self._scheduler.state.entries):
            queue = self.queue_of(self._projects[run_id])
            if run_id in self._held or not self._scheduler.is_seated(run_id, queue):
                self._move(run_id, queue)

    def _move(self, run_id: str, queue: str) -> None:
        """Let a run wait or run in that queue from now on; one that a budget held back is looked at again."""
        self._held.pop(run_id, None)
        self._scheduler.move(run_id, queue, self._clock.now_us())

    # --- budgets ----------------------------------------------------------------------------------------------------

    def _hold(self, run_id: str, refusal: Refusal) -> None:
        self._held[run_id] = refusal
        attempt = self._scheduler.attempt(run_id)
        self._take(Stopped(job_id=run_id, attempt=attempt, not_before_us=refusal.until_us))

    def _passing(self) -> list[Stop]:
        """Runs to stop before a budget is passed; said again until they are gone, which changes nothing more."""
        found = self._spending.passing()
        return [Stop(self._projects[name], name, why.text, why.until_us, why.is_end) for name, why in found.items()]

    def _reconsider(self, run_id: str) -> None:
        """Something ended: some runs that budgets hold back may cost less than is left by now."""
        for held in [name for name in self._held if name != run_id][:RECONSIDERED_MAX]:
            self._move(held, self._scheduler.job(held).queue)
