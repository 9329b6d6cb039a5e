"""Webhook signatures: body, time and delivery are bound together."""

import pytest

from sill.core.errors import InvalidValue, Unauthenticated
from sill.safety.webhooks import sign_webhook, verify_webhook

SECRET = b"0123456789abcdef"
NOW = 1_700_000_000


def signed(body: bytes = b"{}") -> dict[str, str]:
    return sign_webhook(SECRET, "k1", NOW, "del-1", body)


def test_what_was_signed_verifies() -> None:
    headers = {name.title(): value for name, value in signed().items()}
    assert verify_webhook({"k1": SECRET}, headers, b"{}", NOW + 299) == "del-1"


@pytest.mark.parametrize(
    "change",
    [
        {"sill-timestamp": str(NOW + 1)},
        {"sill-timestamp": "x"},
        {"sill-delivery": "del-2"},
        {"sill-key-id": "k2"},
        {"sill-signature": "v1=00"},
        {"sill-signature": "ä"},
        {"sill-signature": ""},
    ],
)
def test_changed_header_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated):
        verify_webhook({"k1": SECRET}, signed() | change, b"{}", NOW)


def test_changed_body_is_refused() -> None:
    with pytest.raises(Unauthenticated):
        verify_webhook({"k1": SECRET}, signed(), b"{ }", NOW)


@pytest.mark.parametrize("later_s", [301, -301])
def test_replay_outside_five_minutes_is_refused(later_s: int) -> None:
    with pytest.raises(Unauthenticated, match="300 s"):
        verify_webhook({"k1": SECRET}, signed(), b"{}", NOW + later_s)


@pytest.mark.parametrize(
    ("secret", "key_id", "delivery"), [(b"short", "k", "d"), (SECRET, "k\n", "d"), (SECRET, "k", "")]
)
def test_weak_secret_and_strange_ids_are_refused(secret: bytes, key_id: str, delivery: str) -> None:
    with pytest.raises(InvalidValue):
        sign_webhook(secret, key_id, NOW, delivery, b"")
