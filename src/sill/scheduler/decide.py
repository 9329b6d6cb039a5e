"""What to do now: start, keep nodes, stop. One function for the daemon, the simulator and every what-if.

`decide` is a function of the state, the event and the time alone: no clock, no random numbers, no input or output. The
state is advanced in place (a copy for each event would cost more than the decision); the same journal gives the same
actions, bit by bit.
"""

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heapreplace

from msgspec.structs import replace

from sill.scheduler.contest import Contest
from sill.scheduler.entries import Entry, Line, Phase, Reservation
from sill.scheduler.folding import happen, settle, slots_of, stop
from sill.scheduler.moving import make_room
from sill.scheduler.placement import Place, Spread, place
from sill.scheduler.preemption import Borrowed, claimant, clear, find_victims
from sill.scheduler.queues import QueueNode
from sill.scheduler.reservations import HIGH, allows, ends_us, plan, use_slack
from sill.scheduler.resizing import resize
from sill.scheduler.state import State
from sill.scheduler.types import Action, Event, Preempt, Reserve, Resize, Start

ROUNDS_MAX = 32
"""A decision looks again when it gave something back itself, so many times at most."""
RETRY_US = 60_000_000
"""When a kept node could not be cleared at the start, it is tried again after this."""
PREEMPTIONS_MAX = 4_096
"""So many jobs at most are stopped in one decision."""


def decide(state: State, event: Event, now_us: int) -> list[Action]:
    """Take in an event and say what to do.

    Promises: nothing is given twice, gangs start whole, no ceiling or limit of borrowing is passed.
    """
    happen(state, event, now_us)
    return choose(state)


def choose(state: State) -> list[Action]:
    """What to do now, after one or several events."""
    passing = _Pass(state)
    passing.run()
    return passing.actions


class _Pass:
    """One decision: its steps in order, and the actions they come to."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.actions: list[Action] = []
        self._stopped = 0
        self._is_short = False
        """A promised deadline needs devices that are yet to become free: elastic gangs leave what there is to it."""
        self._lines: dict[int, list[tuple[int, int, float, int, int, Line]]] = {}
        """Lines of each queue that may start something, by their first job's rank; made when its turn comes."""

    def run(self) -> None:
        state = self.state
        self._stop_lost()
        state.rank_again()
        self._resize()
        for _ in range(ROUNDS_MAX):
            self._claim()
            self._reopen()
            settle(state)
            before = len(self.actions)
            self._start_in_turn()
            if state.kept:
                self._backfill()
            if state.claiming:
                self._reclaim()
            if state.policy.preempts:
                self._preempt()
            if state.policy.reservations:
                self._revoke()
                self._reserve()
            if len(self.actions) > before or any(need.is_blocked for need in state.waiting_needs.values()):
                self._resize()
            if not state.touched:
                return
        state.remind(state.now_us, "")  # there is more to look at

    def _resize(self) -> None:
        """Fit elastic gangs to what there is; one that was just started starts with its new size."""
        if not self.state.elastic or self._is_short:
            return
        started = {action.job_id: at for at, action in enumerate(self.actions) if isinstance(action, Start)}
        actions, self._is_short = resize(self.state, started)
        for action in actions:
            at = started.get(action.job_id, -1)
            if isinstance(action, Resize) and at >= 0:
                self.actions[at] = replace(self.actions[at], slots=action.slots)
            else:
                self.actions.append(action)

    # --- places that are kept ---------------------------------------------------------------------------------------

    def _claim(self) -> None:
        """Start those whose kept nodes have room by now."""
        state = self.state
        for kept in list(state.reservations.values()):
            entry, need = kept.entry, kept.entry.need
            if entry.phase is not Phase.WAITING:
                continue
            amounts = state.resources.amounts(need, kept.accelerator)
            if state.tree.over(entry.leaf, amounts) is None and all(
                need.room(state.ledger, index, kept.accelerator) >= workers for index, workers in kept.spread
            ):
                self._start(entry, (kept.accelerator, kept.spread, ()), "the nodes kept for it are free")

    def _reserve(self) -> None:
        """Keep nodes for the first of those that were overtaken for too long."""
        state = self.state
        free = state.policy.reservations - len(state.reservations)
        if free <= 0:
            return
        for entry in sorted(state.impatient.values(), key=lambda each: each.rank):
            if entry.job.id in state.reservations or not state.is_head(entry) or not entry.need.is_blocked:
                continue
            kept = plan(state, entry)
            if kept is None:
                continue
            if not self._make_room(entry, kept.start_us):
                self._keep(kept, "it was overtaken for as long as its queue's patience allows")
            free -= 1
            if not free:
                return

    def _make_room(self, entry: Entry, otherwise_us: int) -> bool:
        """Move others so that a gang that fits in all fits in one place; false if that cannot be, or costs too much."""
        state, now_us = self.state, self.state.now_us
        found = make_room(state, entry, (otherwise_us - now_us) / 1e6) if state.policy.moves else None
        if found is None:
            return False
        self._take_from(entry, (found.accelerator, found.spread, [each for each, _ in found.moved]), "makes room for")
        for each, spread in found.moved:
            self._keep(
                Reservation(each, each.accelerator, spread, now_us, now_us),
                f"it goes on there: {entry.job.id} fits then",
            )
        return True

    def _revoke(self) -> None:
        """Clear nodes whose reservation starts, or plan it anew."""
        state = self.state
        for kept in list(state.reservations.values()):
            if kept.start_us > state.now_us or kept.victims:
                continue
            victims = clear(state, kept.entry, kept.accelerator, kept.spread) if state.policy.revokes else None
            if victims:
                for victim in victims:
                    self._stop(victim, kept.entry, "runs longer than predicted on nodes kept for")
            elif victims is None:
                fresh = plan(state, kept.entry)
                if fresh is None or fresh.start_us <= state.now_us:
                    if kept.retry_us <= state.now_us:
                        kept.retry_us = state.now_us + RETRY_US
                        state.remind(kept.retry_us, kept.entry.job.id)
                else:
                    self._keep(fresh, "what runs on its nodes is late")

    def _backfill(self) -> None:
        """Let short work use kept nodes until their reservation starts."""
        state, policy = self.state, self.state.policy
        for need in list(state.waiting_needs.values()):
            lines = state.lines_by_need[need.index]
            if not any(need.candidates(state.ledger, accelerator, ~state.kept) for accelerator in need.types):
                continue
            for line in list(lines.values()):
                if line.barred is None:
                    self._backfill_line(line, policy.depth)

    def _backfill_line(self, line: Line, depth: int) -> None:
        state, failed = self.state, 0
        for _, entry in line.waiting[:depth]:
            ends = ends_us(state, entry, HIGH if state.policy.uses_high else 0.5)
            mask = allows(state, entry, ends)
            if mask & ~failed == 0:
                if state.order.by_time:
                    return  # those behind it are longer still
                continue
            types, line.barred = self._payable(entry)
            if line.barred is not None:
                state.barred[line] = None  # it is looked at again once its queue holds less
            found = place(state.ledger, entry.need, types, ~mask, state.fit)
            if found is not None:
                use_slack(state, entry, found[1], ends)
                self._start(entry, found, "it is predicted to end before kept nodes are needed")
            elif line.barred is not None:
                return
            else:
                failed |= mask

    # --- places that are free -----------------------------------------------------------------------------------------

    def _reopen(self) -> None:
        """Look again at what was blocked, if something was freed that it could use."""
        state = self.state
        if state.touched:
            for need in state.waiting_needs.values():
                if need.is_blocked and any(
                    need.candidates(state.ledger, accelerator, ~state.touched) for accelerator in need.types
                ):
                    need.is_blocked = False
        if state.loosened:
            for line in state.barred:
                if line.barred is not None and line.barred[0].number in state.loosened:
                    line.barred = None
            state.barred = {line: None for line in state.barred if line.barred is not None}

    def _start_in_turn(self) -> None:
        """Start what fits, queue by queue in the order of their shares, job by job in the order of the policy."""
        state = self.state
        leaves: dict[int, QueueNode] = {}
        for need in state.waiting_needs.values():
            if not need.is_blocked:
                for line in state.lines_by_need[need.index].values():
                    if line.barred is None:
                        leaves[line.leaf.number] = line.leaf
        if not leaves:
            return
        self._lines.clear()
        contest = Contest(state.tree, leaves.values(), state.now_us)
        while (leaf := contest.best()) is not None:
            following = self._next_line(leaf)
            if following is None:
                contest.drop(leaf)
            elif self._try_start(following):
                contest.took(leaf)
            elif all(need.is_blocked for need in state.waiting_needs.values()):
                return

    def _next_line(self, leaf: QueueNode) -> Line | None:
        """The line whose first job comes first among those not blocked; of a strict queue only its very first job.

        Within a pass a line only loses its first and only gets blocked, so a heap is looked at again only at its top.
        """
        heap = self._lines.get(leaf.number)
        if heap is None:
            lines = self.state.lines_by_queue.get(leaf.number, {}).values()
            heap = self._lines[leaf.number] = [(*line.waiting[0][0], line) for line in lines]
            heapify(heap)
        while heap:
            first = heap[0]
            line = first[5]
            if not line.waiting:
                heappop(heap)
            elif (rank := line.waiting[0][0])[4] != first[4]:  # another job is its first by now
                heapreplace(heap, (*rank, line))
            elif not line.need.is_blocked and line.barred is None:
                return line
            elif self.state.policy.strict or leaf.spec.strict:
                return None
            else:
                heappop(heap)
        return None

    def _try_start(self, line: Line) -> bool:
        """Start the first of a line, or note that the line, or its whole class, is blocked."""
        state, entry = self.state, line.head
        if self._is_short and entry.job.id in state.elastic:
            entry.need.is_blocked = True
            return False
        types, line.barred = self._payable(entry)
        if line.barred is not None:
            state.barred[line] = None
            if not types:
                return False
        avoid = state.kept_by_others(entry) if state.kept else 0
        found = place(state.ledger, entry.need, types, avoid, state.fit)
        if found is None:
            entry.need.is_blocked = True
            return False
        line.barred = None
        self._start(entry, found, "it is its turn and there is room")
        return True

    def _payable(self, entry: Entry) -> tuple[tuple[str, ...], tuple[QueueNode, int] | None]:
        """Accelerator types the limits of its queue allow it now, and what forbids the others."""
        state, need = self.state, entry.need
        if len(need.types) == 1:
            over = state.tree.over(entry.leaf, state.resources.amounts(need, need.types[0]))
            return (need.types, None) if over is None else ((), over)
        allowed: list[str] = []
        barred: tuple[QueueNode, int] | None = None
        for accelerator in need.types:
            over = state.tree.over(entry.leaf, state.resources.amounts(need, accelerator))
            if over is None:
                allowed.append(accelerator)
            else:
                barred = over
        return tuple(allowed), barred

    # --- places that others hold --------------------------------------------------------------------------------------

    def _reclaim(self) -> None:
        """Take back for queues below their guarantee what others have borrowed."""
        state = self.state
        borrowed: dict[int, Borrowed] = {}
        for entry in sorted(state.claiming.values(), key=lambda each: each.rank):
            kept = state.reservations.get(entry.job.id)
            if (kept is not None and (kept.victims or kept.start_us <= state.now_us)) or not entry.need.is_blocked:
                continue
            state.unkeep(entry.job.id)  # what it takes back it has sooner than nodes that are drained for it
            if self._stopped >= PREEMPTIONS_MAX:
                state.remind(state.now_us, "")
                return
            queue = claimant(state, entry)
            if queue is not None and queue.number not in borrowed:
                borrowed[queue.number] = Borrowed(state, queue)
            if queue is None or not self._take_back(entry, queue, borrowed[queue.number]):
                del state.claiming[entry.job.id]  # nobody borrows what it needs: it asks again after a grace
                state.remind(state.now_us + round(max(state.policy.grace_s, 1.0) * 1e6), entry.job.id)

    def _take_back(self, entry: Entry, queue: QueueNode, borrowed: Borrowed) -> bool:
        """Stop one job that covers it, else as many as one place for all of it needs; false if there are none."""
        state = self.state
        reason = f"queue {queue.spec.name!r} takes back its guarantee for"
        if entry.need.workers == 1:
            allowed = entry.need.nodes_up(state.ledger, state.kept_by_others(entry))
            victim = borrowed.covering(entry.need, allowed)
            if victim is not None:
                self._stop(victim, entry, reason)
                return True
        found = find_victims(state, entry, borrowed.left, lambda victim: True) if state.is_head(entry) else None
        if found is not None:
            self._take_from(entry, found, reason)
        return found is not None

    def _take_from(self, entry: Entry, found: tuple[str, Spread, list[Entry]], reason: str) -> None:
        """Keep the nodes for a job and stop those that hold them."""
        accelerator, spread, victims = found
        now_us = self.state.now_us
        self._keep(Reservation(entry, accelerator, spread, now_us, now_us), "others are stopped for it")
        for victim in victims:
            self._stop(victim, entry, reason)

    def _preempt(self) -> None:
        """Stop running jobs for waiting ones that come before them."""
        state = self.state
        worst: list[Entry] | None = None
        for line in self._blocked_lines():
            entry = line.head
            if entry.job.id in state.reservations or line.barred is not None or entry.lost_at == state.ends:
                continue  # one that lost work looks younger than it is: two such would stop each other for ever
            if self._stopped >= PREEMPTIONS_MAX:
                return
            if worst is None:
                worst = self._worst_first()
            found = find_victims(state, entry, worst, self._is_before(entry))
            if found is None:
                continue
            self._take_from(entry, found, "comes after it in the order:")

    def _worst_first(self) -> list[Entry]:
        state = self.state
        if state.order.drifts:
            for entry in state.running.values():
                entry.key = state.order.key(entry, state.now_us)
        return sorted(state.running.values(), key=lambda each: (each.job.priority, -each.key, -each.number))

    def _is_before(self, entry: Entry) -> Callable[[Entry], bool]:
        bar = entry.key * (1 + self.state.policy.margin)
        priority = entry.job.priority
        return lambda victim: victim.job.priority < priority or (victim.job.priority == priority and bar < victim.key)

    def _stop_lost(self) -> None:
        for job_id in list(self.state.lost):
            entry = self.state.running.get(job_id)
            if entry is not None and entry.phase is Phase.RUNNING:
                self.actions.append(Preempt(job_id, entry.attempt, "", "a node it runs on is gone"))
                entry.phase = Phase.STOPPING
        self.state.lost.clear()

    # --- actions ------------------------------------------------------------------------------------------------------

    def _start(self, entry: Entry, where: Place, reason: str) -> None:
        slots = self.state.begin(entry, where)
        self.actions.append(Start(entry.job.id, entry.attempt, slots, where[0], reason))

    def _stop(self, victim: Entry, entry: Entry, reason: str) -> None:
        self._stopped += 1
        stop(self.state, victim.job.id, entry.job.id)
        self.actions.append(Preempt(victim.job.id, victim.attempt, entry.job.id, f"{reason} {entry.job.id}"))

    def _keep(self, kept: Reservation, reason: str) -> None:
        self.state.keep(kept)
        slots = slots_of(self.state, kept.spread)
        self.actions.append(Reserve(kept.entry.job.id, slots, kept.accelerator, kept.start_us, reason))

    # --- lines --------------------------------------------------------------------------------------------------------

    def _blocked_lines(self) -> Iterator[Line]:
        """Lines whose first job has no room, the first job's rank deciding; at most the policy's depth."""
        blocked: list[Line] = []
        for need in self.state.waiting_needs.values():
            if need.is_blocked:
                blocked += self.state.lines_by_need[need.index].values()
        blocked.sort(key=lambda line: line.waiting[0][0])
        return iter(blocked[: self.state.policy.depth])
