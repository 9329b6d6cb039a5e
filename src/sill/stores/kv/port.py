"""The online port: small values by key, read in milliseconds. What the values mean is left to `features`."""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from sill.core.errors import InvalidValue
from sill.core.names import shorten

KEYS_PER_CALL_MAX = 100_000
KEY_BYTES_MAX = 1_024
VALUE_BYTES_MAX = 1024 * 1024
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:@-]{0,299}")


class Online(Protocol):
    """Keeps bytes by key, in namespaces. It is a copy of what the lake holds: it may be lost, never wrong."""

    def put_many(self, namespace: str, rows: Mapping[str, bytes]) -> None:
        """Keep the rows, all of them or (when it fails) an unknown part of them.

        Raises:
            InvalidValue: namespace, key or value is outside the limits.
            Unavailable: the store did not answer.
        """
        ...

    def get_many(self, namespace: str, keys: Sequence[str]) -> list[bytes | None]:
        """The values of the keys, in their order; None where there is none."""
        ...

    def drop(self, namespace: str) -> None:
        """Forget the namespace; it need not be there."""
        ...

    def close(self) -> None:
        """Let go of connections. The store is not used after."""
        ...


def check_namespace(namespace: str) -> str:
    """The namespace itself, if it is allowed.

    Raises:
        InvalidValue: empty, too long, or other characters than letters, digits and `_ . / : @ -`.
    """
    if not _NAMESPACE.fullmatch(namespace):
        raise InvalidValue(
            f"namespace {shorten(namespace)!r} is not allowed: letters, digits and _ . / : @ - are, at most 300.",
            field="namespace",
        )
    return namespace


def check_keys(keys: Sequence[str] | Mapping[str, bytes]) -> None:
    """Refuses too many keys and keys that are too long.

    Raises:
        InvalidValue: more than 100,000 keys, or one over 1,024 bytes.
    """
    if len(keys) > KEYS_PER_CALL_MAX:
        raise InvalidValue(f"{len(keys)} keys in one call; at most {KEYS_PER_CALL_MAX} are allowed.", field="keys")
    for key in keys:
        # Four bytes is the most a character takes: only keys that might be too long are encoded to see.
        if len(key) * 4 > KEY_BYTES_MAX and len(key.encode("utf-8", "surrogatepass")) > KEY_BYTES_MAX:
            raise InvalidValue(f"key {shorten(key)!r} has more than {KEY_BYTES_MAX} bytes.", field="keys")


def check_rows(rows: Mapping[str, bytes]) -> None:
    """Refuses rows that are too many, or with keys or values that are too long.

    Raises:
        InvalidValue: as `check_keys`, or a value over 1 MiB.
    """
    check_keys(rows)
    for key, value in rows.items():
        if len(value) > VALUE_BYTES_MAX:
            raise InvalidValue(
                f"the value of {shorten(key)!r} has {len(value)} bytes; at most {VALUE_BYTES_MAX} are allowed.",
                field="rows",
            )
