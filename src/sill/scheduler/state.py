"""The state a decision is made on: nodes, queues, jobs, kept nodes. Nothing here chooses.

Events (`folding`) and decisions (`decide`) change it only through the steps below, each of which keeps every index true.
"""

from collections.abc import Iterable
from heapq import heappop, heappush
from math import ceil

from msgspec.structs import replace

from sill.core.errors import Conflict
from sill.scheduler.carbon import Prices
from sill.scheduler.elastic import sizes_of
from sill.scheduler.entries import Entry, Line, Phase, Reservation
from sill.scheduler.fits import fit_named
from sill.scheduler.ledger import Ledger
from sill.scheduler.locality import Locality
from sill.scheduler.machines import MILLI
from sill.scheduler.orders import Order, order_named
from sill.scheduler.placement import Amounts, Fit, Need, Place, need_key, possible_types
from sill.scheduler.prediction import Predictor
from sill.scheduler.queues import QueueNode, Tree
from sill.scheduler.resources import ACCELERATORS, CPUS, Resources
from sill.scheduler.types import Cluster, Job, Node, Policy, Queue, Slot
from sill.scheduler.waiting import cheapest_us_of, is_large, patient_us, rank_of, starves_us

NEEDS_MAX = 10_000
"""So many classes of need are remembered; those nobody waits for are forgotten then."""


class State:
    """All that a decision may look at.

    Args:
        cluster: what there is at first; nodes come and go by events.
        policy: how to decide.
        queues: the tree; a queue a job names and nobody declared is made without limits.
    """

    def __init__(self, cluster: Cluster, policy: Policy, queues: Iterable[Queue] = ()) -> None:
        self.policy = policy
        self.types = {each.name: each for each in cluster.types}
        self.ledger = Ledger(cluster)
        self.locality = Locality(self.ledger)
        self.resources = Resources(self.ledger, cluster.types)
        self.tree = Tree(queues, self.resources)
        self.predictor = Predictor()
        self.order: Order = order_named(policy.order, self.predictor)
        self.fit: Fit = fit_named(policy.placement)
        self.now_us = 0
        self.ends = 0
        """So many jobs have ended."""
        self.entries: dict[str, Entry] = {}
        self.running: dict[str, Entry] = {}
        self.needs: dict[tuple[object, ...], Need] = {}
        self.impatient: dict[str, Entry] = {}
        """Waiting jobs that nodes may be kept for by now."""
        self.claiming: dict[str, Entry] = {}
        """Waiting jobs that may take back a guarantee by now."""
        self.claims: dict[str, Amounts] = {}
        """What waiting jobs will have once those that are stopped for them are gone."""
        self.waiting_needs: dict[int, Need] = {}
        """Classes of which jobs wait."""
        self.lines_by_need: dict[int, dict[int, Line]] = {}
        """Lines that are not empty, by need and then by the number of their queue."""
        self.lines_by_queue: dict[int, dict[int, Line]] = {}
        """The same by the number of their queue and then by need."""
        self.reservations: dict[str, Reservation] = {}
        self.kept = 0
        """Nodes kept for somebody."""
        self.touched = 0
        """Nodes on which something was freed since the last decision."""
        self.loosened: set[int] = set()
        """Numbers of queues in which something was freed since."""
        self.lost: dict[str, None] = {}
        """Jobs that had a worker on a node that is gone."""
        self.barred: dict[Line, None] = {}
        """Lines that a limit of a queue holds back."""
        self.prices: dict[str, Prices] = {}
        """What running costs by place; of the empty name, wherever nothing else is said."""
        self.optional: dict[str, Entry] = {}
        """Jobs put aside until running costs less."""
        self.elastic: dict[str, Entry] = {}
        """Jobs that may be given more or fewer workers."""
        self.timers: list[tuple[int, int, str]] = []
        self._numbers = 0
        self._needs_made = 0
        self._order_version = 0

    # --- jobs -----------------------------------------------------------------------------------------------------

    def admit(self, job: Job) -> Entry:
        """Let a job wait."""
        if job.id in self.entries:
            raise Conflict(f"job {job.id!r} is known already.", fix="Give each job an id of its own.")
        leaf = self.tree.leaf(job.queue if self.policy.fair else "")
        self._numbers += 1
        is_elastic = self.policy.elastic and bool(job.max_workers or job.min_workers)
        smallest = replace(job, workers=job.min_workers or job.workers) if is_elastic else job
        entry = Entry(job, self.need(smallest), leaf, self._numbers)
        self.entries[job.id] = entry
        if is_elastic:
            entry.sizes = sizes_of(job)
            self.elastic[job.id] = entry
        self.fit.learn(entry.need)
        return entry

    def need(self, job: Job) -> Need:
        """The class of jobs that are placed as this one is."""
        key = need_key(job)
        known = self.needs.get(key)
        if known is None:
            if len(self.needs) >= NEEDS_MAX:
                self.needs = {each.key: each for each in self.waiting_needs.values()}
            self._needs_made += 1
            known = self.needs[key] = self.fresh_need(job, self._needs_made)
        return known

    def fresh_need(self, job: Job, index: int = 0) -> Need:
        """The same, not remembered."""
        return Need(index, job, self._able_types(job))

    def join(self, node: Node) -> None:
        """A node came. If it brings a type of device nobody knew, those who wait for any type may use it too."""
        known = len(self.ledger.devices)
        self.touched |= 1 << self.ledger.join(node)
        self.resources.measure(self.ledger)
        if len(self.ledger.devices) > known:
            self.tree.widen()
            more = (0,) * (len(self.ledger.devices) - known)
            for entry in self.running.values():
                entry.amounts += more
            self.claims = {name: amounts + more for name, amounts in self.claims.items()}
            for lines in self.lines_by_need.values():
                need, job = (line := next(iter(lines.values()))).need, line.head.job
                need.types = self._able_types(job) if need.milli else need.types

    def _able_types(self, job: Job) -> tuple[str, ...]:
        return tuple(
            name
            for name in possible_types(job, self.ledger.devices)
            if set(job.capabilities) <= set(self.types[name].capabilities if name in self.types else ())
        )

    def enqueue(self, entry: Entry) -> None:
        """Put a job in its line, or aside until its time has come."""
        cheapest_us = cheapest_us_of(self.prices, self.predictor, entry, self.now_us) if self.prices else 0
        if cheapest_us > self.now_us:
            self.optional[entry.job.id] = entry
        until_us = max(entry.job.not_before_us, cheapest_us)
        if until_us > self.now_us:
            self.defer(entry, until_us)
        else:
            self.return_to_line(entry)

    def price(self, place: str, prices: Prices) -> None:
        """Take a forecast, and choose anew for all that wait for a better time."""
        self.prices[place] = prices
        for entry in list(self.optional.values()):
            if entry.phase is Phase.AWAY:
                self.enqueue(entry)

    def defer(self, entry: Entry, until_us: int) -> None:
        """Put a job that does not run aside until then."""
        entry.phase = Phase.AWAY
        entry.away_us = until_us
        self.remind(until_us, entry.job.id)

    def return_to_line(self, entry: Entry, since_us: int | None = None) -> None:
        """A job that does not run waits from now on, or has since then."""
        self.optional.pop(entry.job.id, None)
        entry.waiting_us = self.now_us if since_us is None else since_us
        self.line_up(entry)
        if self.policy.starved_s:
            self.remind(starves_us(self.policy, entry), entry.job.id)
        if self.policy.reservations and is_large(self.policy, self.ledger, entry.need):
            self.remind(patient_us(self.policy, self.predictor, entry), entry.job.id)
        self._look_at_claim(entry)

    def is_head(self, entry: Entry) -> bool:
        """True for the first of its line."""
        return self.lines_by_need[entry.need.index][entry.leaf.number].head is entry

    def look_at_waiting(self, entry: Entry) -> None:
        """Time has passed for one that waits: it may come first by now, or have nodes kept for it."""
        self.line_up(entry)
        may_keep = self.policy.reservations and is_large(self.policy, self.ledger, entry.need)
        if may_keep and patient_us(self.policy, self.predictor, entry) <= self.now_us:
            self.impatient[entry.job.id] = entry
        self._look_at_claim(entry)

    def _look_at_claim(self, entry: Entry) -> None:
        """Only a job in a queue with a guarantee, its own or of one above, may take back."""
        if self.policy.reclaims and self.tree.has_promises:
            from_us = entry.waiting_us + round(self.policy.grace_s * 1e6)
            if from_us > self.now_us:
                self.remind(from_us, entry.job.id)
            elif any(node.promises for node in self.tree.path(entry.leaf)):
                self.claiming[entry.job.id] = entry

    def line_up(self, entry: Entry) -> None:
        """Put a job into its line where it belongs now."""
        self.dequeue(entry)
        if entry.job.slowdowns and entry.job.workers > 1:
            entry.need = self._near(entry)
        entry.phase = Phase.WAITING
        self._rank(entry)
        self._line(entry).add(entry)
        entry.leaf.waiting += 1

    def _near(self, entry: Entry) -> Need:
        """The need of a gang that would rather have its workers near each other, by how long it has waited for that."""
        own = self.need(entry.job)
        waited_s = (self.now_us - entry.waiting_us) / 1e6
        level, until_s = self.locality.level(entry.job, own, waited_s, self.predictor.total_s(entry.job))
        if level == own.level:
            return own
        self.remind(entry.waiting_us + ceil(until_s * 1e6) + 1, entry.job.id)
        return self.need(replace(entry.job, level=level))

    def dequeue(self, entry: Entry) -> None:
        """Take a waiting job out of its line."""
        if entry.phase is Phase.WAITING:
            if self.impatient:
                self.impatient.pop(entry.job.id, None)
            if self.claiming:
                self.claiming.pop(entry.job.id, None)
            if self.claims:
                self.unclaim(entry)
            leaf, need = entry.leaf.number, entry.need.index
            line = self.lines_by_need[need][leaf]
            line.remove(entry)
            entry.leaf.waiting -= 1
            if not line.waiting:
                del self.lines_by_need[need][leaf], self.lines_by_queue[leaf][need]
                self.barred.pop(line, None)
                if not self.lines_by_need[need]:
                    entry.need.is_blocked = False
                    del self.lines_by_need[need], self.waiting_needs[need]
                if not self.lines_by_queue[leaf]:
                    del self.lines_by_queue[leaf]

    def begin(self, entry: Entry, where: Place) -> tuple[Slot, ...]:
        """A job takes its place on these nodes, with the devices named or else those the ledger gives it."""
        return self._began(entry, where[0], self._give(entry, where))

    def restore(self, entry: Entry, accelerator: str, slots: tuple[Slot, ...]) -> None:
        """A job is found running there, with these devices."""
        self._take(entry, accelerator, slots)
        self._began(entry, accelerator, slots)

    def sized_need(self, entry: Entry, workers: int, level: str) -> Need:
        """What an elastic gang asks for with so many workers that share a level."""
        return self.need(replace(entry.job, workers=workers, level=level))

    def lift(self, entry: Entry) -> tuple[Slot, ...]:
        """Take a running gang off its nodes for a moment, to look for others; `put_back` must follow."""
        self._release(entry)
        return entry.placed

    def put_back(self, entry: Entry, where: Place | None, held: tuple[Slot, ...]) -> tuple[Slot, ...]:
        """Give a lifted gang its new place, or the one it held if there is none."""
        if where is None:
            self._take(entry, entry.accelerator, held)
            return held
        self._resized(entry, self._give(entry, where), held)
        return entry.placed

    def _resized(self, entry: Entry, slots: tuple[Slot, ...], held: tuple[Slot, ...]) -> None:
        entry.attained_us = entry.work_us(self.now_us)
        entry.started_us, entry.pays_start = self.now_us, True
        for slot in held:
            self.touched |= 1 << self.ledger.by_name[slot.node]
        self.tree.release(entry.leaf, entry.amounts, self.now_us)
        self._seat(entry, slots)
        if self.policy.preempts:
            self.watch_index(entry)

    def _seat(self, entry: Entry, slots: tuple[Slot, ...]) -> None:
        """Count what a gang takes with the workers it has."""
        entry.placed = slots
        if entry.job.id in self.elastic:
            entry.workers = sum(slot.workers for slot in slots)
            entry.speed = dict(entry.sizes).get(entry.workers, 1.0)
            entry.amounts = self.resources.of_workers(entry.need, entry.accelerator, entry.workers)
        else:
            entry.amounts = self.resources.amounts(entry.need, entry.accelerator)
        self.tree.take(entry.leaf, entry.amounts, self.now_us)

    def _release(self, entry: Entry) -> None:
        need = entry.need
        for slot in entry.placed:
            index = self.ledger.by_name[slot.node]
            self.ledger.release(
                index, entry.job.id, slot.workers, need.cpus, need.memory, entry.accelerator, need.milli, slot.devices
            )

    def _take(self, entry: Entry, accelerator: str, slots: tuple[Slot, ...]) -> None:
        need = entry.need
        for slot in slots:
            index = self.ledger.by_name[slot.node]
            self.ledger.take(
                index, entry.job.id, slot.workers, need.cpus, need.memory, accelerator, need.milli, slot.devices
            )

    def _give(self, entry: Entry, where: Place) -> tuple[Slot, ...]:
        """Take the place from the ledger, with the devices named or else those it gives."""
        need, ledger, job_id = entry.need, self.ledger, entry.job.id
        accelerator, spread, named = where
        slots = []
        for index, workers in spread:
            devices = ledger.take(index, job_id, workers, need.cpus, need.memory, accelerator, need.milli, named)
            slots.append(Slot(ledger.machines[index].spec.name, workers, devices))
        return tuple(slots)

    def vacate(self, entry: Entry) -> None:
        """A job gives back its place."""
        self._release(entry)
        for slot in entry.placed:
            self.touched |= 1 << self.ledger.by_name[slot.node]
        self.tree.release(entry.leaf, entry.amounts, self.now_us)
        node: QueueNode | None = entry.leaf
        while node is not None:
            self.loosened.add(node.number)
            node = node.parent
        entry.placed = ()
        entry.workers = 0
        entry.amounts = ()
        self.running.pop(entry.job.id, None)

    def forget(self, entry: Entry) -> None:
        """The job is over."""
        entry.phase = Phase.GONE
        self.elastic.pop(entry.job.id, None)
        self.optional.pop(entry.job.id, None)
        self.unkeep(entry.job.id)
        self.entries.pop(entry.job.id, None)

    def claim(self, entry: Entry, accelerator: str) -> None:
        """Another job is stopped so that this one gets its place; no nodes are kept, its queue's turn comes first."""
        self.claiming.pop(entry.job.id, None)
        if entry.job.id not in self.claims:
            amounts = self.claims[entry.job.id] = self.resources.amounts(entry.need, accelerator)
            self.tree.claim(entry.leaf, amounts)

    def unclaim(self, entry: Entry) -> None:
        """It has its place, or wants none, or somebody else was faster: then it asks again after a grace."""
        amounts = self.claims.pop(entry.job.id, None)
        if amounts is not None:
            self.tree.claim(entry.leaf, amounts, -1)
            self.remind(self.now_us + round(max(self.policy.grace_s, 1.0) * 1e6), entry.job.id)

    # --- kept nodes -----------------------------------------------------------------------------------------------

    def keep(self, reservation: Reservation) -> None:
        """Keep nodes for a job, instead of those that were kept for it before."""
        self.unkeep(reservation.entry.job.id)
        self.reservations[reservation.entry.job.id] = reservation
        self.kept |= reservation.mask
        self.remind(reservation.start_us, reservation.entry.job.id)

    def kept_by_others(self, entry: Entry) -> int:
        """Nodes kept for somebody else than this job."""
        own = self.reservations.get(entry.job.id) if self.reservations else None
        return self.kept if own is None else self.kept & ~own.mask

    def unkeep(self, job_id: str) -> None:
        """Give the nodes back to all."""
        gone = self.reservations.pop(job_id, None)
        if gone is not None:
            self.touched |= gone.mask
            self.kept = 0
            for other in self.reservations.values():
                self.kept |= other.mask

    # --- time -----------------------------------------------------------------------------------------------------

    def remind(self, at_us: int, what: str) -> None:
        """Something is to be looked at then."""
        self._numbers += 1
        heappush(self.timers, (at_us, self._numbers, what))

    def due(self) -> list[tuple[int, str]]:
        """What was to be looked at until now, each with its time."""
        found = []
        while self.timers and self.timers[0][0] <= self.now_us:
            at_us, _, what = heappop(self.timers)
            found.append((at_us, what))
        return found

    @property
    def wake_us(self) -> int:
        """When to decide next if nothing happens; 0 for never."""
        return self.timers[0][0] if self.timers else 0

    # --- order ----------------------------------------------------------------------------------------------------

    def rank_again(self) -> None:
        """Sort all lines anew if the order has learned something that changes indexes."""
        total = self.resources.total
        self.order.survey(self.entries.values(), (total[ACCELERATORS] or total[CPUS]) / MILLI, self.now_us)
        if self.order.version == self._order_version:
            return
        self._order_version = self.order.version
        for line in self.lines:
            entries = [entry for _, entry in line.waiting]
            for entry in entries:
                self._rank(entry)
            line.waiting = sorted((entry.rank, entry) for entry in entries)
        for entry in self.running.values():
            entry.key = self.order.key(entry, self.now_us)

    def watch_index(self, entry: Entry) -> None:
        """Note a running job's index, and look again when it changes."""
        entry.key = self.order.key(entry, self.now_us)
        entry.changes_us = self.order.changes_us(entry, self.now_us)
        if entry.changes_us:
            self.remind(entry.changes_us, entry.job.id)

    def _rank(self, entry: Entry) -> None:
        entry.key = self.order.key(entry, self.now_us)
        entry.rank = rank_of(self.policy, entry, self.now_us)

    def _line(self, entry: Entry) -> Line:
        leaf, need = entry.leaf.number, entry.need.index
        known = self.lines_by_need.get(need, {}).get(leaf)
        if known is None:
            known = Line(entry.leaf, entry.need)
            self.waiting_needs[need] = entry.need
            self.lines_by_need.setdefault(need, {})[leaf] = known
            self.lines_by_queue.setdefault(leaf, {})[need] = known
        return known

    @property
    def lines(self) -> list[Line]:
        """All lines that are not empty."""
        return [line for lines in self.lines_by_need.values() for line in lines.values()]

    def _began(self, entry: Entry, accelerator: str, slots: tuple[Slot, ...]) -> tuple[Slot, ...]:
        self.dequeue(entry)
        entry.phase = Phase.RUNNING
        entry.attempt += 1
        entry.started_us = entry.saved_us = self.now_us
        entry.accelerator, entry.front, entry.pays_start = accelerator, 0, entry.job.id in self.elastic
        self._seat(entry, slots)
        self.running[entry.job.id] = entry
        if self.reservations:
            self.unkeep(entry.job.id)
        if self.policy.preempts:
            self.watch_index(entry)
        return slots
