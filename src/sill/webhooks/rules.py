"""Which events there are, what a webhook may be, and how a delivery is signed and paced. Pure.

Names are `entity.action`. Those of the registry and of prompts are MLflow's; MLflow's clients know no others. Those of
runs, and a version's way through its gate, are ours.
"""

import base64
import hashlib
import hmac
import re
import zlib

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.webhooks.types import WebhookSpec

MLFLOW_EVENTS = (
    *("registered_model.created", "model_version.created", "model_version_tag.set", "model_version_tag.deleted"),
    *("model_version_alias.created", "model_version_alias.deleted", "prompt.created", "prompt_version.created"),
    *("prompt_tag.set", "prompt_tag.deleted", "prompt_version_tag.set", "prompt_version_tag.deleted"),
    *("prompt_alias.created", "prompt_alias.deleted"),
)
OUR_EVENTS = (
    *("run.created", "run.started", "run.finished", "run.failed", "run.cancelled", "run.deleted", "run.restored"),
    *("model_version.accepted", "model_version.rejected", "model_version.awaiting", "model_version.deleted"),
    "model_version.stage_moved",
)
EVENTS = MLFLOW_EVENTS + OUR_EVENTS
SECRET_BYTES_MIN, SECRET_BYTES_MAX = 1, 1_000
NOTE_LENGTH_MAX = 1_000
URL_LENGTH_MAX = 500
ATTEMPTS_MAX = 8
PAUSE_S = 1.0
"""Pause after the first failed attempt; it doubles each time, up to half longer by chance."""
RETRY_AFTER_S_MAX = 600.0
"""Longest a receiver may ask us to wait before the next attempt."""
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_SECONDS = re.compile(r"\d{1,6}")


def check_spec(spec: WebhookSpec) -> None:
    """Refuses what no webhook may be. Where its address leads is the business of `safety.outbound`.

    Raises:
        InvalidValue: name, address, events, note or secret are outside what is allowed.
    """
    if not _NAME.fullmatch(spec.name):
        raise InvalidValue(
            f"Webhook name {shorten(spec.name)!r} is invalid. It must start and end with a letter or digit, be less than "
            "63 characters long, and contain only letters, digits, dots (.), underscores (_), and hyphens (-).",
            field="name",
        )
    check_url(spec.url)
    check_events(spec.events)
    if len(spec.note) > NOTE_LENGTH_MAX or "\0" in spec.note:
        raise InvalidValue(f"the note is longer than {NOTE_LENGTH_MAX} characters, or holds a NUL.", field="note")
    if spec.secret and not SECRET_BYTES_MIN <= len(spec.secret.encode()) <= SECRET_BYTES_MAX:
        raise InvalidValue(f"a webhook's secret has at most {SECRET_BYTES_MAX} bytes.", field="secret")


def check_url(url: str) -> None:
    """Refuses what is no http or https address, in MLflow's words."""
    if not url.strip():
        raise InvalidValue(f"Webhook URL cannot be empty or just whitespace: {url[:20]!r}", field="url")
    scheme = url.partition(":")[0].lower()
    if scheme not in ("http", "https"):
        raise InvalidValue(
            f"Invalid webhook URL scheme: {shorten(scheme)!r}. Allowed schemes are: http, https.", field="url"
        )
    if len(url) > URL_LENGTH_MAX:
        raise InvalidValue(f"Invalid webhook URL: it has more than {URL_LENGTH_MAX} characters.", field="url")


def check_events(events: tuple[str, ...]) -> None:
    """Refuses an empty list, and events that do not exist."""
    if not events or len(events) > len(EVENTS):
        raise InvalidValue(
            "Webhook events must be a non-empty list, each event once.",
            fix=f"Events: {', '.join(EVENTS)}.",
            field="events",
        )
    for event in events:
        if event not in EVENTS:
            raise InvalidValue(
                f"{shorten(event)!r} is no event of a webhook.", fix=f"Events: {', '.join(EVENTS)}.", field="events"
            )


def headers(secret: bytes, timestamp: int, delivery_id: str, body: bytes) -> dict[str, str]:
    """The headers of a delivery, as MLflow's receivers verify them: HMAC-SHA256 over id, time and body.

    Args:
        secret: shared with the receiver; empty for a delivery that is not signed.
        timestamp: seconds since 1970 UTC.
        delivery_id: the same for every try of one delivery, so that the receiver can drop repeats.
    """
    found = {
        "content-type": "application/json",
        "X-MLflow-Delivery-Id": delivery_id,
        "X-MLflow-Timestamp": str(timestamp),
    }
    if secret:
        signed = f"{delivery_id}.{timestamp}.".encode() + body
        digest = hmac.new(secret, signed, hashlib.sha256).digest()
        found["X-MLflow-Signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return found


def pause_us(delivery_id: str, attempts: int, retry_after: str = "") -> int:
    """Microseconds until the next attempt; the part by chance comes from the id, so that a repeat waits the same.

    Args:
        retry_after: what the receiver answered under that name, in seconds.
    """
    chance = zlib.crc32(f"{delivery_id}/{attempts}".encode()) / 2**32
    pause_s = PAUSE_S * 2.0 ** (attempts - 1) * (1 + chance / 2)
    if _SECONDS.fullmatch(retry_after):
        pause_s = max(pause_s, min(float(retry_after), RETRY_AFTER_S_MAX))
    return int(pause_s * 1e6)
