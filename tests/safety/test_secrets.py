"""Secrets at rest, tokens and signatures."""

import os
import stat
from pathlib import Path

import msgspec
import pytest

from sill.core.clock import ManualClock
from sill.core.errors import Damaged, Forbidden, InvalidValue
from sill.safety.secrets import SecretBox
from sill.safety.signing import Manifest, Signer, verify, verify_manifest
from sill.safety.tokens import digest, is_token, matches, new_token, read_or_create_root_token


def test_sealed_secret_opens_again_also_in_a_new_process(tmp_path: Path) -> None:
    sealed = SecretBox(tmp_path / "key").seal(b"hunter2", "p/db")
    assert b"hunter2" not in sealed
    assert SecretBox(tmp_path / "key").unseal(sealed, "p/db") == b"hunter2"


def test_same_secret_is_sealed_differently_each_time(tmp_path: Path) -> None:
    box = SecretBox(tmp_path / "key")
    assert box.seal(b"x", "p/a") != box.seal(b"x", "p/a")


def test_secret_does_not_open_elsewhere(tmp_path: Path) -> None:
    sealed = SecretBox(tmp_path / "key").seal(b"x", "p/a")
    with pytest.raises(Damaged):
        SecretBox(tmp_path / "key").unseal(sealed, "q/a")
    with pytest.raises(Damaged, match="another master key"):
        SecretBox(tmp_path / "other").unseal(sealed, "p/a")


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    box = SecretBox(tmp_path / "key")
    sealed = box.seal(b"x", "p/a")
    for at in range(len(sealed)):
        with pytest.raises(Damaged):
            box.unseal(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], "p/a")
        with pytest.raises(Damaged):
            box.unseal(sealed[:at], "p/a")


def test_rewrapped_secret_opens_with_the_new_key_only(tmp_path: Path) -> None:
    old, new = SecretBox(tmp_path / "old"), SecretBox(tmp_path / "new")
    rewrapped = new.rewrap(old.seal(b"x", "p/a"), "p/a", former=old)
    assert new.unseal(rewrapped, "p/a") == b"x"
    with pytest.raises(Damaged):
        old.unseal(rewrapped, "p/a")


def test_too_long_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue):
        SecretBox(tmp_path / "key").seal(b"x" * 65_537, "p/a")


@pytest.mark.parametrize("make", [SecretBox, Signer, read_or_create_root_token])
def test_key_file_is_only_the_owners(tmp_path: Path, make: type) -> None:
    make(tmp_path / "sub" / "key")
    assert stat.S_IMODE((tmp_path / "sub" / "key").stat().st_mode) == 0o600
    assert os.listdir(tmp_path / "sub") == ["key"]


@pytest.mark.parametrize("make", [SecretBox, Signer, read_or_create_root_token])
def test_key_file_that_others_can_read_is_refused(tmp_path: Path, make: type) -> None:
    make(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(Forbidden, match="0640"):
        make(tmp_path / "key")


@pytest.mark.parametrize("make", [SecretBox, Signer, read_or_create_root_token])
def test_key_file_that_is_a_link_is_refused(tmp_path: Path, make: type) -> None:
    make(tmp_path / "real")
    (tmp_path / "key").symlink_to(tmp_path / "real")
    with pytest.raises(Forbidden):
        make(tmp_path / "key")


@pytest.mark.parametrize(
    ("make", "error"), [(SecretBox, Damaged), (Signer, Damaged), (read_or_create_root_token, InvalidValue)]
)
def test_key_file_with_other_content_is_refused(tmp_path: Path, make: type, error: type[Exception]) -> None:
    (tmp_path / "key").touch(0o600)
    (tmp_path / "key").write_bytes(b"nonsense")
    with pytest.raises(error):
        make(tmp_path / "key")


def test_root_token_is_made_once(tmp_path: Path) -> None:
    token = read_or_create_root_token(tmp_path / "token")
    assert is_token(token)
    assert read_or_create_root_token(tmp_path / "token") == token


def test_tokens_are_long_differ_and_match_their_digest() -> None:
    token, other = new_token(), new_token()
    assert len(token) == 48
    assert token != other
    assert matches(token, digest(token))
    assert not matches(other, digest(token))


@pytest.mark.parametrize(
    "text", ["", "sill_", "sill_" + "a" * 42, "sill_" + "a" * 43 + "\n", "SILL_" + "a" * 43, "ä", "\ud800"]
)
def test_other_text_is_no_token_and_matches_nothing(text: str) -> None:
    assert not is_token(text)
    assert not matches(text, digest(new_token()))


FILES = {"model.onnx": b"weights", "sub/labels.txt": b"a\nb"}


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer(tmp_path / "key")


def test_signature_fits_its_content_and_key_only(signer: Signer, tmp_path: Path) -> None:
    signature = signer.sign(b"content")
    assert verify(signer.public_key_pem(), b"content", signature)
    assert not verify(signer.public_key_pem(), b"contend", signature)
    assert not verify(Signer(tmp_path / "other").public_key_pem(), b"content", signature)
    assert not any(verify(signer.public_key_pem(), b"content", other) for other in ("", "ä", "AAAA", signature[:-4]))


def test_manifest_of_unchanged_files_verifies(signer: Signer, tmp_path: Path) -> None:
    (tmp_path / "labels").write_bytes(FILES["sub/labels.txt"])
    manifest = signer.make_manifest(FILES | {"sub/labels.txt": tmp_path / "labels"}, ManualClock(7))
    wire = msgspec.json.decode(msgspec.json.encode(manifest), type=Manifest)
    verify_manifest(wire, signer.public_key_pem(), FILES)
    assert (manifest.created_us, manifest.key_id) == (7, signer.key_id)


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (FILES | {"model.onnx": b"weightz"}, "model.onnx"),
        ({"model.onnx": b"weights"}, "sub/labels.txt"),
        (FILES | {"extra.so": b""}, "extra.so"),
    ],
)
def test_changed_missing_or_added_file_is_named(signer: Signer, files: dict[str, bytes], named: str) -> None:
    with pytest.raises(Damaged, match=named):
        verify_manifest(signer.make_manifest(FILES), signer.public_key_pem(), files)


def test_changed_manifest_or_other_signer_is_refused(signer: Signer, tmp_path: Path) -> None:
    manifest, other = signer.make_manifest(FILES), Signer(tmp_path / "other")
    for changed in (
        msgspec.structs.replace(manifest, created_us=manifest.created_us + 1),
        msgspec.structs.replace(manifest, files={}),
        msgspec.structs.replace(manifest, signature=""),
        msgspec.structs.replace(other.make_manifest(FILES), key_id=signer.key_id),
        other.make_manifest(FILES),
    ):
        with pytest.raises(Damaged):
            verify_manifest(changed, signer.public_key_pem(), FILES)


@pytest.mark.parametrize("path", ["../x", "/x", "a\\b", ""])
def test_manifest_with_a_path_that_leads_outside_is_refused(signer: Signer, path: str) -> None:
    with pytest.raises(InvalidValue):
        signer.make_manifest({path: b""})


def test_public_key_of_another_kind_is_refused(signer: Signer) -> None:
    with pytest.raises(InvalidValue):
        verify("nonsense", b"", signer.sign(b""))
