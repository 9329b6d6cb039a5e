"""Seals secrets at rest, each under a key of its own that the master key wraps. Storing them is left to `stores`."""

import hashlib
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sill.core.errors import Damaged, InvalidValue
from sill.safety.private_files import read_private, write_private

PLAINTEXT_BYTES_MAX = 64 * 1024


class SecretBox:
    """Envelope encryption with a master key in a 0600 file, which is made on first use.

    A sealed secret is `SB1`, 8 bytes of key id, nonce and wrapped data key, nonce and ciphertext (AES-256-GCM both).

    Args:
        master_key_file: 32 random bytes that only the owner may read. Without it nothing can be unsealed.
    Raises:
        Forbidden: others may read the file.
        Damaged: the file does not hold 32 bytes.
    """

    def __init__(self, master_key_file: Path) -> None:
        key = write_private(master_key_file, secrets.token_bytes(_KEY_BYTES)) if not master_key_file.exists() else None
        key = key or read_private(master_key_file)
        if len(key) != _KEY_BYTES:
            raise Damaged(f"{master_key_file} is not a master key.", fix="Restore it from the backup.")
        self._master = AESGCM(key)
        self.key_id = hashlib.sha256(b"sill master key id\x00" + key).digest()[:_ID_BYTES]

    def seal(self, plaintext: bytes, context: str) -> bytes:
        """The secret, sealed. It opens only under the same context.

        Args:
            context: `project/name`; a row copied to another project or name does not open there.
        Raises:
            InvalidValue: the secret is longer than 64 KiB.
        """
        if len(plaintext) > PLAINTEXT_BYTES_MAX:
            raise InvalidValue(
                f"a secret has at most {PLAINTEXT_BYTES_MAX:,} bytes, got {len(plaintext):,}.", field="value"
            )
        data_key = AESGCM.generate_key(bit_length=256)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        content = nonce + AESGCM(data_key).encrypt(nonce, plaintext, _bound("secret", context))
        return self._wrap(data_key, context) + content

    def unseal(self, sealed: bytes, context: str) -> bytes:
        """The secret itself.

        Raises:
            Damaged: changed, sealed under another context, or under another master key.
        """
        data_key, content = self._unwrap(sealed, context)
        try:
            return AESGCM(data_key).decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], _bound("secret", context))
        except (InvalidTag, ValueError) as wrong:
            raise _damaged(context) from wrong

    def rewrap(self, sealed: bytes, context: str, former: "SecretBox") -> bytes:
        """The same secret under this box's master key; only the data key is touched, the secret is not unsealed.

        Args:
            former: the box that sealed it.
        Raises:
            Damaged: changed, or not sealed by `former` under this context.
        """
        data_key, content = former._unwrap(sealed, context)
        return self._wrap(data_key, context) + content

    def _wrap(self, data_key: bytes, context: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _MARK + self.key_id + nonce + self._master.encrypt(nonce, data_key, _bound("data key", context))

    def _unwrap(self, sealed: bytes, context: str) -> tuple[bytes, bytes]:
        """The data key and what it encrypted."""
        head = len(_MARK) + _ID_BYTES
        if len(sealed) < head + _WRAPPED_BYTES or not sealed.startswith(_MARK):
            raise _damaged(context)
        if sealed[len(_MARK) : head] != self.key_id:
            raise Damaged(
                f"the secret {context!r} was sealed with another master key.", fix="Give the key file it was made with."
            )
        nonce, wrapped = sealed[head : head + _NONCE_BYTES], sealed[head + _NONCE_BYTES : head + _WRAPPED_BYTES]
        try:
            return self._master.decrypt(nonce, wrapped, _bound("data key", context)), sealed[head + _WRAPPED_BYTES :]
        except InvalidTag as wrong:
            raise _damaged(context) from wrong


_MARK = b"SB1"
_ID_BYTES = 8
_KEY_BYTES = 32
_NONCE_BYTES = 12
_WRAPPED_BYTES = _NONCE_BYTES + _KEY_BYTES + 16  # nonce, key, tag


def _bound(purpose: str, context: str) -> bytes:
    return f"sill {purpose}\x00{context}".encode()


def _damaged(context: str) -> Damaged:
    return Damaged(
        f"the secret {context!r} cannot be unsealed: it was changed, or belongs elsewhere.", fix="Set it again."
    )
