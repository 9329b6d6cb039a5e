"""First start, tokens and secrets: nothing to guess, nothing built in, nothing that leaks (SECURITY B103-B105, B108)."""

import re
import stat
import time
from pathlib import Path
from statistics import median

import httpx
import pytest

import sill
from sill.testing.live import Live

PACKAGE = Path(sill.__file__).parent
SOURCES = sorted(path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
CANARY = "canary-7f3a9c51-never-written-down"
BUILT_IN = re.compile(
    rb"sill_[A-Za-z0-9_-]{43}|AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|changeme|password1234"
    rb"|(?i:password|passwd|secret|token)\s*=\s*[\"'][A-Za-z0-9+/_-]{8,}[\"']"
)


def test_the_root_token_is_made_at_the_first_start_and_kept(tmp_path: Path) -> None:
    """B103: nobody can claim a fresh platform over the network; the token lies in a file of its owner."""
    platform = Live(tmp_path / "home")
    try:
        first = platform.start().tokens["root"]
        platform.kill()
        second = platform.start().tokens["root"]
    finally:
        platform.stop()
    assert first == second
    assert stat.S_IMODE((platform.home / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE(platform.home.stat().st_mode) == 0o700


@pytest.mark.parametrize("path", [each for each in SOURCES if each.suffix != ".pyc"], ids=lambda path: path.name)
def test_no_credential_is_built_in(path: Path) -> None:
    """B104, B110."""
    if "testing" in path.parts or "demo" in path.parts:
        return  # they talk to platforms of their own, with tokens of their own
    assert path.suffix != ".pth"
    assert BUILT_IN.findall(path.read_bytes()) == []


@pytest.mark.parametrize(
    "token", ["x", "sill_" + "A" * 43, "sill_" + "é" * 43, "' OR '1'='1", "root", "admin", "Bearer"]
)
def test_wrong_tokens_are_told_the_same(live: Live, token: str) -> None:
    with live.client() as client:
        answer = client.get("/api/v1/projects", headers={"authorization": f"Bearer {token}".encode()})

    assert answer.status_code in (401, 429)
    if answer.status_code == 401:
        assert answer.json()["message"] == "the token is not known, has expired or was revoked."


def test_a_revoked_token_is_told_what_an_unknown_one_is(live: Live, root: httpx.Client) -> None:
    made = root.post("/api/v1/tokens", json={"name": "gone", "role": "reader", "projects": ["acme"]}).json()
    root.delete(f"/api/v1/tokens/{made['token']['id']}")

    with live.client() as client:
        answer = client.get("/api/v1/projects", headers={"authorization": f"Bearer {made['secret']}"})

    assert answer.status_code in (401, 429)


def test_guessing_is_slowed_down_and_right_tokens_still_come_in(live: Live, root: httpx.Client) -> None:
    """B105."""
    with live.client() as client:
        codes = [
            client.get("/api/v1/projects", headers={"authorization": f"Bearer {n}"}).status_code for n in range(60)
        ]
        refused = client.get("/login?code=guess")

    assert codes[-1] == 429
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert root.get("/api/v1/projects").status_code == 200


def test_a_wrong_token_takes_as_long_as_any_other(live: Live) -> None:
    """B105: the median differs by less than 5 ms."""

    def seconds(token: str) -> float:
        started_s = time.perf_counter()
        client.get("/api/v1/projects", headers={"authorization": f"Bearer {token}"})
        return time.perf_counter() - started_s

    known = live.tokens["root"][:-1] + ("A" if live.tokens["root"][-1] != "A" else "B")
    with live.client() as client:
        times = [(seconds(known), seconds("sill_" + "A" * 43)) for _ in range(30)]

    assert abs(median(one for one, _ in times) - median(other for _, other in times)) < 0.005


def test_what_is_secret_in_a_request_is_written_nowhere(live: Live, root: httpx.Client) -> None:
    """B108: neither the logs nor any store has it, whether the request was taken or refused."""
    with live.client() as client:
        headers = {"authorization": f"Bearer {CANARY}", "cookie": f"sill_session={CANARY}", "x-api-key": CANARY}
        for method, path in (
            ("GET", "/api/v1/projects"),
            ("POST", "/api/v1/projects"),
            ("PATCH", "/x"),
            ("GET", f"/login?code={CANARY}"),
        ):
            client.request(method, path, headers=headers, content=b"{")
    root.put("/api/v1/projects/acme/secrets/canary", json={"value": CANARY})
    root.put("/api/v1/projects/acme/secrets/canary", json={"value": CANARY, "more": CANARY})
    root.delete("/api/v1/projects/acme/secrets/canary")

    found = [path for path in live.home.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert found == []


def test_a_refused_change_is_in_the_audit_by_who_and_what(live: Live, reader: httpx.Client, root: httpx.Client) -> None:
    answer = reader.delete("/api/v1/projects/acme/tables/thing")

    page = root.get("/api/v1/events", params={"kinds": "access.denied", "limit": 1000}).json()
    assert answer.status_code == 403
    assert (
        "DELETE /api/v1/projects/{project}/tables/{name}" in {event["subject"] for event in page["items"]}
        or len(page["items"]) >= 60
    )
