"""Counts who does how much at once and over time. What is limited, and how far, is left to the callers."""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sill.core.clock import Clock
from sill.core.errors import InvalidValue, Limited, TooLarge, Unavailable

CLASSES = ("health", "control", "interactive", "batch", "background")
"""From the most to the least important."""

SHARES: Mapping[str, float] = {"health": 1.0, "control": 0.95, "interactive": 0.9, "batch": 0.7, "background": 0.5}
"""How full the house may be for a class to be let in still."""

ROOM_TIMES = 9
"""How many times the room that is left a tenant may hold beyond its equal part: alone nine tenths of all there is, beside
one who wants as much nearly half of it. So there is room whenever another one comes, and hardly any is left unused.
Source: Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches" (1998).
"""


class TokenBuckets:
    """A token bucket for each key: `burst` at once, then `rate_per_s`.

    The table is bounded; the key that was quiet for longest is forgotten, and starts full when it returns.

    Args:
        rate_per_s: tokens that come back in a second; above zero.
        burst: tokens a full bucket holds; at least 1.
        keys_max: keys remembered.
    """

    def __init__(self, rate_per_s: float, burst: float, clock: Clock, keys_max: int = 10_000) -> None:
        if rate_per_s <= 0 or burst < 1 or keys_max < 1:
            raise InvalidValue(
                f"rate must be above 0, burst and keys at least 1, got {rate_per_s}, {burst}, {keys_max}."
            )
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._clock = clock
        self._keys_max = keys_max
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, seen at (s)

    def take(self, key: str, cost: float = 1.0) -> None:
        """Takes `cost` tokens from the key's bucket.

        Raises:
            Limited: there are too few; `details["retry_after_s"]` says when there will be enough.
        """
        now_s = self._clock.monotonic_s()
        with self._lock:
            tokens, seen_s = self._buckets.get(key, (self._burst, now_s))
            tokens = min(self._burst, tokens + max(0.0, now_s - seen_s) * self._rate_per_s)
            enough = tokens >= cost
            self._buckets[key] = (tokens - cost if enough else tokens, now_s)
            self._buckets.move_to_end(key)
            if len(self._buckets) > self._keys_max:
                self._buckets.popitem(last=False)
        if not enough:
            wait_s = (cost - tokens) / self._rate_per_s
            raise Limited(
                f"more than {self._rate_per_s:g} a second, or {self._burst:g} at once.",
                fix=f"Try again in {wait_s:.1f} s.",
                retry_after_s=round(wait_s, 3),
            )

    def __len__(self) -> int:
        return len(self._buckets)


class Parts:
    """What each tenant holds of what all share. The empty name is nobody in particular, who has no bound of its own.

    Whoever holds nothing may have what is left; who holds less than his equal part, counted with one who may come, too.
    """

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        """Of those who hold any."""

    def may_have(self, tenant: str, more: int, left: int, total: int, own: int = 0) -> bool:
        """Whether a tenant may have so much more.

        Args:
            left: what is there for all once it has.
            total: what is there for all together.
            own: of what it holds, what belongs to the same thing.
        """
        held = self._held.get(tenant, 0)
        if held <= own:
            return True
        held += more
        return held <= ROOM_TIMES * left or held * (len(self._held) + 1) <= total

    def add(self, tenant: str, more: int) -> None:
        """So much more, or less."""
        if tenant and more:
            held = self._held.pop(tenant, 0) + more
            if held:
                self._held[tenant] = held


class InFlight:
    """How many are served at once. The less important a class, the emptier the house must be for it.

    Of one tenant no more than its part, see `ROOM_TIMES`.

    Args:
        total_max: at once, all classes together.
        shares: by class, the part of `total_max` up to which it is let in.
    """

    def __init__(self, total_max: int, shares: Mapping[str, float] = SHARES) -> None:
        if total_max < 1:
            raise InvalidValue(f"total_max must be at least 1, got {total_max}.")
        self._limits = {kind: max(1, int(total_max * share)) for kind, share in shares.items()}
        self._parts = Parts()
        self._lock = threading.Lock()
        self.count = 0

    @contextmanager
    def enter(self, kind: str = "interactive", tenant: str = "") -> Iterator[None]:
        """Counts one for as long as the block runs. Raises as `take`."""
        self.take(kind, tenant)
        try:
            yield
        finally:
            self.leave(1, tenant)

    def take(self, kind: str = "interactive", tenant: str = "") -> None:
        """`try_enter`, for those who tell why not.

        Raises:
            Limited: too many at once for this class, or of this tenant.
        """
        if not self.try_enter(kind, tenant):
            raise Limited(
                f"too many requests at once: {self._limits[kind]} may be, and of one tenant its part of them.",
                fix="Try again in a second, or send fewer at once.",
                retry_after_s=1.0,
            )

    def try_enter(self, kind: str = "interactive", tenant: str = "") -> bool:
        """Count one, until `leave`; false if there are too many at once for this class, or of this tenant."""
        with self._lock:
            most = self._limits[kind]
            left = most - self.count - 1
            if left < 0 or not self._parts.may_have(tenant, 1, left, most):
                return False
            self.count += 1
            self._parts.add(tenant, 1)
            return True

    def leave(self, count: int = 1, tenant: str = "") -> None:
        """So many less."""
        with self._lock:
            self.count -= count
            self._parts.add(tenant, -count)


class Reservation:
    """Memory taken from a budget, given back on `release` or at the end of the block."""

    def __init__(self, budget: "MemoryBudget", tenant: str) -> None:
        self._budget = budget
        self._tenant = tenant
        self.size_bytes = 0

    def grow(self, size_bytes: int) -> None:
        """Takes more.

        Raises:
            Unavailable: the budget is used up.
            Limited: the tenant's part of it is.
        """
        self._budget._take(size_bytes, self._tenant, self.size_bytes)
        self.size_bytes += size_bytes

    def shrink(self, size_bytes: int) -> None:
        """Gives a part back."""
        size_bytes = min(size_bytes, self.size_bytes)
        self._budget._give(size_bytes, self._tenant)
        self.size_bytes -= size_bytes

    def release(self) -> None:
        """Gives all back; may be called twice."""
        self.shrink(self.size_bytes)

    def __enter__(self) -> "Reservation":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class MemoryBudget:
    """Bytes that all requests together may hold. Of one tenant's no more than its part, see `ROOM_TIMES`."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.used_bytes = 0
        self._parts = Parts()
        self._lock = threading.Lock()

    def reserve(self, size_bytes: int = 0, tenant: str = "") -> Reservation:
        """A reservation that holds `size_bytes` and can grow.

        Raises:
            TooLarge: more than the whole budget.
            Unavailable: the budget is used up for now.
            Limited: the tenant's part of it is.
        """
        reservation = Reservation(self, tenant)
        reservation.grow(size_bytes)
        return reservation

    def _take(self, size_bytes: int, tenant: str, own_bytes: int) -> None:
        with self._lock:
            if size_bytes > self.bytes_max:
                raise TooLarge(f"{size_bytes:,} bytes do not fit; all requests share {self.bytes_max:,}.")
            left_bytes = self.bytes_max - self.used_bytes - size_bytes
            if left_bytes < 0:
                raise Unavailable("memory for requests is used up.", fix="Try again in a second.", retry_after_s=1.0)
            if not self._parts.may_have(tenant, size_bytes, left_bytes, self.bytes_max, own_bytes):
                raise Limited(
                    f"this tenant's part of the {self.bytes_max:,} bytes for requests is used up.",
                    fix="Try again in a second, or send fewer at once.",
                    retry_after_s=1.0,
                )
            self._parts.add(tenant, size_bytes)
            self.used_bytes += size_bytes

    def _give(self, size_bytes: int, tenant: str) -> None:
        with self._lock:
            self.used_bytes -= size_bytes
            self._parts.add(tenant, -size_bytes)
