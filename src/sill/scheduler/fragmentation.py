"""Placements that score every node at once: least fragmentation, least left over, scattered.

`LeastFragmentation` asks how many free devices no typical job could use any more if the job went there, and takes the node
and the device where that grows least. What is typical is learned from the jobs that came.
Source: Weng et al., "Beware of fragmentation: scheduling GPU-sharing workloads with fragmentation gradient descent" (FGD),
USENIX ATC 2023. Its best fit and random baselines are here too. Where
FGD counts every free device that one typical job could use, we also count how many such jobs the node could take in all,
as its cpus and the parts of its devices allow: devices that would be left without cpus, and rests of devices, show early.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sill.scheduler.ledger import Ledger
from sill.scheduler.machines import MILLI
from sill.scheduler.placement import Choice, Need

TYPICAL_MAX = 256
"""So many shapes are typical at most, the commonest."""
TYPICAL_PART = 0.95
"""Shapes are typical that make up this part of all jobs together, the commonest first."""
RELEARN_RATIO = 2.0
"""What is typical is worked out anew when so many times as many jobs have come."""
ANY = 0.3
"""What FGD counts weighs so much, what a node can take in all the rest."""
GANGS_PART = 0.25
"""If jobs of several devices ask for more than this part of all devices, what FGD counts is all that counts: what they leave
of a node is taken by smaller ones, and counting it as lost keeps them from whole nodes."""
SCORES_MAX = 2_048
"""Scores of so many shapes are kept."""
GRADES = 100
"""Growth is graded from 0 to this by the logistic function, as FGD does: of nodes of one grade the first is taken, so that
the first nodes are filled up, which small differences between all of them would not do."""
STEEP = 700.0
"""Growth beyond so many devices is graded 0 (the exponential would overflow)."""
LEAST = 1e-9

Array = np.ndarray[Any, np.dtype[Any]]


class Table:
    """The ledger's nodes as arrays: a row for each node and type of its devices; a node without any has one row.

    `free` is thousandths by device (0 where there is none); `cpus` thousandths.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.generation = ledger.generation
        pairs = [
            (machine.index, name) for machine in ledger.machines for name in (sorted(machine.spec.accelerators) or [""])
        ]
        self.nodes = np.array([index for index, _ in pairs], dtype=np.int64)
        self.names = [name for _, name in pairs]
        self.types = {name: np.array([each == name for each in self.names]) for name in set(self.names)}
        most = max((count for m in ledger.machines for count in m.spec.accelerators.values()), default=1)
        self.free = np.zeros((len(pairs), most), dtype=np.int64)
        self.cpus = np.zeros(len(pairs), dtype=np.int64)
        self.memory = np.zeros(len(pairs), dtype=np.int64)
        self.changed = np.ones(len(pairs), dtype=np.int64)
        """At which count a row changed last."""
        self.count = 1
        self._rows: dict[int, list[int]] = {}
        for row, (index, _) in enumerate(pairs):
            self._rows.setdefault(index, []).append(row)
            self._read(ledger, row)
        self.cpus_most = max(int(self.cpus.max(initial=0)), 1)

    def follow(self, ledger: Ledger) -> None:
        """Read again what was given or given back."""
        if ledger.moved:
            self.count += 1
            for index in ledger.moved:
                for row in self._rows[index]:
                    self._read(ledger, row)
            ledger.moved.clear()

    def room(self, ledger: Ledger, need: Need, types: Sequence[str], avoid: int) -> Array:
        """Rows with room for one worker."""
        fits = (self.cpus >= need.cpus) & (self.memory >= need.memory)
        if need.milli:
            named = np.zeros(len(self.nodes), dtype=bool)
            for name in types:
                named |= self.types.get(name, np.zeros(len(self.nodes), dtype=bool))
            fits &= named & (_free_for(self.free, need.milli) >= max(need.milli // MILLI, 1))
        usable = need.nodes_up(ledger, avoid)
        size = len(ledger.machines)
        flags = np.frombuffer(usable.to_bytes(size // 8 + 1, "little"), dtype=np.uint8)
        rows: Array = np.flatnonzero(fits & np.unpackbits(flags, bitorder="little")[self.nodes].astype(bool))
        return rows

    def _read(self, ledger: Ledger, row: int) -> None:
        machine, name = ledger.machines[self.nodes[row]], self.names[row]
        self.cpus[row], self.memory[row] = machine.cpus_free, machine.memory_free
        free = machine.devices.get(name, [])
        self.free[row, : len(free)] = free
        self.changed[row] = self.count


class Scoring:
    """A placement that gives every row with room a score and takes the best."""

    def __init__(self) -> None:
        self._table: Table | None = None

    def choose(self, ledger: Ledger, need: Need, types: Sequence[str], avoid: int) -> Choice | None:
        """The row with the least score."""
        table = self._table
        if table is None or table.generation != ledger.generation:
            table = self._table = Table(ledger)
            ledger.moved.clear()
        table.follow(ledger)
        rows = table.room(ledger, need, types, avoid)
        if not len(rows):
            return None
        row = int(rows[self._best(ledger, table, need, rows)])
        device = self._device(table, need, row)
        return (table.names[row] if need.milli else ""), int(table.nodes[row]), device

    def learn(self, need: Need) -> None:
        """A job of that class came."""

    def _best(self, ledger: Ledger, table: Table, need: Need, rows: Array) -> int:
        raise NotImplementedError

    def _device(self, table: Table, need: Need, row: int) -> tuple[int, ...]:
        return ()


class LeastLeft(Scoring):
    """The node with least left of cpus and devices together, over all types (FGD's BestFit)."""

    def _best(self, ledger: Ledger, table: Table, need: Need, rows: Array) -> int:
        return int(np.argmin(_left(table, rows)))


class Scattered(Scoring):
    """Any node, by a hash of the job's class and of how much was given so far: chance without a random source."""

    def _best(self, ledger: Ledger, table: Table, need: Need, rows: Array) -> int:
        mixed = (ledger.moves * 2_654_435_761 + need.index * 40_503 + 12_345) & 0xFFFFFFFF
        mixed = ((mixed >> 16) ^ mixed) * 73_244_475 & 0xFFFFFFFF
        return ((mixed >> 16) ^ mixed) % len(rows)

    def _device(self, table: Table, need: Need, row: int) -> tuple[int, ...]:
        """Any device with enough left: the one at a place that the node's free cpus say."""
        if not 0 < need.milli < MILLI:
            return ()
        able = np.flatnonzero(table.free[row] >= need.milli)
        return (int(able[(table.count * 2_654_435_761 >> 16) % len(able)]),)


class LeastFragmentation(Scoring):
    """The node, and for a part the device, where the share of free devices that typical jobs cannot use grows least."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[int, int, tuple[str, ...]], int] = {}
        self._came = 0
        self._due = 1.0
        self._typical: _Typical | None = None
        self._scores: dict[tuple[int, int], tuple[Array, Array, Array]] = {}

    def learn(self, need: Need) -> None:
        """Count its shape."""
        shape = (need.cpus, need.milli, need.types)
        self._seen[shape] = self._seen.get(shape, 0) + need.workers
        self._came += need.workers
        if self._came >= self._due:
            self._typical = None

    def _best(self, ledger: Ledger, table: Table, need: Need, rows: Array) -> int:
        scores, _ = self._scored(table, need)
        grades = np.floor(GRADES / (1 + np.exp(np.minimum(scores[rows] / MILLI, STEEP))))
        equal = np.flatnonzero(grades == grades.max())
        if not need.milli:  # devices keep their cpus
            equal = equal[np.argsort(table.free[rows[equal]].sum(axis=1) > 0, kind="stable")]
        return int(equal[0])

    def _device(self, table: Table, need: Need, row: int) -> tuple[int, ...]:
        if not 0 < need.milli < MILLI:
            return ()
        return (int(self._scored(table, need)[1][row]),)

    def _scored(self, table: Table, need: Need) -> tuple[Array, Array]:
        """By row: how much fragmentation grows, and the device that makes it grow least. Only changed rows are new."""
        if self._typical is None or self._typical.table is not table:
            self._typical = _Typical(table, self._seen)
            self._due = max(self._came, 32) * RELEARN_RATIO
            self._scores.clear()
        key = (need.cpus, need.milli)
        known = self._scores.get(key)
        if known is None:
            if len(self._scores) >= SCORES_MAX:
                self._scores.clear()
            size = len(table.nodes)
            known = (np.zeros(size), np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64))
            self._scores[key] = known
        scores, devices, counts = known
        stale = np.flatnonzero(counts < table.changed)
        if len(stale):
            scores[stale], devices[stale] = self._typical.growth(stale, need.cpus, need.milli)
            counts[stale] = table.count
        return scores, devices


class _Typical:
    """Typical shapes and their parts of all jobs, and the fragmentation of rows by them."""

    def __init__(self, table: Table, seen: dict[tuple[int, int, tuple[str, ...]], int]) -> None:
        self.table = table
        ordered = sorted(((many, shape) for shape, many in seen.items()), key=lambda each: (-each[0], each[1]))
        total = sum(many for many, _ in ordered) or 1
        kept: list[tuple[int, tuple[int, int, tuple[str, ...]]]] = []
        part = 0.0
        for many, shape in ordered[:TYPICAL_MAX]:
            if part >= TYPICAL_PART:
                break
            part += many / total
            if shape[1]:
                kept.append((many, shape))
        self._parts = np.array([many / total for many, _ in kept])
        self._cpus = np.array([max(shape[0], 1) for _, shape in kept], dtype=np.int64)
        steps = sorted({min(shape[1], MILLI) for _, shape in kept})
        self._steps = np.array(steps, dtype=np.int64)
        self._step = np.array([steps.index(min(shape[1], MILLI)) for _, shape in kept], dtype=np.int64)
        self._devices = np.array([max(shape[1] // MILLI, 1) for _, shape in kept], dtype=np.int64)
        self._sizes = np.array([shape[1] for _, shape in kept], dtype=np.int64)
        asked = sum(many * shape[1] for many, shape in ordered) or 1
        gangs = sum(many * shape[1] for many, shape in ordered if shape[1] > MILLI)
        self._any = 1.0 if gangs > asked * GANGS_PART else ANY
        none = np.zeros(len(table.nodes), dtype=bool)
        self._able = np.zeros((len(table.nodes), len(kept)), dtype=bool)
        for at, (_, shape) in enumerate(kept):
            for name in shape[2]:
                self._able[:, at] |= table.types.get(name, none)

    def growth(self, rows: Array, cpus: int, milli: int) -> tuple[Array, Array]:
        """How much fragmentation (in thousandths of a device) grows by a worker on each row, and the best device."""
        table = self.table
        before = self.of(rows, table.cpus[rows], table.free[rows])
        left = table.cpus[rows] - cpus
        free = table.free[rows]
        if milli == 0:
            return self.of(rows, left, free) - before, np.zeros(len(rows), dtype=np.int64)
        if milli >= MILLI:
            whole = free == MILLI
            taken = whole & (np.cumsum(whole, axis=1) <= milli // MILLI)
            return self.of(rows, left, np.where(taken, 0, free)) - before, np.zeros(len(rows), dtype=np.int64)
        best, device = np.full(len(rows), np.inf), np.zeros(len(rows), dtype=np.int64)
        for at in range(free.shape[1]):
            some = np.flatnonzero((free[:, at] >= milli) & ~(free[:, :at] == free[:, at : at + 1]).any(axis=1))
            if len(some):
                after = free[some].copy()
                after[:, at] -= milli
                grown = self.of(rows[some], left[some], after) - before[some]
                better = grown < best[some] - LEAST
                best[some[better]], device[some[better]] = grown[better], at
        return best, device

    def of(self, rows: Array, cpus: Array, free: Array) -> Array:
        """Expected thousandths of free devices on each row that a typical job cannot use."""
        total = free.sum(axis=1)
        if not len(self._parts):
            return np.zeros(len(rows))
        fits = free[:, :, None] // self._steps
        many = fits.sum(axis=1)[:, self._step] // self._devices
        many = np.minimum(many, np.maximum(cpus[:, None], 0) // self._cpus)
        usable = (free[:, :, None] * (fits > 0)).sum(axis=1)[:, self._step]
        useful = many * self._sizes * (1 - self._any) + np.where(many > 0, usable, 0) * self._any
        useful = np.where(self._able[rows], useful, 0)
        unused: Array = total * self._parts.sum() - useful @ self._parts
        return unused


def _free_for(free: Array, milli: int) -> Array:
    """Devices of each row with so much free; whole ones for a need of whole devices."""
    found: Array = (free >= min(milli, MILLI)).sum(axis=1)
    return found


def _left(table: Table, rows: Array) -> Array:
    """What is free on rows: parts of the largest node's cpus and devices, half and half."""
    most = table.free.shape[1] * MILLI
    found: Array = table.cpus[rows] / table.cpus_most / 2 + table.free[rows].sum(axis=1) / most / 2
    return found
