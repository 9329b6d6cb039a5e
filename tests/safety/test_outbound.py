"""Outbound calls: nothing private is reached, whatever the URL, the name server or a redirect says."""

import io
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from sill.core.errors import Forbidden, InvalidValue, SillError, TooLarge, Unavailable
from sill.safety.addresses import is_public, parse_url
from sill.safety.outbound import Limits, Outbound


class Listener:
    """Counts connections and answers each with what `answer` makes of the request's head."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.heads: list[bytes] = []
        self.connections = 0
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            with connection, suppress(OSError):
                connection.settimeout(2)
                head = b""
                while b"\r\n\r\n" not in head or (b"content-length: 5" in head and not head.endswith(b"hello")):
                    if not (piece := connection.recv(65_536)):
                        break
                    head += piece
                self.heads.append(head)
                connection.sendall(self._answer(head))


@contextmanager
def listening(answer: Callable[[bytes], bytes]) -> Iterator[Listener]:
    listener = Listener(answer)
    try:
        yield listener
    finally:
        listener.close()


def http_answer(body: bytes = b"", status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


NAMES = {
    "public.example": ["93.184.215.14"],
    "private.example": ["10.1.2.3"],
    "mixed.example": ["93.184.215.14", "127.0.0.1"],
    "loop.example": ["127.0.0.1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "six.example": ["::1"],
    "nat64.example": ["64:ff9b::7f00:1"],
    "6to4.example": ["2002:7f00:1::1"],
    "scoped.example": ["fe80::1%lo"],
    "zero.example": ["0.0.0.0"],
    "empty.example": [],
}


def look_up(host: str, port: int) -> list[str]:
    return NAMES.get(host, ["127.0.0.1"])  # an attacker's name server says loopback to everything else


@pytest.fixture(scope="module")
def target() -> Iterator[Listener]:
    with listening(lambda head: http_answer(b"reached")) as listener:
        yield listener


DENIED = [
    "http://127.0.0.1:{port}/",
    "http://127.0.0.2:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.0.0.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://017700000001:{port}/",
    "http://127.0.0.01:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://localhost.:{port}/",
    "http://a.localhost:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://[fe80::1]:{port}/",
    "http://[fe80::1%25lo]:{port}/",
    "http://[fd00:ec2::254]:{port}/",
    "http://[ff02::1]:{port}/",
    "http://[v1.x]:{port}/",
    "http://10.0.0.1:{port}/",
    "http://172.16.0.1:{port}/",
    "http://192.168.0.1:{port}/",
    "http://169.254.169.254:{port}/latest/meta-data/",
    "http://100.64.0.1:{port}/",
    "http://100.100.100.200:{port}/",
    "http://192.0.0.192:{port}/",
    "http://168.63.129.16:{port}/",
    "http://224.0.0.1:{port}/",
    "http://255.255.255.255:{port}/",
    "http://metadata.google.internal:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://127。0。0。1:{port}/",
    "http://ⓛocalhost:{port}/",
    "http://user@127.0.0.1:{port}/",
    "http://public.example@127.0.0.1:{port}/",
    "http://public.example\\@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@public.example/",
    "http://public.example#@127.0.0.1:{port}/\\",
    "http://127.0.0.1:{port}\t/",
    "http://127.0.0.1:{port}\r\nX: y/",
    " http://127.0.0.1:{port}/",
    "http://127.0.0.1%00.example:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http:127.0.0.1:{port}/",
    "http:///127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_x",
    "ftp://127.0.0.1:{port}/",
    "ws://127.0.0.1:{port}/",
    "unix:///run/docker.sock",
    "http://private.example:{port}/",
    "http://mixed.example:{port}/",
    "http://loop.example:{port}/",
    "http://mapped.example:{port}/",
    "http://six.example:{port}/",
    "http://nat64.example:{port}/",
    "http://6to4.example:{port}/",
    "http://scoped.example:{port}/",
    "http://zero.example:{port}/",
    "http://127.0.0.1.nip.example:{port}/",
    "http://-a.example:{port}/",
    "http://a..example:{port}/",
    "http://:{port}/",
    "http://loop.example:{port}{port}/",
    "",
]


@pytest.mark.parametrize("form", DENIED)
def test_no_packet_reaches_a_private_address(target: Listener, form: str) -> None:
    before = target.connections
    outbound = Outbound(ports=frozenset({target.port}), resolver=look_up)
    with pytest.raises((Forbidden, InvalidValue)):
        outbound.fetch_sync("GET", form.replace("{port}", str(target.port)))
    assert target.connections == before


@pytest.mark.parametrize(
    "address",
    [
        "100.64.0.1",
        "100.100.100.200",
        "64:ff9b::a9fe:a9fe",
        "::127.0.0.1",
        "192.0.0.192",
        "2002:7f00:1::",
        "2001::1",
        "fc00::1",
        "3fff::1",
    ],
)
def test_addresses_that_python_takes_for_public_are_denied(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "172.15.0.1", "100.63.0.1"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_url_has_one_written_form() -> None:
    assert parse_url("HTTPS://Example.COM:443?a=b#c").url == "https://example.com/?a=b"
    assert parse_url("http://[2606:4700::1111]:8080/x").authority == "[2606:4700::1111]:8080"


def test_port_that_is_not_listed_is_forbidden() -> None:
    with pytest.raises(Forbidden, match="port 22"):
        Outbound().check("http://public.example:22/")


@pytest.mark.parametrize("allow", ["nonsense", "10.0.0.0/33", "host:", ":80", "10.0.0.1/8", "a b:80"])
def test_wrong_allow_entry_is_refused(allow: str) -> None:
    with pytest.raises(InvalidValue):
        Outbound(allow)


def test_admin_can_allow_a_private_host_and_port(target: Listener) -> None:
    outbound = Outbound(f"127.0.0.1:{target.port}")
    assert outbound.fetch_sync("GET", f"http://127.0.0.1:{target.port}/").body == b"reached"


def test_admin_can_allow_a_private_range(target: Listener) -> None:
    outbound = Outbound("127.0.0.0/8", ports=frozenset({target.port}), resolver=look_up)
    assert outbound.fetch_sync("GET", f"http://loop.example:{target.port}/").status == 200


def test_connection_goes_to_the_checked_address_with_the_name_in_host(target: Listener) -> None:
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.9"]

    outbound = Outbound(f"pinned.example:{target.port}", resolver=rebinding)
    outbound.fetch_sync("GET", f"http://pinned.example:{target.port}/x?y=1")
    assert target.heads[-1].startswith(f"GET /x?y=1 HTTP/1.1\r\nhost: pinned.example:{target.port}\r\n".encode())
    assert asked == ["pinned.example"]


def test_proxies_and_netrc_of_the_environment_are_ignored(target: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(lambda head: http_answer(b"proxy")) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        outbound = Outbound(f"127.0.0.1:{target.port}")
        assert outbound.fetch_sync("GET", f"http://127.0.0.1:{target.port}/").body == b"reached"
        assert proxy.connections == 0


def test_body_and_headers_arrive(target: Listener) -> None:
    outbound = Outbound(f"127.0.0.1:{target.port}")
    outbound.fetch_sync("POST", f"http://127.0.0.1:{target.port}/", headers={"x-a": "b"}, body=b"hello")
    assert b"x-a: b\r\ncontent-length: 5\r\n\r\nhello" in target.heads[-1]


@pytest.mark.parametrize(
    "headers",
    [{"host": "x"}, {"a": "b\r\nc: d"}, {"a b": "c"}, {"Transfer-Encoding": "chunked"}, {"a": "ä"}, {"": "x"}],
)
def test_headers_that_change_the_request_are_refused(target: Listener, headers: dict[str, str]) -> None:
    with pytest.raises(InvalidValue):
        Outbound(f"127.0.0.1:{target.port}").fetch_sync("GET", f"http://127.0.0.1:{target.port}/", headers=headers)


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:{port}/", "//127.0.0.1:{port}/", "http://loop.example:{port}/", "file:///etc/passwd"]
)
def test_redirect_to_a_private_address_is_refused(target: Listener, location: str) -> None:
    to = location.replace("{port}", str(target.port))
    with listening(lambda head: http_answer(b"", "302 Found", f"Location: {to}")) as first:
        before = target.connections
        outbound = Outbound(
            f"first.example:{first.port}", ports=frozenset({target.port}), resolver=lambda host, port: ["127.0.0.1"]
        )
        with pytest.raises((Forbidden, InvalidValue)):
            outbound.fetch_sync("GET", f"http://first.example:{first.port}/", limits=Limits(same_origin=False))
        assert target.connections == before


def test_redirect_to_another_origin_is_refused_unless_asked_for(target: Listener) -> None:
    to = f"Location: http://127.0.0.1:{target.port}/"
    with listening(lambda head: http_answer(b"", "307 Temporary Redirect", to)) as first:
        outbound = Outbound(f"127.0.0.1:{first.port},127.0.0.1:{target.port}")
        url = f"http://127.0.0.1:{first.port}/"
        with pytest.raises(Forbidden, match="another origin"):
            outbound.fetch_sync("GET", url)
        secret = {"authorization": "Bearer x", "accept": "a/b"}
        answer = outbound.fetch_sync("GET", url, headers=secret, limits=Limits(same_origin=False))
    assert answer.body == b"reached"
    assert b"authorization" not in target.heads[-1]


def test_redirect_loop_ends_after_three_hops() -> None:
    with listening(lambda head: http_answer(b"", "301 Moved", "Location: /again")) as listener:
        with pytest.raises(Unavailable, match="redirected more than 3"):
            Outbound(f"127.0.0.1:{listener.port}").fetch_sync("POST", f"http://127.0.0.1:{listener.port}/", body=b"x")
        assert listener.connections == 4


def test_answer_over_the_limit_is_refused_or_cut() -> None:
    with listening(lambda head: http_answer(b"x" * 10_000_000)) as listener:
        outbound, url = Outbound(f"127.0.0.1:{listener.port}"), f"http://127.0.0.1:{listener.port}/"
        with pytest.raises(TooLarge):
            outbound.fetch_sync("GET", url)
        answer = outbound.fetch_sync("GET", url, limits=Limits(cut=True))
    assert (len(answer.body), answer.is_cut) == (65_536, True)


def test_endless_header_is_refused() -> None:
    with listening(lambda head: b"HTTP/1.1 200 OK\r\nA: " + b"x" * 5_000_000) as listener, pytest.raises(Unavailable):
        Outbound(f"127.0.0.1:{listener.port}").fetch_sync("GET", f"http://127.0.0.1:{listener.port}/")


def test_silent_server_costs_no_more_than_the_time_limit() -> None:
    released = threading.Event()

    def silent(head: bytes) -> bytes:
        released.wait(10)
        return b""

    with listening(silent) as listener:
        with pytest.raises(Unavailable, match="took longer"):
            Outbound(f"127.0.0.1:{listener.port}").fetch_sync(
                "GET", f"http://127.0.0.1:{listener.port}/", limits=Limits(seconds_max=0.2)
            )
        released.set()


def test_name_server_that_does_not_answer_costs_no_more_than_the_time_limit() -> None:
    released = threading.Event()

    def slow(host: str, port: int) -> list[str]:
        released.wait(10)
        return ["127.0.0.1"]

    with pytest.raises(Unavailable, match="took longer"):
        Outbound(resolver=slow).fetch_sync("GET", "http://public.example/", limits=Limits(seconds_max=0.2))
    released.set()


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"])
def test_broken_answer_is_unavailable(answer: bytes) -> None:
    with listening(lambda head: answer) as listener, pytest.raises(Unavailable):
        Outbound(f"127.0.0.1:{listener.port}").fetch_sync("GET", f"http://127.0.0.1:{listener.port}/")


def test_closed_port_and_unknown_name_are_unavailable() -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    for outbound, url in (
        (Outbound("127.0.0.1:1"), "http://127.0.0.1:1/"),
        (Outbound(resolver=unknown), "http://public.example/"),
        (Outbound(resolver=look_up), "http://empty.example/"),
    ):
        with pytest.raises(Unavailable):
            outbound.fetch_sync("GET", url)


def test_download_goes_to_the_file_and_stops_at_the_limit() -> None:
    with listening(lambda head: http_answer(b"y" * 300_000)) as listener:
        outbound, url = Outbound(f"127.0.0.1:{listener.port}"), f"http://127.0.0.1:{listener.port}/"
        file = io.BytesIO()
        assert outbound.download_sync(url, file, Limits(answer_bytes_max=300_000)).size_bytes == 300_000
        with pytest.raises(TooLarge):
            outbound.download_sync(url, io.BytesIO(), Limits(answer_bytes_max=299_999))
    assert file.getvalue() == b"y" * 300_000


def test_download_of_an_error_page_writes_nothing() -> None:
    file = io.BytesIO()
    with listening(lambda head: http_answer(b"oops", "404 Not Found")) as listener, pytest.raises(Unavailable):
        Outbound(f"127.0.0.1:{listener.port}").download_sync(f"http://127.0.0.1:{listener.port}/", file, Limits())
    assert file.getvalue() == b""


@pytest.mark.anyio
async def test_fetch_works_inside_an_event_loop(target: Listener) -> None:
    answer = await Outbound(f"127.0.0.1:{target.port}").fetch("HEAD", f"http://127.0.0.1:{target.port}/")
    assert answer.status == 200


def test_denied_url_never_becomes_an_internal_error() -> None:
    for url in (
        "http://" + "a" * 300,
        "http://[",
        "http://]",
        "http://a:b:c/",
        "http://[::1",
        "\x00",
        "http://a\ud800",
    ):
        with pytest.raises(SillError):
            Outbound().check(url)
