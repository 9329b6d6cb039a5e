"""Outbound TLS: the certificate is checked against the name, although the connection goes to an address."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import create_server
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sill.core.errors import Unavailable
from sill.safety.outbound import Outbound


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Key and self-signed certificate for `pinned.example` in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pinned.example")])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    built = built.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    built = built.add_extension(x509.SubjectAlternativeName([x509.DNSName("pinned.example")]), critical=False)
    pem = built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.PKCS8
    pem += key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    (tmp_path / "both.pem").write_bytes(pem)
    return tmp_path / "both.pem"


@pytest.fixture
def server(certificate: Path) -> Iterator[tuple[int, list[str | None]]]:
    """The port of a TLS server, and the names that clients asked it for."""
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda connection, name, context: asked.append(name)
    listening = create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            with context.wrap_socket(listening.accept()[0], server_side=True) as connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        except OSError:
            return

    thread = Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1], asked
    listening.close()
    thread.join(5)


def outbound(host: str, port: int, trusted: Path | None) -> Outbound:
    tls = ssl.create_default_context(cafile=trusted) if trusted else None
    return Outbound(f"{host}:{port}", resolver=lambda host, port: ["127.0.0.1"], tls=tls)


def test_server_is_asked_for_the_name_and_proves_it(server: tuple[int, list[str | None]], certificate: Path) -> None:
    port, asked = server
    answer = outbound("pinned.example", port, certificate).fetch_sync("GET", f"https://pinned.example:{port}/")
    assert (answer.body, asked) == (b"hi", ["pinned.example"])


@pytest.mark.parametrize(("host", "is_trusted"), [("other.example", True), ("pinned.example", False)])
def test_wrong_name_or_unknown_authority_is_refused(
    server: tuple[int, list[str | None]], certificate: Path, host: str, is_trusted: bool
) -> None:
    caller = outbound(host, server[0], certificate if is_trusted else None)
    with pytest.raises(Unavailable, match="certificate verify failed"):
        caller.fetch_sync("GET", f"https://{host}:{server[0]}/")
