"""Signs and verifies sets of files with Ed25519. When a signature is demanded is left to `governance`."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sill.core.clock import Clock, SystemClock
from sill.core.errors import Damaged, InvalidValue
from sill.core.names import shorten
from sill.safety.paths import check_relative
from sill.safety.private_files import read_private, write_private

FILES_MAX = 100_000


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which files belong together, and who says so.

    Attributes:
        files: SHA-256 in hex by relative path.
        created_us: microseconds since 1970 UTC.
        key_id: first 16 hex digits of the SHA-256 of the signer's raw public key.
        signature: Ed25519 over all the rest, URL-safe base64.
    """

    files: dict[str, str]
    created_us: int
    key_id: str
    signature: str = ""


class Signer:
    """Signs with a private key in a 0600 file, which is made on first use.

    Raises:
        Forbidden: others may read the file.
        Damaged: the file holds no Ed25519 key.
    """

    def __init__(self, key_file: Path) -> None:
        pem = None if key_file.exists() else write_private(key_file, _new_pem())
        self._key = _load_private(pem or read_private(key_file), key_file)
        self.key_id = _key_id(self._key.public_key())

    def public_key_pem(self) -> str:
        """What others need for `verify`."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()

    def sign(self, content: bytes) -> str:
        """The signature in URL-safe base64."""
        return base64.urlsafe_b64encode(self._key.sign(content)).decode()

    def make_manifest(self, files: Mapping[str, bytes | Path], clock: Clock | None = None) -> Manifest:
        """A signed manifest of the files.

        Raises:
            InvalidValue: a path that is not allowed, or more than 100,000 files.
        """
        return self.sign_digests(
            {path: file_digest(content) for path, content in files.items()}, (clock or SystemClock()).now_us()
        )

    def sign_digests(self, files: Mapping[str, str], created_us: int) -> Manifest:
        """A signed manifest of files whose digests are known already, by relative path.

        Raises:
            InvalidValue: a path that is not allowed, or more than 100,000 files.
        """
        if len(files) > FILES_MAX:
            raise InvalidValue(f"a manifest has at most {FILES_MAX:,} files, got {len(files):,}.", field="files")
        unsigned = Manifest(
            files={check_relative(path): digest for path, digest in sorted(files.items())},
            created_us=created_us,
            key_id=self.key_id,
        )
        return msgspec.structs.replace(unsigned, signature=self.sign(_signed_bytes(unsigned)))


def verify(public_key_pem: str, content: bytes, signature: str) -> bool:
    """True if the signature is the key's over the content.

    Raises:
        InvalidValue: the key is not an Ed25519 public key.
    """
    key = _load_public(public_key_pem)
    try:
        key.verify(base64.b64decode(signature.encode("ascii"), altchars=b"-_", validate=True), content)
    except (InvalidSignature, ValueError):
        return False
    return True


def verify_manifest(manifest: Manifest, public_key_pem: str, files: Mapping[str, bytes | Path]) -> None:
    """Checks the signature, then that exactly the listed files are there with the listed contents.

    Raises:
        Damaged: a wrong signature or signer, or the first file that is missing, added or changed.
        InvalidValue: the manifest lists a path that is not allowed, or the key is not one.
    """
    verify_signature(manifest, public_key_pem)
    for path in manifest.files:
        check_relative(path)
    for path in sorted(manifest.files.keys() ^ files.keys()):
        what = "is missing" if path in manifest.files else "is not in the manifest"
        raise Damaged(f"file {shorten(path)!r} {what}.", fix="Fetch the files again.")
    for path, expected in manifest.files.items():
        if file_digest(files[path]) != expected:
            raise Damaged(f"file {shorten(path)!r} does not match its digest.", fix="Fetch the file again.")


def verify_signature(manifest: Manifest, public_key_pem: str) -> None:
    """Checks who signed the manifest, without looking at the files.

    Raises:
        Damaged: a wrong signature or signer.
    """
    if manifest.key_id != _key_id(_load_public(public_key_pem)):
        raise Damaged(f"the manifest was signed by key {shorten(manifest.key_id)!r}, not by the expected one.")
    if not verify(public_key_pem, _signed_bytes(manifest), manifest.signature):
        raise Damaged("the manifest's signature does not fit its content.", fix="Fetch it again from its source.")


def file_digest(content: bytes | Path) -> str:
    """SHA-256 in hex; a file is read in pieces."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _signed_bytes(manifest: Manifest) -> bytes:
    unsigned = msgspec.structs.replace(manifest, signature="")
    # The head keeps a signed manifest from being taken for another signed thing.
    return b"sill-manifest-v1\n" + msgspec.json.encode(unsigned, order="deterministic")


def _new_pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load_private(pem: bytes, path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as wrong:
        raise Damaged(f"{path} holds no private key.", fix="Restore it from the backup.") from wrong
    if not isinstance(key, Ed25519PrivateKey):
        raise Damaged(f"{path} holds a key of another kind than Ed25519.", fix="Restore it from the backup.")
    return key


def _load_public(pem: str) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except ValueError as wrong:
        raise InvalidValue("the public key cannot be read as PEM.", field="public_key") from wrong
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidValue("the public key is of another kind than Ed25519.", field="public_key")
    return key


def _key_id(key: Ed25519PublicKey) -> str:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]
