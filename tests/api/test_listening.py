"""Starting: what cannot be meant ends at once with code 2 and a reason, and nothing is left running."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sill.api.__main__ import listen
from sill.core.settings import Settings
from sill.testing.live import Live, free_port


def start(home: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """`sill up` that is to refuse."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SILL_")}
    environment |= {"SILL_HOME": str(home), "SILL_PORT": str(free_port()), **settings}
    return subprocess.run(
        [sys.executable, "-m", "sill.api"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "8.8.8.8"])
def test_a_public_address_without_tls_is_refused(tmp_path: Path, host: str) -> None:
    """B74."""
    refused = start(tmp_path / "home", SILL_HOST=host)

    assert refused.returncode == 2
    assert "SILL_TLS_CERT, SILL_TLS_KEY, SILL_PUBLIC_URL" in refused.stderr
    assert not (tmp_path / "home").exists()


def test_tls_without_a_name_is_refused(tmp_path: Path) -> None:
    refused = start(tmp_path / "home", SILL_HOST="0.0.0.0", SILL_TLS_CERT="/c.pem", SILL_TLS_KEY="/k.pem")

    assert refused.returncode == 2
    assert "SILL_PUBLIC_URL is not set" in refused.stderr


WRONG = {
    "SILL_PORT": ["0", "70000", "http", "-1", "1.5"],
    "SILL_CPUS": ["-1", "many", "nan"],
    "SILL_LOG_LEVEL": ["loud"],
    "SILL_DATABASE_URL": ["mysql://a/b", "nonsense", "postgresql://a:b@127.0.0.1:1/c"],
    "SILL_BLOB_URL": ["ftp://a/b"],
    "SILL_ONLINE_URL": ["memcached://a"],
    "SILL_BODY_BYTES_MAX": ["0", "1e3x"],
    "SILL_OUTBOUND_ALLOW": ["a b c"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_setting_is_refused_with_a_reason(tmp_path: Path, name: str, value: str) -> None:
    refused = start(tmp_path / "home", **{name: value})

    assert refused.returncode == 2, (refused.returncode, refused.stderr)
    assert "Traceback" not in refused.stderr
    assert len(refused.stderr) > 20


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = start(tmp_path / "home", SILL_PORT=str(port))

    assert refused.returncode == 2
    assert f"port {port} on 127.0.0.1 cannot be used" in refused.stderr


def test_a_second_control_plane_on_a_home_is_refused(live: Live) -> None:
    refused = start(live.home)

    assert refused.returncode == 2
    assert live.process is not None
    assert f"another Sill (process {live.process.pid})" in refused.stderr


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")

    refused = start(tmp_path / "home")

    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr


def test_a_database_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "sill.db").write_bytes(b"not a database" * 1_000)

    refused = start(tmp_path / "home")

    assert refused.returncode == 2, refused.stderr
    assert "Traceback" not in refused.stderr


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """Without this, every answer on a kept connection took 40 ms."""
    with listen(Settings(port=free_port())) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
