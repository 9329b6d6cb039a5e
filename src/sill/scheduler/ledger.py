"""What is free on which node, down to the single device. Sets of nodes are integers: bit `i` stands for node `i`.

With that, "nodes with three free H100, in this place, with that label, not kept for others" is four `&` of integers
of as many bits as there are nodes (1.6 kB for 12,500), and the answer does not depend on the order things happened in.
Nodes are numbered by site, domains and name, so that a rack is a run of neighbouring bits.
"""

from bisect import bisect_right
from collections.abc import Iterator

from sill.core.errors import InvalidValue
from sill.scheduler.machines import DEVICES_MAX, MILLI, PARTS, Devices, Domain, Machine, best_part, pick_devices
from sill.scheduler.types import Cluster, Node

NODES_MAX = 200_000
"""Nodes that ever were; one that comes back is no new one."""
_CPU_STEPS = tuple(MILLI * step for step in (1, 2, 4, 8, 16, 32, 64, 96, 128, 256, 512))
_MEMORY_STEPS = tuple(2**30 * 2**power for power in range(13))
_FAR = 2**62
_CPU_EDGES, _MEMORY_EDGES = (-_FAR, *_CPU_STEPS, _FAR), (-_FAR, *_MEMORY_STEPS, _FAR)
"""Between which amounts a node is entered into just so many sets."""


class Ledger:
    """All nodes, and who holds what."""

    def __init__(self, cluster: Cluster) -> None:
        self.levels = cluster.levels
        self.places = {site.name: site.place or site.name for site in cluster.sites}
        self.machines: list[Machine] = []
        self.by_name: dict[str, int] = {}
        self.up = 0
        """Nodes that take new work."""
        self.devices: dict[str, Devices] = {}
        self.domains: list[list[Domain]] = [[] for _ in cluster.levels]
        self._by_free: list[dict[str, dict[int, int]]] = [{} for _ in cluster.levels]
        self._changed: dict[str, set[int]] = {}
        """Nodes by type on which another number of devices is free since somebody asked for domains by that."""
        self._counted: list[dict[str, dict[int, int]]] = [{} for _ in cluster.levels]
        """By level, type and node: how many are free there as its domain knows it; `by_free` brings it up to date."""
        self._uncounted: list[dict[str, set[int]]] = [{} for _ in cluster.levels]
        """By level, nodes whose domain does not know it yet."""
        self.labelled: dict[tuple[str, str], int] = {}
        self.placed: dict[str, int] = {}
        """Nodes by the place they are in."""
        self.cpus_total = 0
        self.memory_total = 0
        self.moves = 0
        """Counts what was given and given back; an answer that held at one count holds until the next."""
        self.moved: set[int] = set()
        """Nodes on which something was given or given back since a placement that keeps tables looked."""
        self.generation = 0
        """Counts changes of the set of nodes, for what is derived from it."""
        self._cpus = [0] * len(_CPU_STEPS)
        self._memory = [0] * len(_MEMORY_STEPS)
        self._domain_index: list[dict[tuple[str, ...], int]] = [{} for _ in cluster.levels]
        for each in cluster.types:
            self.devices[each.name] = Devices()
        for node in sorted(cluster.nodes, key=lambda each: (each.site, each.domains, each.name)):
            self.join(node)

    def join(self, node: Node) -> int:
        """Add a node, or take one back that had left; its index.

        Raises:
            InvalidValue: it has too many devices, or not one domain for each level, or there are too many nodes.
        """
        known = self.by_name.get(node.name)
        if known is not None:
            if self.machines[known].spec == node or self.machines[known].jobs:
                self._set_up(known)
                return known
            self._forget(known)
        if any(not 0 <= count <= DEVICES_MAX for count in node.accelerators.values()):
            raise InvalidValue(f"node {node.name!r} has more than {DEVICES_MAX} devices of a type.", field="node")
        if len(node.domains) != len(self.levels):
            raise InvalidValue(
                f"node {node.name!r} names {len(node.domains)} domains, there are {len(self.levels)} levels.",
                field="domains",
            )
        index = len(self.machines) if known is None else known
        if index >= NODES_MAX:
            raise InvalidValue(f"node {node.name!r} is one more than {NODES_MAX:,}.", field="node")
        domains = tuple(self._domain(level, node.domains[: level + 1]) for level in range(len(self.levels)))
        machine = Machine(index, node, domains)
        if known is None:
            self.machines.append(machine)
        else:
            self.machines[known] = machine
        self.by_name[node.name] = index
        self._index(machine)
        self._set_up(index)
        return index

    def leave(self, index: int) -> None:
        """The node takes no new work. What runs there still holds its place until it is released."""
        self.up &= ~(1 << index)
        self.generation += 1

    def fits(self, index: int, cpus: int, memory: int, accelerator: str, milli: int) -> int:
        """How many workers of this need have room on the node now."""
        machine = self.machines[index]
        room = 1 << 30
        if milli >= MILLI:
            room = machine.whole.get(accelerator, 0) // (milli // MILLI)
        elif milli:
            room = sum(free // milli for free in machine.devices.get(accelerator, ()))
        if cpus:
            room = min(room, machine.cpus_free // cpus)
        if memory:
            room = min(room, machine.memory_free // memory)
        return max(room, 0)

    def with_room(self, cpus: int, memory: int, accelerator: str, milli: int) -> int:
        """Nodes that may have room for one worker: none is missing, a few may turn out not to have it."""
        mask = self.up
        if milli:
            devices = self.devices.get(accelerator)
            if devices is None:
                return 0
            if milli >= MILLI:
                mask &= devices.unused(milli // MILLI)
            else:
                part = milli * PARTS // MILLI
                mask &= devices.unused(1) | devices.parts[part] if part else devices.unused(0)
        if cpus:
            step = bisect_right(_CPU_STEPS, cpus) - 1
            if step >= 0:
                mask &= self._cpus[step]
        if memory:
            step = bisect_right(_MEMORY_STEPS, memory) - 1
            if step >= 0:
                mask &= self._memory[step]
        return mask

    def by_free(self, level: int, accelerator: str) -> dict[int, int]:
        """Domains of a level (one bit each) by how many whole devices of the type are free in them."""
        changed = self._changed.get(accelerator)
        if changed:
            for uncounted in self._uncounted:
                uncounted.setdefault(accelerator, set()).update(changed)
            changed.clear()
        waiting = self._uncounted[level].get(accelerator, set())
        while waiting:
            self._count_free(self.machines[waiting.pop()], accelerator, level)
        return self._by_free[level].setdefault(accelerator, {})

    def take(
        self,
        index: int,
        job_id: str,
        workers: int,
        cpus: int,
        memory: int,
        accelerator: str,
        milli: int,
        devices: tuple[int, ...] = (),
    ) -> tuple[int, ...]:
        """Give `workers` their part of the node; the devices, worker after worker.

        What runs already is given even where it does not fit (the node may have shrunk); nothing else is then.
        Whole devices are the first unused ones; a part is taken from the device with least left that still has it.
        """
        machine = self.machines[index]
        self._move_plain(machine, -cpus * workers, -memory * workers)
        machine.jobs[job_id] = None
        if not milli:
            return ()
        given = devices or pick_devices(machine.devices[accelerator], workers, milli)
        self._move_devices(machine, accelerator, given, -min(milli, MILLI))
        return given

    def release(
        self,
        index: int,
        job_id: str,
        workers: int,
        cpus: int,
        memory: int,
        accelerator: str,
        milli: int,
        devices: tuple[int, ...],
    ) -> None:
        """Give back what `take` gave."""
        machine = self.machines[index]
        machine.jobs.pop(job_id, None)
        self._move_plain(machine, cpus * workers, memory * workers)
        if not milli:
            return
        self._move_devices(machine, accelerator, devices, min(milli, MILLI))

    def _set_up(self, index: int) -> None:
        self.up |= 1 << index
        self.generation += 1

    def _domain(self, level: int, path: tuple[str, ...]) -> int:
        """Index of the domain at the level; a rack is known by the names of all that is around it."""
        known = self._domain_index[level]
        if path not in known:
            known[path] = len(self.domains[level])
            self.domains[level].append(Domain("/".join(path), level))
        return known[path]

    def _index(self, machine: Machine) -> None:
        """Enter a node into every set it belongs to."""
        bit = machine.bit
        for key, value in machine.spec.labels.items():
            self.labelled[key, value] = self.labelled.get((key, value), 0) | bit
        place = self.places.get(machine.spec.site, machine.spec.site)
        self.placed[place] = self.placed.get(place, 0) | bit
        self.cpus_total += machine.total_cpus
        self.memory_total += machine.spec.memory_bytes
        for name, count in machine.spec.accelerators.items():
            devices = self.devices.setdefault(name, Devices())
            devices.exact.extend([0] * (count + 2 - len(devices.exact)))
            devices.exact[count] |= bit
            devices.total += count
        for level, domain in enumerate(machine.domains):
            self.domains[level][domain].mask |= bit
        for name in machine.spec.accelerators:
            for level in range(len(self.levels)):
                self._count_free(machine, name, level)
        machine.cpu_step = _mark(self._cpus, 0, bisect_right(_CPU_STEPS, machine.cpus_free), bit)
        machine.memory_step = _mark(self._memory, 0, bisect_right(_MEMORY_STEPS, machine.memory_free), bit)

    def _forget(self, index: int) -> None:
        """Take an idle node out of every set: it comes back as another machine."""
        machine, bit = self.machines[index], 1 << index
        self.labelled = {label: mask & ~bit for label, mask in self.labelled.items()}
        self.placed = {place: mask & ~bit for place, mask in self.placed.items()}
        self.cpus_total -= machine.total_cpus
        self.memory_total -= machine.spec.memory_bytes
        for name, count in machine.spec.accelerators.items():
            devices = self.devices[name]
            devices.total -= count
            devices.exact = [mask & ~bit for mask in devices.exact]
            devices.parts = [mask & ~bit for mask in devices.parts]
            machine.whole[name] = 0
            for level in range(len(self.levels)):
                self._count_free(machine, name, level)
        for level, domain in enumerate(machine.domains):
            self.domains[level][domain].mask &= ~bit
        self._cpus = [mask & ~bit for mask in self._cpus]
        self._memory = [mask & ~bit for mask in self._memory]

    def _count_free(self, machine: Machine, accelerator: str, level: int) -> None:
        """Tell the domain around a node how many whole devices are free there now."""
        now = machine.whole.get(accelerator, 0)  # it may have come back without that type
        counted, index = self._counted[level].setdefault(accelerator, {}), machine.domains[level]
        change = now - counted.get(machine.index, 0)
        counted[machine.index] = now
        free, bit = self.domains[level][index].free, 1 << index
        by_free = self._by_free[level].setdefault(accelerator, {})
        before = free.get(accelerator)
        if before is not None:
            by_free[before] ^= bit
            if not by_free[before]:
                del by_free[before]
        free[accelerator] = after = (before or 0) + change
        by_free[after] = by_free.get(after, 0) | bit

    def _move_plain(self, machine: Machine, cpus: int, memory: int) -> None:
        self.moves += 1
        self.moved.add(machine.index)
        if cpus:
            machine.cpus_free = free = machine.cpus_free + cpus
            step = machine.cpu_step
            if not _CPU_EDGES[step] <= free < _CPU_EDGES[step + 1]:
                machine.cpu_step = _mark(self._cpus, step, bisect_right(_CPU_STEPS, free), machine.bit)
        if memory:
            machine.memory_free = free = machine.memory_free + memory
            step = machine.memory_step
            if not _MEMORY_EDGES[step] <= free < _MEMORY_EDGES[step + 1]:
                machine.memory_step = _mark(self._memory, step, bisect_right(_MEMORY_STEPS, free), machine.bit)

    def _move_devices(self, machine: Machine, accelerator: str, devices: tuple[int, ...], milli: int) -> None:
        """So many thousandths of each of these devices are free now that were not, or the other way round."""
        free, sets, bit = machine.devices[accelerator], self.devices[accelerator], machine.bit
        is_part = -MILLI < milli < MILLI
        part_before = best_part(free) if is_part else 0
        for device in devices:
            free[device] += milli
        before, now = machine.whole[accelerator], free.count(MILLI)
        if now != before:
            machine.whole[accelerator] = now
            exact = sets.exact
            exact[before] ^= bit
            exact[now] ^= bit
            if self.levels:
                self._changed.setdefault(accelerator, set()).add(machine.index)
        if is_part:
            _mark(sets.parts, part_before + 1, best_part(free) + 1, bit)


def bits(mask: int) -> Iterator[int]:
    """Indexes of the set bits, the lowest first."""
    while mask:
        others = mask - 1
        yield (mask ^ others).bit_length() - 1
        mask &= others


def lowest(mask: int) -> int:
    """Index of the lowest set bit; the mask must not be 0. (The usual `mask & -mask` takes ten times as long.)"""
    return (mask ^ (mask - 1)).bit_length() - 1


def _mark(sets: list[int], before: int, now: int, bit: int) -> int:
    """Enter a node into the first `now` sets, where it was in the first `before`."""
    for step in range(before, now) if before < now else range(now, before):
        sets[step] ^= bit
    return now
