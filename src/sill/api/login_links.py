"""Login links that were given out and not used yet."""

import secrets
from collections import OrderedDict

from sill.core.errors import Unauthenticated

LINK_S = 60
LINKS_MAX = 100


class LoginLinks:
    """Codes that were given out and not used yet, with the session each stands for. Kept in memory only."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, tuple[int, str]] = OrderedDict()

    def add(self, session: str, now_us: int) -> str:
        """A fresh code for a session token."""
        code = secrets.token_urlsafe(32)
        self._waiting[code] = (now_us + LINK_S * 1_000_000, session)
        while len(self._waiting) > LINKS_MAX:
            self._waiting.popitem(last=False)
        return code

    def use(self, code: str, now_us: int) -> str:
        """The session token a code stands for; the code is spent.

        Raises:
            Unauthenticated: it was used, is too old, or never was.
        """
        until_us, session = self._waiting.pop(code, (0, ""))
        if now_us >= until_us:
            raise Unauthenticated(
                "this login link was used already, or is older than a minute.", fix="Run `sill open` again."
            )
        return session
