"""Two processes that know each other's certificates reach each other; nobody else reaches either."""

import asyncio
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sill.core.errors import Forbidden, InvalidValue
from sill.safety.peers import Peer, answering, calling, own_peer, trust

pytestmark = pytest.mark.anyio


@pytest.fixture
def listener(tmp_path: Path) -> Peer:
    return own_peer(tmp_path / "listener.pem")


@pytest.fixture
def caller(tmp_path: Path) -> Peer:
    return own_peer(tmp_path / "caller.pem")


async def talk(listening: ssl.SSLContext, connecting: ssl.SSLContext | None) -> bytes:
    """What a caller hears from an echo; empty if it is hung up on."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=listening)
    try:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=connecting)
        writer.write(b"hello")
        try:
            return await reader.read(100)
        except OSError:  # TLS 1.3: the caller hears only now that it was refused
            return b""
        finally:
            writer.close()
    finally:
        server.close()


async def test_those_who_know_each_other_talk(listener: Peer, caller: Peer) -> None:
    listening = answering(listener)
    trust(listening, caller.certificate)

    assert await talk(listening, calling(caller, listener.certificate)) == b"hello"


async def test_a_caller_that_was_not_named_is_hung_up_on(listener: Peer, caller: Peer, tmp_path: Path) -> None:
    listening = answering(listener)
    trust(listening, caller.certificate)
    stranger = own_peer(tmp_path / "stranger.pem")

    assert await talk(listening, calling(stranger, listener.certificate)) == b""


async def test_a_caller_without_a_certificate_or_without_tls_is_hung_up_on(listener: Peer) -> None:
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE

    assert await talk(answering(listener), bare) == b""
    assert b"hello" not in await talk(answering(listener), None)


async def test_a_listener_with_another_certificate_is_refused(listener: Peer, caller: Peer, tmp_path: Path) -> None:
    listening = answering(own_peer(tmp_path / "liar.pem"))
    trust(listening, caller.certificate)

    with pytest.raises(ssl.SSLCertVerificationError):
        await talk(listening, calling(caller, listener.certificate))


async def test_a_certificate_that_a_known_one_has_signed_is_refused(
    listener: Peer, caller: Peer, tmp_path: Path
) -> None:
    listening = answering(listener)
    trust(listening, caller.certificate)

    assert await talk(listening, calling(signed_by(caller, tmp_path / "child.pem"), listener.certificate)) == b""


def test_the_pair_is_made_once_and_private(tmp_path: Path) -> None:
    file = tmp_path / "peer.pem"
    first = own_peer(file)

    assert own_peer(file) == first
    assert file.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in first.certificate
    file.chmod(0o644)
    with pytest.raises(Forbidden):
        own_peer(file)


@pytest.mark.parametrize(
    "text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_certificate_is_not_trusted(listener: Peer, text: str) -> None:
    with pytest.raises(InvalidValue, match="PEM"):
        trust(answering(listener), text)
    with pytest.raises(InvalidValue, match="PEM"):
        trust(answering(listener), 10 * listener.certificate)


def signed_by(parent: Peer, file: Path) -> Peer:
    """A pair whose certificate the parent's key has signed."""
    signer = serialization.load_pem_private_key(parent.file.read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate(parent.certificate.encode())
    key = ec.generate_private_key(ec.SECP256R1())
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "child")]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(issuer.not_valid_before_utc)
        .not_valid_after(issuer.not_valid_after_utc)
        .sign(signer, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.touch(mode=0o600)
    file.write_bytes(private + made.public_bytes(pem))
    return own_peer(file)
