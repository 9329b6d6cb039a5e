"""The tree of queues: who may take how much (guarantee, ceiling, borrowing, lending), and what share each holds.

Source of the quota rule: Kueue, KEP-79 (hierarchical cohorts): a queue first uses what it does not lend, then what is
left above it.
"""

from collections.abc import Iterable
from math import inf
from operator import add, sub

from sill.core.errors import InvalidValue
from sill.scheduler.placement import Amounts
from sill.scheduler.resources import CPUS, EFFECTIVE, MEMORY, Resources
from sill.scheduler.types import Queue

DEPTH_MAX = 16
QUEUES_MAX = 20_000

Turn = tuple[int, bool, float, int, "QueueNode"]
"""Sorts queues under one: band (negative), whether it holds its guarantee, share, number; then the queue itself."""


class QueueNode:
    """One queue of the tree as it stands: what it may take and what it holds."""

    __slots__ = (
        *("band", "borrow", "bounds", "ceiling", "children", "claimed", "decayed", "decayed_us", "declared", "drawn"),
        *("guarantee", "half_life_s", "held", "kept", "limits", "number", "own_kept", "parent", "promises", "spec"),
        *("used", "used_up", "waiting", "weight"),
    )

    def __init__(self, number: int, spec: Queue, parent: "QueueNode | None", size: int) -> None:
        self.number = number
        self.parent = parent
        self.children: list[QueueNode] = []
        self.guarantee = [0] * size
        self.own_kept = [0] * size
        """The part of its guarantee that queues outside may never use, as declared."""
        self.kept = [0] * size
        """The same, and at least what the queues below keep."""
        self.held = [0] * size
        """The same without what queues below keep for themselves."""
        self.ceiling: list[float] = [inf] * size
        self.borrow: list[float] = [inf] * size
        self.used = [0] * size
        """What it and all queues below hold."""
        self.used_up: tuple[list[int], ...] = ()
        """The same lists of it and of all above, the root's last."""
        self.claimed = [0] * size
        """What others are being stopped for, to give it back to jobs of this queue and of those below."""
        self.drawn = [0] * size
        """The same without what queues below hold of their own: what was taken out of this queue's pool."""
        self.limits: tuple[tuple[int, float], ...] = ()
        """(resource, the lower of ceiling and guarantee with what may be borrowed), where either is declared."""
        self.declared = -1
        """By which declaration of the tree `bounds` and `used_up` are worked out."""
        self.bounds: tuple[tuple[QueueNode, int, float], ...] = ()
        """The limits of it and of all above, its own first: (queue, resource, limit)."""
        self.promises: tuple[tuple[int, int], ...] = ()
        """(resource, amount) of its guarantee."""
        self.decayed = 0.0
        self.decayed_us = 0
        self.waiting = 0
        """Jobs that stand in its lines (leaves only)."""
        self.describe(spec)

    def describe(self, spec: Queue) -> None:
        """Take a new declaration; what is asked for at each start lies at hand."""
        self.spec = spec
        self.band = -spec.band
        """Sorts higher bands first."""
        self.weight = spec.weight
        self.half_life_s = spec.half_life_s


class Tree:
    """All queues. `root` holds what the cluster has."""

    def __init__(self, queues: Iterable[Queue], resources: Resources) -> None:
        self.resources = resources
        self.by_name: dict[str, QueueNode] = {}
        self.has_promises = False
        self.keeps = False
        """True if any queue keeps a part of its guarantee from the others."""
        self.decays = False
        """True if past use counts in the share of any queue."""
        self._declared = 0
        self._made = 0
        self.root = self._new(Queue(name=""), None)
        self.root.guarantee = resources.total
        self.declare(queues)

    def declare(self, queues: Iterable[Queue]) -> None:
        """Take a new declaration; queues that hold or wait for something stay, without their limits.

        Raises:
            InvalidValue: two have one name, a parent is missing or below itself, a quantity is negative.
        """
        wanted = {queue.name: queue for queue in queues}
        old = self.by_name
        self.by_name = {}
        self.root.children = []
        check_queues(wanted)
        for queue in wanted.values():
            self._make(queue, wanted, old)
        for name, node in old.items():
            if name not in self.by_name and (any(node.used) or node.waiting):
                self._adopt(node, Queue(name=name), self.root)
        self._recount()

    def widen(self) -> None:
        """Count resources that were not there when the queues were declared."""
        for node in (self.root, *self.by_name.values()):
            for counted in (node.guarantee, node.own_kept, node.kept, node.held, node.used, node.drawn, node.claimed):
                counted.extend([0] * (len(self.resources.names) - len(counted)))
            for bounds in (node.ceiling, node.borrow):
                bounds.extend([inf] * (len(self.resources.names) - len(bounds)))

    def leaf(self, name: str) -> QueueNode:
        """The queue of that name; one that was never declared is made, directly under the root and without limits."""
        node = self.by_name.get(name)
        if node is None:
            node = self._new(Queue(name=name), self.root)
            self.root.children.append(node)
            self.by_name[name] = node
        return node

    def take(self, node: QueueNode, amounts: Amounts, now_us: int) -> None:
        """Count what a job of the queue takes, here and above."""
        self._move(node, amounts, now_us)

    def release(self, node: QueueNode, amounts: Amounts, now_us: int) -> None:
        """Count what a job of the queue gives back."""
        self._move(node, tuple([-amount for amount in amounts]), now_us)

    def over(self, node: QueueNode, amounts: Amounts) -> tuple[QueueNode, int] | None:
        """The queue and the resource whose limit forbids it to take this now, or None."""
        if node.declared != self._declared:
            self._work_out(node)
        for at, resource, limit in node.bounds:
            amount = amounts[resource]
            if amount and at.used[resource] + amount > limit:
                return at, resource
        for resource, amount in enumerate(amounts) if self.keeps else ():
            if amount and self._free_of_promises(node, resource) < amount:
                return self.root, resource
        return None

    def within(self, node: QueueNode, amounts: Amounts = ()) -> bool:
        """True if the queue, with what it claims and `amounts` more, holds no more of what it is guaranteed than that."""
        return bool(node.promises) and all(
            node.used[resource] + node.claimed[resource] + (amounts[resource] if amounts else 0) <= promised
            for resource, promised in node.promises
        )

    def claim(self, node: QueueNode, amounts: Amounts, sign: int = 1) -> None:
        """Count, here and above, what a job will have when others have stopped; with -1 no longer."""
        at: QueueNode | None = node
        while at is not None:
            at.claimed = list(map(add if sign > 0 else sub, at.claimed, amounts))
            at = at.parent

    def share(self, node: QueueNode, now_us: int) -> float:
        """Dominant part of the cluster the queue holds (or held, decayed over its half-life), over its weight."""
        if node.half_life_s:
            self._decay(node, now_us)
            return max(node.decayed, self._dominant(node)) / node.weight
        return self._dominant(node) / node.weight

    def turn(self, node: QueueNode, now_us: int) -> Turn:
        """Sorts siblings: a higher band, then those below their guarantee, then the smaller share."""
        share = self.share(node, now_us) if node.half_life_s else self._dominant(node) / node.weight
        for resource, promised in node.promises:
            if node.used[resource] < promised:
                return node.band, False, share, node.number, node
        return node.band, True, share, node.number, node

    def path(self, node: QueueNode) -> list[QueueNode]:
        """The queue and all above it, the root last."""
        found = [node]
        while found[-1].parent is not None:
            found.append(found[-1].parent)
        return found

    def _free_of_promises(self, node: QueueNode, resource: int) -> float:
        """How much the queue may take now: what it keeps for itself and does not use, and what is left above it."""
        if node.parent is None:
            return self.resources.total[resource] - node.kept[resource] - node.drawn[resource]
        own = max(0, node.held[resource] - node.drawn[resource])
        return own + self._free_of_promises(node.parent, resource)

    def _move(self, node: QueueNode, amounts: Amounts, now_us: int) -> None:
        if node.declared != self._declared:
            self._work_out(node)
        if self.decays:
            for at in self.path(node):
                if at.half_life_s:
                    self._decay(at, now_us)
        moves = tuple(enumerate(amounts))
        for used in node.used_up:
            for resource, amount in moves:
                used[resource] += amount
        for resource, amount in enumerate(amounts) if self.keeps else ():
            self._draw(node, resource, amount)

    def _work_out(self, node: QueueNode) -> None:
        """Put together what is asked for at each start. One that was left out of a declaration while its jobs were put aside
        stays after all, without its limits."""
        if node.spec.name not in self.by_name:
            self._adopt(node, Queue(name=node.spec.name), self.root)
        path = self.path(node)
        node.bounds = tuple((at, *limit) for at in path for limit in at.limits)
        node.used_up = tuple(at.used for at in path)
        node.declared = self._declared

    def _draw(self, node: QueueNode, resource: int, change: int) -> None:
        """A queue passes on to the one above only what goes beyond what it keeps for itself."""
        at: QueueNode | None = node
        while at is not None and change:
            before = max(0, at.drawn[resource] - at.held[resource])
            at.drawn[resource] += change
            change = max(0, at.drawn[resource] - at.held[resource]) - before
            at = at.parent

    def _dominant(self, node: QueueNode) -> float:
        used = node.used
        of_cpus, of_memory, of_effective = self.resources.parts
        cpus, memory, devices = used[CPUS] * of_cpus, used[MEMORY] * of_memory, used[EFFECTIVE] * of_effective
        plain = cpus if cpus > memory else memory
        return plain if plain > devices else devices

    def _decay(self, node: QueueNode, now_us: int) -> None:
        passed_s = (now_us - node.decayed_us) / 1e6
        if passed_s > 0:
            keeps = 0.5 ** (passed_s / node.half_life_s)
            node.decayed = node.decayed * keeps + self._dominant(node) * (1 - keeps)
            node.decayed_us = now_us

    def _make(self, queue: Queue, wanted: dict[str, Queue], old: dict[str, QueueNode]) -> QueueNode:
        if queue.name in self.by_name:
            return self.by_name[queue.name]
        parent = self._make(wanted[queue.parent], wanted, old) if queue.parent else self.root
        node = old.get(queue.name) or self._new(queue, parent)
        self._adopt(node, queue, parent)
        return node

    def _new(self, queue: Queue, parent: QueueNode | None) -> QueueNode:
        self._made += 1
        return QueueNode(self._made, queue, parent, len(self.resources.names))

    def _adopt(self, node: QueueNode, queue: Queue, parent: QueueNode) -> None:
        node.parent, node.children = parent, []
        node.describe(queue)
        size = len(self.resources.names)
        node.guarantee = self._counted(queue.guarantee, [0] * size)
        lent = self._counted(queue.lend, list(node.guarantee))
        node.own_kept = [max(0, mine - others) for mine, others in zip(node.guarantee, lent, strict=True)]
        node.ceiling = self._bounds(queue.ceiling)
        node.borrow = self._bounds(queue.borrow)
        may_hold = zip(node.ceiling, node.guarantee, node.borrow, strict=True)
        least = (min(most, own + others) for most, own, others in may_hold)
        node.limits = tuple((resource, bound) for resource, bound in enumerate(least) if bound < inf)
        node.promises = tuple((at, amount) for at, amount in enumerate(node.guarantee) if amount)
        parent.children.append(node)
        self.by_name[queue.name] = node

    def _counted(self, given: dict[str, float], base: list[int]) -> list[int]:
        for name, amount in given.items():
            index = self.resources.index(name)
            base[index] = round(amount * self.resources.unit(index))
        return base

    def _bounds(self, given: dict[str, float]) -> list[float]:
        found = [inf] * len(self.resources.names)
        for name, amount in given.items():
            index = self.resources.index(name)
            found[index] = round(amount * self.resources.unit(index))
        return found

    def _recount(self) -> None:
        """Count again what every queue holds and keeps, from what the leaves hold."""
        leaves = [(node, list(node.used)) for node in self.by_name.values() if not node.children]
        self._count_kept(self.root)
        self.keeps = any(self.root.kept)
        self.has_promises = any(node.promises for node in self.by_name.values())
        self.decays = any(node.half_life_s for node in self.by_name.values())
        for node in (self.root, *self.by_name.values()):
            node.used, node.drawn = [0] * len(node.used), [0] * len(node.used)
        self._declared += 1
        for node, used in leaves:
            self._move(node, tuple(used), node.decayed_us)

    def _count_kept(self, node: QueueNode) -> None:
        """A queue keeps at least what the queues below keep together."""
        below = [0] * len(node.used)
        for child in node.children:
            self._count_kept(child)
            below = [sum(pair) for pair in zip(below, child.kept, strict=True)]
        node.held = [max(0, own - others) for own, others in zip(node.own_kept, below, strict=True)]
        node.kept = [sum(pair) for pair in zip(node.held, below, strict=True)]


def check_queues(queues: dict[str, Queue]) -> None:
    """Refuse a tree that is none, and quantities that mean nothing.

    Raises:
        InvalidValue: it names the queue and what is wrong.
    """
    if len(queues) > QUEUES_MAX:
        raise InvalidValue(f"{len(queues)} queues are declared, at most {QUEUES_MAX} may be.", field="queues")
    for queue in queues.values():
        at, steps = queue, 0
        while at.parent:
            if at.parent not in queues:
                raise InvalidValue(
                    f"queue {at.name!r} lies under {at.parent!r}, which is not declared.", field="queues"
                )
            at, steps = queues[at.parent], steps + 1
            if steps > DEPTH_MAX:
                raise InvalidValue(
                    f"queue {queue.name!r} lies under itself, or deeper than {DEPTH_MAX}.", field="queues"
                )
        for given in (queue.guarantee, queue.ceiling, queue.borrow, queue.lend):
            for name, amount in given.items():
                if not 0 <= amount < inf:
                    raise InvalidValue(f"queue {queue.name!r}: {name} {amount} is not 0 or more.", field="queues")
        if not 0 < queue.weight < inf or not 0 <= queue.half_life_s < inf:
            raise InvalidValue(
                f"queue {queue.name!r}: weight {queue.weight} must be above 0, half_life_s {queue.half_life_s} 0 or more.",
                field="queues",
            )
