"""From a token to an actor, fast; and a bound on how many refusals are written down. No rights are decided here."""

import base64
import hashlib
import hmac
from collections import deque

from sill.core.actors import ANY, JOB, Actor
from sill.core.clock import Clock
from sill.core.errors import Unauthenticated
from sill.governance.rules import INFERENCE_SCOPES
from sill.governance.store import find_token
from sill.governance.types import Token
from sill.safety.tokens import PREFIX, digest, is_token
from sill.stores.database import Database

IDENTITY_S = 3.0
"""How long an identity is believed without looking again; a revocation elsewhere works within this time."""
IDENTITIES_MAX = 10_000
DENIALS_PER_MINUTE_MAX = 60


class Identities:
    """Who is behind a token. Remembers for three seconds.

    Args:
        root_digest: digest of the root token, which lies in the home and not in the database.
    """

    def __init__(self, database: Database, clock: Clock, root_digest: str) -> None:
        self._database = database
        self._clock = clock
        self._known: dict[str, tuple[Actor, int, float]] = {}
        # Made from the root token's, so that the inference plane's stays good over a restart of this process.
        made = hmac.new(root_digest.encode(), b"sill inference plane", hashlib.sha256).digest()
        self.inference_token = PREFIX + base64.urlsafe_b64encode(made).rstrip(b"=").decode()
        self._fixed = (
            (root_digest, Actor(id="root", scopes=frozenset({ANY}))),
            (digest(self.inference_token), Actor(id="inference", scopes=INFERENCE_SCOPES)),
        )

    @property
    def root_as_token(self) -> Token:
        """The root token in the form of the others."""
        root = self._fixed[0]
        return Token(id="root", name="root", digest=root[0], prefix="", scopes=(ANY,), projects=(ANY,), created_us=0)

    async def actor(self, secret: str) -> Actor:
        """The actor a token stands for.

        Raises:
            Unauthenticated: it is not known, has expired or was revoked.
        """
        if not is_token(secret):
            raise _unknown_token()
        key = digest(secret)
        for fixed, actor in self._fixed:
            if hmac.compare_digest(key, fixed):
                return actor
        known = self._known.get(key)
        if known is None or known[2] <= self._clock.monotonic_s():
            known = await self._look_up(key)
        actor, expires_us, _ = known
        if expires_us and expires_us <= self._clock.now_us():
            raise _unknown_token()
        return actor

    def forget(self, key: str) -> None:
        """Look the token with this digest up again when it comes next."""
        self._known.pop(key, None)

    async def _look_up(self, key: str) -> tuple[Actor, int, float]:
        looked_s = self._clock.monotonic_s()  # before the read: what changes after it is seen in time
        token = await self._database.read(lambda connection: find_token(connection, key))
        if token is None or token.revoked_us:
            self.forget(key)
            raise _unknown_token()
        actor_id = token.name if token.name.startswith(JOB) else token.id
        actor = Actor(id=actor_id, scopes=frozenset(token.scopes), projects=frozenset(token.projects))
        if len(self._known) >= IDENTITIES_MAX:
            self._known.clear()
        self._known[key] = (actor, token.expires_us, looked_s + IDENTITY_S)
        return self._known[key]


class Denials:
    """Says which refusals are written down: at most 60 a minute, so that nobody fills the disk by being refused."""

    def __init__(self) -> None:
        self._times: deque[int] = deque()
        self._left_out = 0

    def admit(self, now_us: int) -> int | None:
        """How many were left out since the last that was written down; None if this one is left out too."""
        while self._times and self._times[0] <= now_us - 60_000_000:
            self._times.popleft()
        if len(self._times) >= DENIALS_PER_MINUTE_MAX:
            self._left_out += 1
            return None
        self._times.append(now_us)
        left_out, self._left_out = self._left_out, 0
        return left_out


def _unknown_token() -> Unauthenticated:
    return Unauthenticated("the token is not known, has expired or was revoked.", fix="Ask an admin for a new one.")
