"""Online values in Redis or Valkey: one hash for each namespace, so that to drop it is one command."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sill.core.errors import PluginMissing, Unavailable
from sill.stores.kv.port import check_keys, check_namespace, check_rows

ROWS_PER_COMMAND = 5_000
"""Redis answers nobody else while it runs a command: short ones keep lookups fast."""
TIMEOUT_S = 5.0
RETRIES_MAX = 3
_PREFIX = "sill:online:"


class RedisOnline:
    """The driver for `redis://` and `rediss://`. Threads may share it.

    Raises:
        PluginMissing: redis-py is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            import redis
            from redis.backoff import ExponentialBackoff
            from redis.retry import Retry
        except ImportError as missing:
            raise PluginMissing("online store 'redis' needs 'redis'.", fix="pip install 'sill[redis]'") from missing
        self._error: type[Exception] = redis.RedisError
        self._redis: Any = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(ExponentialBackoff(), RETRIES_MAX),
            decode_responses=False,
        )

    def put_many(self, namespace: str, rows: Mapping[str, bytes]) -> None:
        """Keep the rows."""
        check_namespace(namespace)
        check_rows(rows)
        fields = [(_field(key), value) for key, value in rows.items()]
        with self._told():
            for start in range(0, len(fields), ROWS_PER_COMMAND):
                self._redis.hset(_PREFIX + namespace, mapping=dict(fields[start : start + ROWS_PER_COMMAND]))

    def get_many(self, namespace: str, keys: Sequence[str]) -> list[bytes | None]:
        """The values of the keys, in their order."""
        check_namespace(namespace)
        check_keys(keys)
        fields = [_field(key) for key in keys]
        found: list[bytes | None] = []
        with self._told():
            for start in range(0, len(fields), ROWS_PER_COMMAND):
                found += self._redis.hmget(_PREFIX + namespace, fields[start : start + ROWS_PER_COMMAND])
        return found

    def drop(self, namespace: str) -> None:
        """Forget the namespace; its memory is freed in the background."""
        with self._told():
            self._redis.unlink(_PREFIX + check_namespace(namespace))

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._error as broken:
            raise Unavailable(
                f"the online store did not answer ({type(broken).__name__}).", fix="Check SILL_ONLINE_URL and Redis."
            ) from broken


def _field(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")
