"""How much a peer asks that is no work: frames that carry no call, calls that are begun and taken back."""

from sill.protocols.grpc.frames import Code, ConnectionFault
from sill.protocols.grpc.limits import GrpcLimits


class Meter:
    """Of one connection. Time and answered calls forgive what was counted."""

    __slots__ = ("_limits", "_noise", "_resets", "_tick")

    def __init__(self, limits: GrpcLimits, tick: int) -> None:
        self._limits = limits
        self._noise = self._resets = 0.0
        self._tick = tick

    @property
    def is_noisy(self) -> bool:
        """So much came that nobody else should wait for more of it."""
        return self._resets > self._limits.resets_slowed or self._noise > self._limits.noise_slowed

    def noise(self) -> None:
        """A frame that carries no call.

        Raises:
            ConnectionFault: there were too many.
        """
        self._noise = max(self._noise, 0.0) + 1
        if self._noise > self._limits.noise_max:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "too many frames that carry no call")

    def reset(self) -> None:
        """A call was begun and taken back.

        Raises:
            ConnectionFault: there were too many.
        """
        self._resets += 1
        if self._resets > self._limits.resets_max:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "too many calls are begun and taken back")

    def forgive(self) -> None:
        """A call was answered."""
        if self._noise > 0:
            self._noise -= self._limits.noise_forgiven_by_call
        if self._resets > 0:
            self._resets -= 1

    def pass_time(self, tick: int, tick_s: float) -> None:
        """Forgive by the time that passed since the last look."""
        passed_s = (tick - self._tick) * tick_s
        self._tick = tick
        self._noise = max(self._noise - passed_s * self._limits.noise_per_s, 0.0)
        self._resets = max(self._resets - passed_s * self._limits.resets_per_s, 0.0)
