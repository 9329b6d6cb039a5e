"""TLS between two processes of ours that know each other by their certificates alone. No authority, nothing to renew.

Each makes a key and a certificate it has signed itself, and tells the other through the control plane. A context trusts
just the certificates it was told: a self-signed one that is known is its own proof, and can sign no other.
"""

import datetime
import secrets
import ssl
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sill.core.errors import InvalidValue
from sill.safety.private_files import read_private, write_private

DAYS = 20 * 365
PEM_LENGTH_MAX = 4_096
"""Of one certificate; ours have about 500 characters."""


class Peer(NamedTuple):
    """Who a process is.

    Attributes:
        file: its key and its certificate, which only its owner may read.
        certificate: PEM, for others.
    """

    file: Path
    certificate: str


def own_peer(file: Path) -> Peer:
    """The process's own key and certificate, made on first use.

    Raises:
        Forbidden: others may read the file.
    """
    if not file.exists():
        name, is_no_authority = f"sill-{secrets.token_hex(16)}", x509.BasicConstraints(ca=False, path_length=None)
        write_private(file, b"".join(new_pair(name, is_no_authority, is_critical=True, days=DAYS)))
    _, mark, rest = read_private(file).decode().partition("-----BEGIN CERTIFICATE-----")
    return Peer(file, mark + rest)


def check_certificate(pem: str) -> str:
    """The text, if it is one certificate.

    Raises:
        InvalidValue: it is not.
    """
    try:
        if len(pem) > PEM_LENGTH_MAX or len(x509.load_pem_x509_certificates(pem.encode())) != 1:
            raise ValueError
    except ValueError as wrong:
        raise InvalidValue("the certificate is not one certificate in PEM.", field="certificate") from wrong
    return pem


def answering(own: Peer, *protocols: str) -> ssl.SSLContext:
    """For who listens: takes only callers whose certificates it is told by `trust`; nobody at first.

    Args:
        protocols: ALPN.
    """
    return _context(own, ssl.PROTOCOL_TLS_SERVER, protocols)


def calling(own: Peer, other: str, *protocols: str) -> ssl.SSLContext:
    """For who connects: takes only a listener with that certificate, whatever its name.

    Args:
        other: PEM.
    """
    context = _context(own, ssl.PROTOCOL_TLS_CLIENT, protocols)
    trust(context, other)
    return context


def trust(context: ssl.SSLContext, certificate: str) -> None:
    """Take peers with that certificate too, from now on."""
    context.load_verify_locations(cadata=check_certificate(certificate))


def _context(own: Peer, side: int, protocols: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the certificate itself is compared, and it has no name
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(own.file)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def new_pair(name: str, extension: x509.ExtensionType, *, is_critical: bool, days: int) -> tuple[bytes, bytes]:
    """A new key and a certificate of it that it has signed itself, both PEM.

    Args:
        name: its common name.
        extension: the one it has.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # the other machine's clock may be behind
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(extension, critical=is_critical)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, made.public_bytes(pem)
