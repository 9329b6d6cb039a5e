"""The signed manifest of a version's files: made by the registry, checked wherever a file is read or loaded."""

from collections.abc import Mapping

import msgspec

from sill.core.errors import Damaged
from sill.safety.signing import Manifest, Signer, verify_signature


def make(signer: Signer, files: Mapping[str, str], now_us: int) -> bytes:
    """The manifest of files (path → SHA-256 in hex) as JSON, signed with the platform's key."""
    return msgspec.json.encode(signer.sign_digests(files, now_us))


def verified(public_key_pem: str, signed: bytes, name: str) -> Mapping[str, str]:
    """Path → digest of a manifest whose signature holds.

    Raises:
        Damaged: it cannot be read, or was not signed by the key; `name` says which manifest.
    """
    try:
        manifest = msgspec.json.decode(signed, type=Manifest)
        verify_signature(manifest, public_key_pem)
    except (msgspec.DecodeError, Damaged) as wrong:
        raise Damaged(f"{name} is not signed as it was: {wrong}", fix="Restore it from a backup.") from wrong
    return manifest.files
