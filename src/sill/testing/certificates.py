"""A certificate of one's own for `localhost`, for tests of what listens with TLS."""

import ssl
from pathlib import Path

from cryptography import x509

from sill.safety.peers import new_pair
from sill.safety.private_files import write_private

DAYS = 2


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Files of a new certificate and its key."""
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    key, certificate = new_pair("localhost", names, is_critical=False, days=DAYS)
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate)
    write_private(key_file, key)
    return cert_file, key_file


def client_context(cert: Path, *protocols: str) -> ssl.SSLContext:
    """What trusts that certificate alone, and speaks these protocols (ALPN)."""
    context = ssl.create_default_context(cafile=str(cert))
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context
