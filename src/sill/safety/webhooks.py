"""Signs what we deliver and verifies what others deliver. Sending is the business of `outbound`."""

import hashlib
import hmac
import re
from collections.abc import Mapping

from sill.core.errors import InvalidValue, Unauthenticated

WINDOW_S = 300
_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,100}")
_DIGITS = re.compile(r"[0-9]{1,12}")


def sign_webhook(secret: bytes, key_id: str, timestamp: int, delivery_id: str, body: bytes) -> dict[str, str]:
    """The headers that prove who sent the body, when, and as which delivery. HMAC-SHA256 over all three.

    Args:
        secret: at least 16 bytes shared with the receiver.
        key_id: tells the receiver which secret; letters, digits, `. _ -`.
        timestamp: seconds since 1970 UTC.
        delivery_id: the same for every try of one delivery, so that the receiver can drop repeats.
    Raises:
        InvalidValue: the secret is too short, or an id has other characters.
    """
    if len(secret) < 16:
        raise InvalidValue(f"a webhook secret has at least 16 bytes, got {len(secret)}.", field="secret")
    for field, value in (("key_id", key_id), ("delivery_id", delivery_id)):
        if not _PLAIN.fullmatch(value):
            raise InvalidValue(f"{field} may hold letters, digits and . _ - only, at most 100.", field=field)
    return {
        "sill-key-id": key_id,
        "sill-timestamp": str(timestamp),
        "sill-delivery": delivery_id,
        "sill-signature": f"v1={_signature(secret, str(timestamp), delivery_id, body)}",
    }


def verify_webhook(
    secrets: Mapping[str, bytes], headers: Mapping[str, str], body: bytes, now_s: float, window_s: float = WINDOW_S
) -> str:
    """The delivery id, if the body was signed with one of our secrets within the last `window_s` seconds.

    Repeats inside the window are the caller's to drop, by the id.

    Args:
        secrets: by key id.
        headers: as received; names in any case.
        now_s: seconds since 1970 UTC.
    Raises:
        Unauthenticated: no or wrong signature, unknown key, or too old or too far ahead.
    """
    found = {name.lower(): value for name, value in headers.items()}
    key_id, timestamp, delivery_id, signature = (
        found.get(name, "") for name in ("sill-key-id", "sill-timestamp", "sill-delivery", "sill-signature")
    )
    secret = secrets.get(key_id)
    if secret is None or not _DIGITS.fullmatch(timestamp) or not _PLAIN.fullmatch(delivery_id):
        raise Unauthenticated("the delivery is not signed with a known key.", fix="Check key id and secret.")
    expected = f"v1={_signature(secret, timestamp, delivery_id, body)}"
    if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
        raise Unauthenticated("the delivery's signature does not fit its body.", fix="Check the secret.")
    if abs(now_s - int(timestamp)) > window_s:
        raise Unauthenticated(
            f"the delivery was signed more than {window_s:g} s from now.", fix="Sign each try anew; check the clock."
        )
    return delivery_id


def _signature(secret: bytes, timestamp: str, delivery_id: str, body: bytes) -> str:
    # Neither part can hold a dot-separated look-alike of the next: the timestamp is digits and comes first,
    # and the length of the id is part of what is signed.
    signed = f"{timestamp}.{len(delivery_id)}.{delivery_id}.".encode() + body
    return hmac.new(secret, signed, hashlib.sha256).hexdigest()
