"""Whose turn it is among the queues: their shares, sorted level by level of the tree.

Source: Ghodsi et al., "Dominant resource fairness", NSDI 2011, by level of the tree as in Bhattacharya et al.,
"Hierarchical scheduling for diverse datacenter workloads", SoCC 2013.
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heapreplace

from sill.scheduler.queues import QueueNode, Tree, Turn


class Contest:
    """Whose turn it is, again and again within one pass: one heap of queues under each queue.

    The leaf whose turn it is stands on top of each heap on the way down to it. During a pass only such a leaf takes
    anything, so after each start only those tops have to be sorted in again.
    """

    def __init__(self, tree: Tree, leaves: Iterable[QueueNode], now_us: int) -> None:
        self._tree = tree
        self._now_us = now_us
        self._heaps: dict[int, list[Turn]] = {}
        self._entered: dict[int, dict[int, QueueNode]] = {}
        """Queues that take part, by the number of the one above; a heap is made of them when it is first looked at."""
        for leaf in leaves:
            node = leaf
            while node.parent is not None:
                siblings = self._entered.setdefault(node.parent.number, {})
                if node.number in siblings:
                    break
                siblings[node.number] = node
                node = node.parent

    def best(self) -> QueueNode | None:
        """The leaf whose turn it is, or None when all were dropped."""
        root = node = self._tree.root
        heaps, entered = self._heaps, self._entered
        while (number := node.number) in entered:
            heap = heaps.get(number) or self._heap(node)
            if not heap:
                return None
            node = heap[0][4]
        return None if node is root else node

    def took(self, leaf: QueueNode) -> None:
        """The leaf that `best` gave last took something."""
        turn, now_us, heaps = self._tree.turn, self._now_us, self._heaps
        node = leaf
        while (parent := node.parent) is not None:
            heap = heaps[parent.number]
            if len(heap) > 1:
                heapreplace(heap, turn(node, now_us))
            node = parent

    def drop(self, leaf: QueueNode) -> None:
        """The leaf has nothing more to offer in this pass; it is the one `best` gave last."""
        node = leaf
        while node.parent is not None:
            heap = self._heaps[node.parent.number]
            heappop(heap)
            if heap:
                return
            node = node.parent

    def _heap(self, node: QueueNode) -> list[Turn]:
        """The queues under one, by whose turn it is."""
        heap = self._heaps.get(node.number)
        if heap is None:
            below = self._entered[node.number].values()
            heap = [self._tree.turn(child, self._now_us) for child in below]
            heapify(heap)
            self._heaps[node.number] = heap
        return heap
