"""The online contract in this process and on Valkey, and what only one of them can show."""

from collections.abc import Iterator

import pytest

from sill.core.errors import InvalidValue, Unavailable
from sill.stores.kv import Online, open_online
from sill.stores.kv.memory import MemoryOnline
from sill.stores.kv.redis import RedisOnline
from sill.testing.online import OnlineContract


class TestMemory(OnlineContract):
    @pytest.fixture
    def online(self) -> Online:
        return open_online("")


class TestRedis(OnlineContract):
    @pytest.fixture
    def online(self, redis_url: str) -> Iterator[Online]:
        online = open_online(redis_url)
        assert isinstance(online, RedisOnline)
        online._redis.flushdb()
        yield online
        online.close()


def test_memory_is_bounded_and_freed() -> None:
    online = MemoryOnline(bytes_max=100)
    online.put_many("n", {"a": bytes(99)})
    with pytest.raises(Unavailable):
        online.put_many("n", {"b": b""})
    online.put_many("n", {"a": b"small"})
    online.put_many("n", {"b": bytes(80)})
    online.drop("n")

    online.put_many("n", {"c": bytes(99)})
    assert online.get_many("n", ["a", "c"]) == [None, bytes(99)]


def test_a_redis_that_is_not_there_is_unavailable() -> None:
    online = RedisOnline("redis://127.0.0.1:1/0")
    with pytest.raises(Unavailable):
        online.get_many("n", ["a"])


def test_another_kind_of_address_is_refused() -> None:
    with pytest.raises(InvalidValue, match="memcached"):
        open_online("memcached://host")
