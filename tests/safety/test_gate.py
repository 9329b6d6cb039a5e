"""The request gate, in process: what no app should see is refused, and every answer is safe."""

import gzip
import json
import logging
import time
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sill.core.clock import ManualClock
from sill.core.errors import Damaged, Limited, NotFound, SillError, Unauthenticated
from sill.safety.gate import Gate, GateLimits
from sill.safety.limits import MemoryBudget

pytestmark = pytest.mark.anyio

HOSTS = frozenset({"localhost", "127.0.0.1", "sill.example:443"})
ORIGINS = frozenset({"https://console.example"})


class Answer:
    """What the gate sent, put together."""

    def __init__(self, messages: list[Any]) -> None:
        self.status: int = messages[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        self.body = b"".join(message.get("body", b"") for message in messages[1:])

    @property
    def code(self) -> str:
        code: str = json.loads(self.body)["code"]
        return code


async def echo(request: Request) -> Response:
    return PlainTextResponse(await request.body(), headers={"x-seen": str(request.headers.get("content-encoding"))})


async def ignore(request: Request) -> Response:
    return JSONResponse({"path": request.url.path})


async def fail(request: Request) -> Response:
    raise KeyError("hunter2 /etc/secret SELECT *")


async def not_found(request: Request) -> Response:
    raise NotFound("there is no run 'r-1'.", field="run")


async def limited(request: Request) -> Response:
    raise Limited("too much.", retry_after_s=1.2)


async def damaged(request: Request) -> Response:
    raise Damaged("blob x does not match.")


VERBS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
APP = Starlette(
    routes=[
        Route("/echo", echo, methods=VERBS),
        Route("/fail", fail),
        Route("/not-found", not_found),
        Route("/limited", limited),
        Route("/damaged", damaged),
        Route("/{path:path}", ignore, methods=VERBS),
    ]
)


async def ask(
    path: str = "/x",
    method: str = "GET",
    *,
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    body: bytes | list[bytes] = b"",
    host: str | None = "localhost",
    app: Any = APP,
    pause: Callable[[], Awaitable[None]] | None = None,
    **options: Any,
) -> Answer:
    """One request through a gate around `app`."""
    pieces = [body] if isinstance(body, bytes) else body
    pairs = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
    if host is not None:
        pairs.insert(0, ("host", host))
    names = {name.lower() for name, _ in pairs}
    if any(pieces) and not names & {"content-length", "transfer-encoding"}:
        pairs.append(("transfer-encoding", "chunked"))
    raw, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": raw,
        "raw_path": raw.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    sent: list[Any] = []
    left = list(pieces)

    async def receive() -> Any:
        if pause is not None:
            await pause()
        if not left:
            await anyio.sleep_forever()
        piece = left.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    async def send(message: Any) -> None:
        sent.append(message)

    await Gate(app, hosts=HOSTS, origins=ORIGINS, **options)(scope, receive, send)
    return Answer(sent)


async def test_good_request_passes_and_the_answer_is_safe() -> None:
    answer = await ask("/a/b?c=d")
    assert (answer.status, json.loads(answer.body)) == (200, {"path": "/a/b"})
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-request-id"].startswith("req-")


async def test_header_the_app_set_itself_is_kept() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("x", headers={"cache-control": "max-age=9", "x-request-id": "forged"})(
            scope, receive, send
        )

    answer = await ask(app=app)
    assert answer.headers["cache-control"] == "max-age=9"
    assert answer.headers["x-request-id"] != "forged"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:7455", "127.0.0.1:1", "sill.example:443"])
async def test_own_host_names_pass(host: str) -> None:
    assert (await ask(host=host)).status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "sill.example", "127.0.0.2", "[::1]"])
async def test_foreign_host_is_forbidden(host: str) -> None:
    answer = await ask(host=host)
    assert (answer.status, answer.code, answer.headers["connection"]) == (403, "forbidden", "close")


@pytest.mark.parametrize(
    "host", [None, "", "local host", "localhost:99999999", "a@localhost", "localhost/x", "loc\u00e4l"]
)
async def test_missing_or_malformed_host_is_400(host: str | None) -> None:
    assert (await ask(host=host)).status == 400


async def test_second_host_is_400() -> None:
    assert (await ask(headers={"host": "evil.example"})).status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost.evil.example"},
        {"origin": "http://localhost:8080"},
        {"origin": "file://"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": "http://localhost"},
    ],
)
async def test_every_changing_verb_refuses_other_sites(method: str, headers: dict[str, str]) -> None:
    answer = await ask(method=method, headers=headers)
    assert (answer.status, answer.code) == (403, "forbidden")
    assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://localhost", "sec-fetch-site": "same-origin"},
        {"origin": "https://localhost"},
        {"sec-fetch-site": "none"},
        {"origin": "https://console.example", "sec-fetch-site": "cross-site"},
    ],
)
async def test_programs_and_own_pages_may_change(headers: dict[str, str]) -> None:
    assert (await ask(method="POST", headers=headers)).status == 200


async def test_reading_from_another_site_is_left_to_cors() -> None:
    assert (await ask(headers={"origin": "http://evil.example"})).status == 200


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "get", "X" * 500])
async def test_unknown_verb_is_405(method: str) -> None:
    answer = await ask(method=method)
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../x",
        "/static/%2e%2e/x",
        "/static/%2E%2e%2Fx",
        "/static/..%2fx",
        "/static/..%5cx",
        "/static/..\\x",
        "/a%2fb",
        "/a%00b",
        "/a%0d%0ab",
        "/a%7fb",
        "/%252e%252e/x",
        "/a%252fb",
        "/./a",
        "/a/%2e",
        "//evil.example/x",
        "/%zz",
        "/a%",
        "/%ff",
        "/%c0%ae%c0%ae/x",
        "*",
        "http://evil.example/",
        "/a\x01b",
    ],
)
async def test_path_that_could_be_read_in_two_ways_is_refused(path: str) -> None:
    assert (await ask(path)).status in (400, 404)


@pytest.mark.parametrize(
    "path", ["/.well-known/x", "/a%1Fb", "/%C3%A4", "/a%20b", "/a..b/...", "/v1/x@3:infer", "/a%25b"]
)
async def test_ordinary_path_passes(path: str) -> None:
    assert (await ask(path)).status == 200


@pytest.mark.parametrize("query", ["a=%00", "a=\x01", "a= b"])
async def test_query_with_control_characters_is_400(query: str) -> None:
    assert (await ask(f"/x?{query}")).status == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"content-length": "5", "transfer-encoding": "chunked"},
        [("content-length", "5"), ("content-length", "6")],
        [("content-length", "5"), ("content-length", "5")],
        {"content-length": "5, 5"},
        {"content-length": "-5"},
        {"content-length": "+5"},
        {"content-length": "0x5"},
        {"content-length": "9" * 30},
        {"transfer-encoding": "gzip, chunked"},
        {"transfer-encoding": "identity"},
        {"x-a": "b\r\nset-cookie: c"},
        {"x-a": "b\x00"},
        [("authorization", "a"), ("authorization", "b")],
    ],
)
async def test_ambiguous_framing_is_400_and_the_connection_closed(headers: Any) -> None:
    answer = await ask(method="POST", headers=headers, body=b"hello")
    assert (answer.status, answer.code, answer.headers["connection"]) == (400, "invalid_value", "close")


@pytest.mark.parametrize(
    "headers",
    [[(f"x-{number}", "") for number in range(101)], {"x": "y" * 40_000}, [(f"x-{n}", "y" * 1_000) for n in range(40)]],
)
async def test_too_many_or_too_large_headers_are_431(headers: Any) -> None:
    assert (await ask(headers=headers)).status == 431


async def test_long_url_is_431() -> None:
    assert (await ask("/x?" + "a" * 40_000)).status == 431


@pytest.mark.parametrize(
    "ranges", ["bytes=" + ",".join("0-1" for _ in range(17)), "bytes=" + "0-," * 5_000, "x" * 1_001]
)
async def test_too_many_ranges_are_416_at_once(ranges: str) -> None:
    started = time.process_time()
    assert (await ask(headers={"range": ranges})).status == 416
    assert time.process_time() - started < 0.05


async def test_declared_body_over_the_limit_is_413_before_it_is_read() -> None:
    answer = await ask("/echo", "POST", headers={"content-length": "11"}, limits=GateLimits(body_bytes_max=10))
    assert (answer.status, answer.headers["connection"]) == (413, "close")


async def test_body_is_counted_while_it_comes() -> None:
    answer = await ask("/echo", "POST", body=[b"123456"] * 2, limits=GateLimits(body_bytes_max=10))
    assert (answer.status, answer.code) == (413, "too_large")


async def test_route_can_have_a_limit_of_its_own() -> None:
    options = {"limits": GateLimits(body_bytes_max=10), "body_bytes_max": lambda scope: 12}
    assert (await ask("/echo", "POST", body=[b"123456"] * 2, **options)).status == 200


async def test_pieces_are_counted() -> None:
    answer = await ask("/echo", "POST", body=[b"1"] * 100, limits=GateLimits(chunks_max=50))
    assert answer.status == 413


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)])
async def test_compressed_body_arrives_plain(coding: str, pack: Callable[[bytes], bytes]) -> None:
    content = bytes(range(256)) * 4_000
    packed = pack(content)
    answer = await ask(
        "/echo", "POST", headers={"content-encoding": coding}, body=[packed[:10], b"", packed[10:500], packed[500:]]
    )
    assert answer.body == content


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "gzip, br", "x"])
async def test_unknown_coding_is_415(coding: str) -> None:
    answer = await ask("/echo", "POST", headers={"content-encoding": coding}, body=b"x")
    assert (answer.status, answer.code) == (415, "unsupported_type")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_compression_bomb_is_413_after_little_work(coding: str) -> None:
    bomb = (gzip.compress if coding == "gzip" else zlib.compress)(b"\x00" * 100_000_000)
    budget, largest = MemoryBudget(10**9), 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal largest
        while (await receive())["more_body"]:
            largest = budget.used_bytes

    answer = await ask("/echo", "POST", headers={"content-encoding": coding}, body=bomb, app=app, memory=budget)
    assert answer.status == 413
    assert largest < 2_000_000
    assert budget.used_bytes == 0


@pytest.mark.parametrize(
    "body", [b"nonsense", gzip.compress(b"x", mtime=0)[:-4], gzip.compress(b"x", mtime=0) + b"tail", b"\x1f\x8b"]
)
async def test_broken_gzip_is_400(body: bytes) -> None:
    assert (await ask("/echo", "POST", headers={"content-encoding": "gzip"}, body=body)).status == 400


class ArrivingClock(ManualClock):
    """A clock that the client's pauses move."""

    async def pause(self) -> None:
        self.advance(1)


@pytest.mark.parametrize(("piece", "status"), [(b"x" * 10, 400), (b"x" * 1_100, 200)])
async def test_body_under_a_kilobyte_a_second_is_refused_after_ten_seconds(piece: bytes, status: int) -> None:
    clock = ArrivingClock()
    answer = await ask("/echo", "POST", body=[piece] * 60, clock=clock, pause=clock.pause)
    assert answer.status == status


async def test_body_that_stops_is_refused_without_waiting_for_ever() -> None:
    async def stall() -> None:
        await anyio.sleep_forever()

    answer = await ask("/echo", "POST", body=b"x", pause=stall, limits=GateLimits(body_grace_s=0.02))
    assert (answer.status, answer.code, answer.headers["connection"]) == (400, "invalid_value", "close")


async def test_body_has_a_wall_limit() -> None:
    clock = ArrivingClock()
    answer = await ask("/echo", "POST", body=[b"x" * 9_000] * 1_000, clock=clock, pause=clock.pause)
    assert answer.status == 400


async def test_time_in_which_the_app_works_does_not_count() -> None:
    clock = ManualClock()

    async def slow_app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            clock.advance(100)
        await PlainTextResponse("done")(scope, receive, send)

    assert (await ask(method="POST", body=[b"x"] * 20, clock=clock, app=slow_app)).status == 200


@pytest.mark.parametrize(
    "kind", ["text/html<script>", "multipart/form-data; boundary=" + "-" * 1_000, 'a/b; x="' + "\\" * 99]
)
async def test_strange_content_type_is_415_and_not_echoed(kind: str) -> None:
    answer = await ask("/echo", "POST", headers={"content-type": kind}, body=b"{}")
    assert (answer.status, answer.headers["content-type"]) == (415, "application/json")
    assert b"<script>" not in answer.body


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
async def test_form_with_a_session_cookie_is_415(kind: str) -> None:
    headers = {"cookie": "session=x", "content-type": kind}
    assert (await ask("/echo", "POST", headers=headers, body=b"{}")).status == 415


async def test_json_with_a_session_cookie_passes() -> None:
    headers = {"cookie": "session=x", "content-type": "application/json"}
    assert (await ask("/echo", "POST", headers=headers, body=b"{}")).status == 200


async def test_error_of_ours_becomes_a_problem() -> None:
    answer = await ask("/not-found")
    problem = json.loads(answer.body)
    assert (answer.status, problem["code"], problem["field"]) == (404, "not_found", "run")
    assert problem["request_id"] == answer.headers["x-request-id"]


async def test_other_exception_tells_only_the_request_id(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = await ask("/fail")
    assert (answer.status, answer.code) == (500, "internal")
    assert not any(word in answer.body for word in (b"hunter2", b"secret", b"SELECT", b"KeyError"))
    assert answer.headers["x-request-id"] in caplog.text
    assert "hunter2" in caplog.text


async def test_error_inside_a_task_group_is_found() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(not_found, None)  # type: ignore[arg-type]

    assert (await ask(app=app)).status == 404


async def test_limited_says_when_to_come_back() -> None:
    answer = await ask("/limited")
    assert (answer.status, answer.headers["retry-after"]) == (429, "2")


async def test_damaged_keeps_its_code() -> None:
    assert (await ask("/damaged")).code == "damaged"


async def test_too_many_at_once_are_429() -> None:
    inside, release = anyio.Event(), anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        inside.set()
        await release.wait()
        await PlainTextResponse("x")(scope, receive, send)

    async def call() -> None:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b""}
        await gate(scope | {"headers": [(b"host", b"localhost")]}, anyio.sleep_forever, send)
        answers.append(Answer(sent))

    answers: list[Answer] = []
    gate = Gate(app, hosts=HOSTS, limits=GateLimits(in_flight_max=1))
    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await inside.wait()
        await call()
        release.set()
    assert [(answer.status, answer.headers.get("retry-after")) for answer in answers] == [(429, "1"), (200, None)]


async def test_actor_is_known_to_the_app() -> None:
    async def who(scope: Any) -> str:
        return "token-1"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse(scope["state"]["actor"])(scope, receive, send)

    assert (await ask(app=app, authenticate=who)).body == b"token-1"


async def test_unauthenticated_request_is_refused_before_its_body_is_read_and_told_to_the_audit() -> None:
    told: list[str] = []

    async def who(scope: Any) -> str:
        raise Unauthenticated("no token.")

    async def on_refused(scope: Any, error: SillError) -> None:
        told.append(error.code)

    async def untouched() -> None:
        raise AssertionError("the body was read")

    answer = await ask("/echo", "POST", body=b"x", pause=untouched, authenticate=who, on_refused=on_refused)
    assert (answer.status, answer.headers["connection"]) == (401, "close")
    assert told == ["unauthenticated"]


async def test_bodies_together_keep_to_the_memory_budget() -> None:
    budget = MemoryBudget(1_000)
    budget.reserve(600)
    assert (await ask("/echo", "POST", body=b"x" * 500, memory=budget)).status == 503
    assert (await ask("/echo", "POST", body=b"x" * 400, memory=budget)).status == 200
    assert budget.used_bytes == 600


@pytest.mark.parametrize(
    "headers", [[(b"host", b"evil.example")], [(b"host", b"localhost"), (b"origin", b"http://evil")]]
)
async def test_websocket_from_elsewhere_is_closed(headers: list[tuple[bytes, bytes]]) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "raw_path": b"/", "query_string": b"", "headers": headers}
    await Gate(APP, hosts=HOSTS)(scope, anyio.sleep_forever, send)
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "forbidden"}]
