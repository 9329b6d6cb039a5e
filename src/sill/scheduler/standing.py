"""How the cluster and its queues stand: shares, borrowing and lending, fragmentation, use. Pure; nothing is decided."""

from collections import Counter
from collections.abc import Iterator

from sill.scheduler.entries import Entry
from sill.scheduler.machines import MILLI
from sill.scheduler.queues import QueueNode
from sill.scheduler.state import State
from sill.scheduler.types import QueueStanding, ResourceStanding, Standing

ACCELERATORS = "accelerators"
UNTOLD = (f"{ACCELERATORS}/effective", f"{ACCELERATORS}/{ACCELERATORS}")
"""Resources that are counted and not told: shares in effective units, and devices of no named type once more."""


def standing(state: State) -> Standing:
    """The state in numbers for people."""
    resources = tuple(_resources(state))
    used = [each.used / each.total for each in resources if each.total]
    return Standing(
        policy=state.policy.name,
        nodes=state.ledger.up.bit_count(),
        waiting=len(state.entries) - len(state.running),
        running=len(state.running),
        utilisation=max(used, default=0.0),
        resources=resources,
        queues=tuple(_queues(state)),
    )


def _resources(state: State) -> Iterator[ResourceStanding]:
    """Each resource that some machine has."""
    machines = [(machine, bool(machine.bit & state.ledger.up)) for machine in state.ledger.machines]
    cpus = [(machine.cpus_free / MILLI, machine.spec.cpus, is_up) for machine, is_up in machines]
    memory = [(float(machine.memory_free), float(machine.spec.memory_bytes), is_up) for machine, is_up in machines]
    devices = {
        name: [
            (sum(machine.devices[name]) / MILLI, float(len(machine.devices[name])), is_up)
            for machine, is_up in machines
            if name in machine.devices
        ]
        for name in state.ledger.devices
    }
    named = {"cpus": cpus, "memory_bytes": memory, **{_of_type(name): each for name, each in devices.items()}}
    for name, nodes in named.items():
        if any(has for _, has, _ in nodes):
            yield _resource(name, nodes)


def _of_type(name: str) -> str:
    """A resource's name for people. Devices that are just called accelerators are of no type worth naming."""
    return name if name == ACCELERATORS else f"{ACCELERATORS}/{name}"


def _resource(name: str, nodes: list[tuple[float, float, bool]]) -> ResourceStanding:
    """From what is free and what there is on each node, and whether it takes work."""
    open_nodes = [(left, has) for left, has, is_up in nodes if is_up]
    free, total = sum(left for left, _ in open_nodes), sum(has for _, has, _ in nodes)
    closed = sum(left for left, _, is_up in nodes if not is_up)
    on_partly_used = sum(left for left, has in open_nodes if left < has)
    return ResourceStanding(
        name=name,
        total=total,
        used=total - free - closed,
        free=free,
        closed=closed,
        largest=max((left for left, _ in open_nodes), default=0.0),
        fragmentation=on_partly_used / free if free and len(open_nodes) > 1 else 0.0,
    )


def _queues(state: State) -> Iterator[QueueStanding]:
    """Each queue with what lies below it, a queue before those below it."""
    tree = state.tree
    running, known = (_counted(state, entries) for entries in (state.running, state.entries))
    promised = {resource for node in tree.by_name.values() for resource, _ in node.promises}
    free = [has - held for has, held in zip(state.resources.total, tree.root.used, strict=True)]
    stack = sorted(tree.root.children, key=lambda node: node.spec.name, reverse=True)
    while stack:
        node = stack.pop()
        stack += sorted(node.children, key=lambda child: child.spec.name, reverse=True)
        name = node.spec.name
        yield QueueStanding(
            name=name,
            parent=node.spec.parent,
            depth=len(tree.path(node)) - 2,
            waiting=known[name] - running[name],
            running=running[name],
            share=tree.share(node, state.now_us),
            held=_shown(state, node.used),
            guarantee=node.spec.guarantee,
            ceiling=node.spec.ceiling,
            borrowed=_shown(state, _borrowed(node, promised)),
            lent=_shown(state, _lent(node, free)),
        )


def _counted(state: State, entries: dict[str, Entry]) -> Counter[str]:
    """Jobs of each queue and of those below it."""
    by_leaf = Counter(entry.leaf.number for entry in entries.values())
    leaves = {entry.leaf.number: entry.leaf for entry in entries.values()}
    found: Counter[str] = Counter()
    for number, many in by_leaf.items():
        for node in state.tree.path(leaves[number])[:-1]:
            found[node.spec.name] += many
    return found


def _borrowed(node: QueueNode, promised: set[int]) -> list[int]:
    pairs = zip(node.used, node.guarantee, strict=True)
    return [max(held - own, 0) if at in promised else 0 for at, (held, own) in enumerate(pairs)]


def _lent(node: QueueNode, free: list[int]) -> list[int]:
    """What of its unused guarantee is not free in the cluster."""
    unused = [max(own - held, 0) for own, held in zip(node.guarantee, node.used, strict=True)]
    return [max(own - left, 0) for own, left in zip(unused, free, strict=True)]


def _shown(state: State, amounts: list[int]) -> dict[str, float]:
    """By name, without what is 0 and without shares in effective units, which are nobody's to count."""
    resources = state.resources
    return {
        name: amount / resources.unit(at)
        for at, (name, amount) in enumerate(zip(resources.names, amounts, strict=True))
        if amount and name not in UNTOLD
    }
