"""How the cluster and its queues stand: shares, borrowing and lending, fragmentation, use. Pure; nothing is decided."""

from collections import Counter
from collections.abc import Iterator

from sill.scheduler.entries import Entry
from sill.scheduler.machines import MILLI
from sill.scheduler.queues import QueueNode
from sill.scheduler.state import State
from sill.scheduler.types import QueueStanding, ResourceStanding, Standing


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
    machines = [machine for machine in state.ledger.machines if machine.bit & state.ledger.up]
    cpus = [(machine.cpus_free / MILLI, machine.spec.cpus) for machine in machines]
    memory = [(float(machine.memory_free), float(machine.spec.memory_bytes)) for machine in machines]
    yield _resource("cpus", cpus)
    yield _resource("memory_bytes", memory)
    for name in state.ledger.devices:
        devices = [
            (sum(machine.devices[name]) / MILLI, float(len(machine.devices[name])))
            for machine in machines
            if name in machine.devices
        ]
        yield _resource(f"accelerators/{name}", devices)


def _resource(name: str, nodes: list[tuple[float, float]]) -> ResourceStanding:
    """From what is free and what there is on each node."""
    free, total = sum(left for left, _ in nodes), sum(has for _, has in nodes)
    on_partly_used = sum(left for left, has in nodes if left < has)
    return ResourceStanding(
        name=name,
        total=total,
        used=total - free,
        free=free,
        largest=max((left for left, _ in nodes), default=0.0),
        fragmentation=on_partly_used / free if free and len(nodes) > 1 else 0.0,
    )


def _queues(state: State) -> Iterator[QueueStanding]:
    """Each queue with what lies below it, a queue before those below it."""
    tree = state.tree
    running, known = (_counted(state, entries) for entries in (state.running, state.entries))
    promised = {resource for node in tree.by_name.values() for resource, _ in node.promises}
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
            lent=_shown(state, _lent(state, node)),
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


def _lent(state: State, node: QueueNode) -> list[int]:
    """What of its unused guarantee is not free."""
    total, used = state.resources.total, state.tree.root.used
    free = [has - held for has, held in zip(total, used, strict=True)]
    unused = [max(own - held, 0) for own, held in zip(node.guarantee, node.used, strict=True)]
    return [max(own - left, 0) for own, left in zip(unused, free, strict=True)]


def _shown(state: State, amounts: list[int]) -> dict[str, float]:
    """By name, without what is 0 and without shares in effective units, which are nobody's to count."""
    resources = state.resources
    return {
        name: amount / resources.unit(at)
        for at, (name, amount) in enumerate(zip(resources.names, amounts, strict=True))
        if amount and name != "accelerators/effective"
    }
