"""The only module that opens sockets to a URL that somebody gave. Retries and dead letters are left to the callers."""

import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import cached_property, partial
from typing import Any, BinaryIO
from urllib.parse import urljoin

import anyio
import anyio.to_thread
import httpcore
import msgspec

from sill.core.errors import Forbidden, InvalidValue, SillError, TooLarge, Unavailable
from sill.core.names import shorten
from sill.safety.addresses import PORTS, Address, Allowed, Target, parse_url

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one call may cost.

    Attributes:
        answer_bytes_max: bytes of body read over all hops.
        cut: keep the first `answer_bytes_max` bytes of a longer body instead of refusing it.
        seconds_max: from the first name lookup to the last byte.
        redirects_max: hops followed; 0 hands the redirect itself back.
        same_origin: follow only redirects to the same scheme, host and port.
    """

    answer_bytes_max: int = 64 * 1024
    cut: bool = False
    seconds_max: float = 5.0
    redirects_max: int = 3
    same_origin: bool = True


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back.

    Attributes:
        url: where it came from, after redirects.
        headers: lower-case names; the last one counts where a name is repeated.
        size_bytes: bytes of body read, also where they went to a file.
        is_cut: the body was longer than the limit.
    """

    status: int
    url: str
    headers: dict[str, str]
    body: bytes = b""
    size_bytes: int = 0
    is_cut: bool = False


Resolver = Callable[[str, int], Iterable[str]]


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, by the system's resolver."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Outbound:
    """Calls http and https addresses that a client, a config or a redirect named.

    Each connection resolves the name, checks every address it gets, and connects to the checked address itself, so
    that a second answer of the name server changes nothing. Proxies, cookies, .netrc and the environment play no part.

    Args:
        allow: `Settings.outbound_allow`, see `Allowed`.
        ports: ports that any public host may be called on.
        resolver: name lookup, for tests.
        tls: verifies servers; the system's certificates if not given.
    """

    def __init__(
        self,
        allow: str = "",
        *,
        ports: frozenset[int] = PORTS,
        resolver: Resolver = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = Allowed(allow, ports)
        self._resolver = resolver
        self._given_tls = tls

    def check(self, url: str) -> Target:
        """Checks all that can be known without resolving, for use when a URL is stored.

        Raises:
            InvalidValue: malformed.
            Forbidden: a destination that is denied.
        """
        target = parse_url(url)
        self._allowed.check_target(target)
        address = _as_address(target.host)
        if address is not None:
            self._allowed.check_address(address, target)
        return target

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        limits: Limits = Limits(),  # noqa: B008  # frozen
    ) -> Answer:
        """One call; the body is held in memory.

        Raises:
            InvalidValue: URL, method or header is malformed, or a redirect's is.
            Forbidden: the destination, or that of a redirect, is denied.
            TooLarge: the answer is longer than allowed.
            Unavailable: no name, no connection, broken TLS or HTTP, too slow, too many redirects.
        """
        kept = bytearray()
        answer = await self._call(method, url, dict(headers or {}), body, limits, kept.extend)
        return msgspec.structs.replace(answer, body=bytes(kept))

    def fetch_sync(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        limits: Limits = Limits(),  # noqa: B008
    ) -> Answer:
        """`fetch` for callers without an event loop; not to be called from within one."""
        return anyio.run(partial(self.fetch, method, url, headers=headers, body=body, limits=limits))

    async def download(
        self, url: str, file: BinaryIO, limits: Limits, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Writes the body of a GET to the file as it comes; `Answer.body` stays empty.

        Raises:
            Unavailable: also any status but 200; nothing was written then.
        """
        return await self._call("GET", url, dict(headers or {}), b"", limits, file.write, needs_200=True)

    def download_sync(
        self, url: str, file: BinaryIO, limits: Limits, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """`download` for callers without an event loop; not to be called from within one."""
        return anyio.run(partial(self.download, url, file, limits, headers=headers))

    async def _call(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes,
        limits: Limits,
        keep: Callable[[bytes], Any],
        *,
        needs_200: bool = False,
    ) -> Answer:
        _check_request(method, headers)
        target = self.check(url)
        try:
            with anyio.fail_after(limits.seconds_max):
                return await self._follow(method, target, headers, body, limits, keep, needs_200)
        except TimeoutError as wrong:
            raise Unavailable(f"{shorten(target.url)} took longer than {limits.seconds_max} s.") from wrong
        except SillError:
            raise
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, OSError) as wrong:
            reason = f"{type(wrong).__name__}: {shorten(str(wrong), 200)}"
            raise Unavailable(f"{shorten(target.url)} cannot be reached ({reason}).") from wrong

    async def _follow(
        self,
        method: str,
        target: Target,
        headers: dict[str, str],
        body: bytes,
        limits: Limits,
        keep: Callable[[bytes], Any],
        needs_200: bool,
    ) -> Answer:
        for hop in range(limits.redirects_max + 1):
            async with self._request(method, target, headers, body) as response:
                answer = Answer(status=response.status, url=target.url, headers=_read_headers(response))
                location = answer.headers.get("location", "")
                redirected = response.status in (301, 302, 303, 307, 308) and location != ""
                if not redirected or limits.redirects_max == 0:
                    if needs_200 and response.status != 200:
                        raise Unavailable(f"{shorten(target.url)} answered {response.status}, expected 200.")
                    size, is_cut = await _read(response, limits, keep)
                    return msgspec.structs.replace(answer, size_bytes=size, is_cut=is_cut)
            if hop == limits.redirects_max:
                break
            origin = target.origin
            target = self._next_hop(target, location, limits)
            if target.origin != origin:
                # Credentials were meant for the first host.
                headers = {name: value for name, value in headers.items() if name.lower() in _HARMLESS_HEADERS}
            if response.status in (301, 302, 303) and method != "HEAD":
                method, body = "GET", b""
        raise Unavailable(f"{shorten(target.url)} redirected more than {limits.redirects_max} times.")

    def _next_hop(self, target: Target, location: str, limits: Limits) -> Target:
        if not location.isascii() or not location.isprintable():
            raise InvalidValue(f"{shorten(target.url)} redirects to a malformed address.", field="url")
        following = self.check(urljoin(target.url, location))
        if limits.same_origin and following.origin != target.origin:
            raise Forbidden(f"{shorten(target.url)} redirects to another origin, {following.authority}.")
        return following

    @asynccontextmanager
    async def _request(
        self, method: str, target: Target, headers: dict[str, str], body: bytes
    ) -> AsyncIterator[httpcore.Response]:
        sent = [(b"host", target.authority.encode()), (b"accept-encoding", b"identity"), (b"connection", b"close")]
        sent += [(name.encode(), value.encode()) for name, value in headers.items()]
        if body or method in ("POST", "PUT", "PATCH"):
            sent.append((b"content-length", str(len(body)).encode()))
        # A pool for one connection: nothing is reused, so every call passes the check.
        async with httpcore.AsyncConnectionPool(
            ssl_context=self._tls,
            max_connections=1,
            network_backend=_CheckedBackend(self._allowed, self._resolver, target),
        ) as pool:
            address = httpcore.URL(
                scheme=target.scheme, host=target.host, port=target.port, target=target.path.encode()
            )
            async with pool.stream(method, address, headers=sent, content=body or None) as response:
                yield response

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls or ssl.create_default_context()


_HARMLESS_HEADERS = frozenset({"accept", "accept-language", "content-type", "user-agent"})
_OUR_HEADERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "te", "upgrade", "expect"}
)
_TOKEN_CHARACTERS = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Resolves, checks every address, and connects to a checked one. TLS still sees the name."""

    def __init__(self, allowed: Allowed, resolver: Resolver, target: Target) -> None:
        self._allowed = allowed
        self._resolver = resolver
        self._target = target
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        if (host, port) != (self._target.host, self._target.port):
            raise Forbidden(f"the connection was about to go to {shorten(host)!r} instead of {self._target.host!r}.")
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in await self._addresses():
            try:
                return await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as wrong:
                failure = wrong
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise Forbidden("outbound calls do not use Unix sockets.")

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    async def _addresses(self) -> list[Address]:
        given = _as_address(self._target.host)
        if given is not None:
            found = [given]
        else:
            try:
                # Abandoned on cancel: a name server that does not answer must not outlast the time limit.
                texts = await anyio.to_thread.run_sync(
                    self._resolver, self._target.host, self._target.port, abandon_on_cancel=True
                )
            except (OSError, UnicodeError) as wrong:
                raise Unavailable(f"host {shorten(self._target.host)!r} has no address ({wrong}).") from wrong
            # No scope ids: `ip_address` keeps them and the check refuses them.
            found = list(dict.fromkeys(ipaddress.ip_address(text) for text in texts))
        # All of them, not only the one that is used: a mixed answer is an attack or a mistake.
        for address in found:
            self._allowed.check_address(address, self._target)
        return found


def _as_address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _check_request(method: str, headers: Mapping[str, str]) -> None:
    if method not in METHODS:
        raise InvalidValue(f"method {shorten(method)!r} is not one of {', '.join(sorted(METHODS))}.", field="method")
    for name, value in headers.items():
        if not name or not _TOKEN_CHARACTERS.issuperset(name) or name.lower() in _OUR_HEADERS:
            raise InvalidValue(f"header {shorten(name)!r} may not be set.", field="headers")
        if not value.isascii() or not (value.replace("\t", " ").isprintable()):
            raise InvalidValue(f"header {name} has control or non-ASCII characters in its value.", field="headers")


def _read_headers(response: httpcore.Response) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}


async def _read(response: httpcore.Response, limits: Limits, keep: Callable[[bytes], Any]) -> tuple[int, bool]:
    size = 0
    async with aclosing(response.aiter_stream()) as chunks:  # type: ignore[type-var]  # it is a generator
        async for chunk in chunks:
            if size + len(chunk) > limits.answer_bytes_max:
                if not limits.cut:
                    raise TooLarge(f"the answer is longer than {limits.answer_bytes_max:,} bytes.")
                keep(chunk[: limits.answer_bytes_max - size])
                return limits.answer_bytes_max, True
            size += len(chunk)
            keep(chunk)
    return size, False
