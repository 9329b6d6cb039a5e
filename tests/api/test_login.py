"""The browser's way in: a link that works once and for a minute, a cookie that scripts and other sites cannot use."""

from collections.abc import Iterator

import httpx
import pytest

from sill.api.login_links import LINK_S, LINKS_MAX, LoginLinks
from sill.core.errors import Unauthenticated
from sill.testing.live import Live


@pytest.fixture
def code(root: httpx.Client) -> str:
    """A fresh code."""
    return str(root.post("/api/v1/login-links").json()["url"].partition("code=")[2])


@pytest.fixture
def browser(live: Live, nobody: httpx.Client, code: str) -> Iterator[httpx.Client]:
    """Has a session cookie and no token."""
    cookie = nobody.get("/login", params={"code": code}).cookies["sill_session"]
    nobody.cookies.clear()
    with httpx.Client(base_url=live.url, cookies={"sill_session": cookie}, trust_env=False, timeout=30) as client:
        yield client


def test_a_link_logs_in_and_leads_home(nobody: httpx.Client, code: str) -> None:
    answer = nobody.get("/login", params={"code": code})

    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_link_works_once(nobody: httpx.Client, code: str) -> None:
    nobody.get("/login", params={"code": code})

    assert nobody.get("/login", params={"code": code}).status_code == 401


def test_a_link_works_for_a_minute() -> None:
    links = LoginLinks()
    early, late = links.add("session", 0), links.add("session", 0)

    assert links.use(early, LINK_S * 1_000_000 - 1) == "session"
    with pytest.raises(Unauthenticated):
        links.use(late, LINK_S * 1_000_000)


def test_only_so_many_links_wait() -> None:
    links = LoginLinks()
    codes = [links.add(str(number), 0) for number in range(LINKS_MAX + 1)]

    assert links.use(codes[-1], 0) == str(LINKS_MAX)
    with pytest.raises(Unauthenticated):
        links.use(codes[0], 0)


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(nobody: httpx.Client, code: str) -> None:
    cookie = nobody.get("/login", params={"code": code}).headers["set-cookie"].lower()

    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/" in cookie
    assert "domain" not in cookie


@pytest.mark.parametrize("target", ["//evil.example", "/\\evil.example", "https:evil.example", "http://evil.example"])
def test_no_link_leads_elsewhere(nobody: httpx.Client, code: str, target: str) -> None:
    """B08."""
    answer = nobody.get("/login", params={"code": code, "next": target})

    assert answer.status_code == 400
    assert "location" not in answer.headers


def test_a_session_may_read_and_change_from_our_own_pages(live: Live, browser: httpx.Client) -> None:
    own = {"origin": live.url, "sec-fetch-site": "same-origin", "content-type": "application/json"}

    assert browser.get("/api/v1/projects").status_code == 200
    assert browser.post("/api/v1/projects", headers=own, content=b'{"project": "acme"}').status_code == 409


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_sites_page_changes_nothing_with_the_cookie(
    browser: httpx.Client, method: str, headers: dict[str, str]
) -> None:
    answer = browser.request(method, "/api/v1/projects/acme", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_form_changes_nothing_with_the_cookie(browser: httpx.Client, kind: str) -> None:
    """B10: what a browser sends to another site without asking first."""
    answer = browser.post("/api/v1/projects", content=b'{"project": "formed"}', headers={"content-type": kind})

    assert answer.status_code == 415


def test_a_session_ends_when_it_logs_out(browser: httpx.Client) -> None:
    assert browser.post("/api/v1/logout").status_code == 204

    assert browser.get("/api/v1/projects").status_code == 401


def test_a_session_may_no_more_than_who_made_it(live: Live, nobody: httpx.Client, reader: httpx.Client) -> None:
    code = reader.post("/api/v1/login-links").json()["url"].partition("code=")[2]
    cookie = nobody.get("/login", params={"code": code}).cookies["sill_session"]

    with httpx.Client(base_url=live.url, cookies={"sill_session": cookie}, trust_env=False, timeout=30) as browser:
        assert browser.get("/api/v1/projects/acme").status_code == 200
        assert browser.get("/api/v1/projects/other").status_code == 404
        assert browser.delete("/api/v1/projects/acme").status_code == 403
