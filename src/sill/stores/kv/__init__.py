"""Online values by key, in this process or in Redis."""

from sill.core.errors import InvalidValue
from sill.stores.kv.memory import MemoryOnline
from sill.stores.kv.port import Online
from sill.stores.kv.redis import RedisOnline

__all__ = ["Online", "open_online"]


def open_online(url: str) -> Online:
    """The online store at `url`: `redis://host:port/0`, `rediss://…`; empty for the one in this process.

    Raises:
        InvalidValue: another kind of address.
        PluginMissing: redis-py is not installed.
    """
    if not url:
        return MemoryOnline()
    scheme = url.partition("://")[0]
    if scheme not in ("redis", "rediss"):
        raise InvalidValue(
            f"online store address of kind {scheme!r} is not known; redis:// and rediss:// are.",
            fix="Set SILL_ONLINE_URL.",
        )
    return RedisOnline(url)
