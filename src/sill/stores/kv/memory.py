"""Online values in this process. Gone when it ends: whoever wrote them writes them again."""

import threading
from collections.abc import Mapping, Sequence

from sill.core.errors import Unavailable
from sill.stores.kv.port import check_keys, check_namespace, check_rows

BYTES_MAX = 512 * 1024 * 1024
"""What all keys and values may come to."""


class MemoryOnline:
    """The driver for this process. Threads may share it."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._spaces: dict[str, dict[str, bytes]] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def put_many(self, namespace: str, rows: Mapping[str, bytes]) -> None:
        """Keep the rows.

        Raises:
            Unavailable: memory set aside for them would not suffice; nothing was kept.
        """
        check_namespace(namespace)
        check_rows(rows)
        with self._lock:
            space = self._spaces.get(namespace, {})
            grown = sum(_grown(space, key, value) for key, value in rows.items())
            if grown > 0 and self._bytes + grown > self._bytes_max:
                raise Unavailable(
                    f"the in-process online store would pass its {self._bytes_max} bytes.",
                    fix="Set SILL_ONLINE_URL to a Redis, or materialise fewer rows.",
                )
            self._spaces.setdefault(namespace, space).update(rows)
            self._bytes += grown

    def get_many(self, namespace: str, keys: Sequence[str]) -> list[bytes | None]:
        """The values of the keys, in their order."""
        check_namespace(namespace)
        check_keys(keys)
        with self._lock:
            space = self._spaces.get(namespace, {})
            return [space.get(key) for key in keys]

    def drop(self, namespace: str) -> None:
        """Forget the namespace."""
        with self._lock:
            space = self._spaces.pop(check_namespace(namespace), {})
            self._bytes -= sum(len(key) + len(value) for key, value in space.items())

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._spaces.clear()
            self._bytes = 0


def _grown(space: dict[str, bytes], key: str, value: bytes) -> int:
    before = space.get(key)
    return len(key) + len(value) if before is None else len(value) - len(before)
