"""Says which internet addresses an outbound call may reach. Pure: resolving and connecting are left to `outbound`."""

import ipaddress
import re
from typing import NamedTuple

from sill.core.errors import Forbidden, InvalidValue
from sill.core.names import shorten

URL_LENGTH_MAX = 8_192
PORTS = frozenset({80, 443, 8080, 8443})

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Target(NamedTuple):
    """A URL taken apart by the one parser we have.

    Attributes:
        host: lower-case DNS name or canonical address, without brackets.
        path: path and query, at least `/`; the fragment is gone.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and, unless it is the scheme's own, port, as the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _SCHEME_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """What must be equal for two URLs to have the same origin."""
        return self.scheme, self.host, self.port

    @property
    def url(self) -> str:
        """The URL in its one written form."""
        return f"{self.scheme}://{self.authority}{self.path}"


class Allowed:
    """Where outbound calls may go: public addresses on common ports, and what an admin named.

    Args:
        allow: comma-separated `host:port` (reachable although private, on that port) and CIDR ranges (reachable
            although private, on `ports`).
        ports: ports that any public host may be called on.
    Raises:
        InvalidValue: an entry is neither.
    """

    def __init__(self, allow: str = "", ports: frozenset[int] = PORTS) -> None:
        self.ports = ports
        self._hosts: set[tuple[str, int]] = set()
        self._networks: list[Network] = []
        for entry in filter(None, (part.strip() for part in allow.split(","))):
            self._add(entry)

    def check_target(self, target: Target) -> None:
        """Refuses by name and port, before anything is resolved.

        Raises:
            Forbidden: a port that is not listed, or a name that always means this machine.
        """
        if (target.host, target.port) in self._hosts:
            return
        if target.port not in self.ports:
            listed = ", ".join(map(str, sorted(self.ports)))
            raise Forbidden(f"port {target.port} may not be called; allowed are {listed}.", fix=_ASK)
        if target.host in _LOCAL_NAMES or target.host.endswith(".localhost"):
            raise Forbidden(f"host {target.host!r} may not be called: it is not public.", fix=_ASK)

    def check_address(self, address: Address, target: Target) -> None:
        """Refuses by the address that the name resolved to.

        Raises:
            Forbidden: an address that is not public and that no admin named.
        """
        if (target.host, target.port) in self._hosts:
            return
        if any(address.version == network.version and address in network for network in self._networks):
            return
        if not is_public(address):
            raise Forbidden(f"host {shorten(target.host)!r} may not be called: its address is not public.", fix=_ASK)

    def _add(self, entry: str) -> None:
        if "/" in entry:
            try:
                self._networks.append(ipaddress.ip_network(entry))
            except ValueError as wrong:
                raise InvalidValue(f"outbound_allow entry {entry!r} is not a CIDR range: {wrong}.") from wrong
            return
        host, port = _split_port(entry.lower(), entry)
        if port is None:
            raise InvalidValue(f"outbound_allow entry {entry!r} is neither host:port nor a CIDR range.")
        self._hosts.add((_check_host(host, entry), port))


def is_public(address: Address) -> bool:
    """True if the address belongs to the public internet.

    Our own table: `ipaddress.is_private` misses shared, translated and embedded ranges, and changes with the Python
    version. Source: IANA special-purpose address registries for IPv4 and IPv6.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _DENIED_4)
    if address.scope_id or address not in _GLOBAL_6:
        return False
    return not any(address in network for network in _DENIED_6)


def parse_url(url: str) -> Target:
    """The URL taken apart. Stricter than browsers and libraries, so that no two parsers can differ about the host.

    Raises:
        InvalidValue: anything but http and https, userinfo, backslash, blanks, control or non-ASCII characters, a
            host that is not a plain DNS name or a canonical address (`127.1`, `0x7f.1`, `2130706433` are not).
    """
    shown = shorten(url)
    if len(url) > URL_LENGTH_MAX or not _PRINTABLE.fullmatch(url):
        raise _malformed(shown, "it has blanks, control, non-ASCII or unsafe characters, or is too long")
    parts = _URL.fullmatch(url)
    if parts is None:
        raise _malformed(shown, "it is not http:// or https:// followed by a host")
    scheme = parts["scheme"].lower()
    if "@" in parts["authority"]:
        raise _malformed("the URL", "a user name or password before the host is not allowed")
    host, port = _split_port(parts["authority"].lower(), shown)
    path = parts["rest"].partition("#")[0]
    if not path.startswith("/"):
        path = f"/{path}"
    return Target(scheme, _check_host(host, shown), _SCHEME_PORTS[scheme] if port is None else port, path)


_ASK = "Call a public https address, or let an admin add host:port to SILL_OUTBOUND_ALLOW."
_SCHEME_PORTS = {"http": 80, "https": 443}
_PRINTABLE = re.compile(r"[!#-;=?-\[\]_a-z~]+")  # printable ASCII without blank " < > \ ^ ` { | }
_URL = re.compile(r"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://(?P<authority>[^/?#]+)(?P<rest>.*)")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^\[\]:]+)(?::(?P<port>\d{1,5}))?")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)")  # browsers and libc read such names as addresses
_LOCAL_NAMES = frozenset({"localhost", "ip6-localhost", "ip6-loopback", "metadata", "metadata.google.internal"})

_DENIED_4 = [
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; Alibaba's metadata service
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host agent
        "169.254.0.0/16",  # link local; metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata service
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # multicast tunnels
        "192.88.99.0/24",  # 6to4 relay
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
]
# All that is public today lies in here, so that mapped, translated (64:ff9b::/96), unique local, link local and
# multicast addresses need no entry of their own.
_GLOBAL_6 = ipaddress.IPv6Network("2000::/3")
_DENIED_6 = [
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, among them Teredo
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address inside
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
]


def _split_port(authority: str, shown: str) -> tuple[str, int | None]:
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise _malformed(shown, "the host or port cannot be read")
    port = None if parts["port"] is None else int(parts["port"])
    if port is not None and not 1 <= port <= 65_535:
        raise _malformed(shown, f"port {port} is not between 1 and 65535")
    return parts["host"], port


def _check_host(host: str, shown: str) -> str:
    if host.startswith("["):
        inside = host[1:-1]
        try:
            canonical = str(ipaddress.IPv6Address(inside)) == inside
        except ValueError:
            canonical = False
        if not canonical:
            raise _malformed(shown, "the IPv6 address is not in its canonical form")
        return inside
    if _ENDS_IN_NUMBER.fullmatch(host):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise _malformed(shown, "the host is a number, and not an address of the form 192.0.2.1") from None
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise _malformed(shown, "the host is not a plain DNS name")
    return host


def _malformed(shown: str, why: str) -> InvalidValue:
    return InvalidValue(
        f"{shown!r} is not a URL that can be called: {why}.",
        fix="Give http:// or https://, a DNS name or canonical address, and a percent-encoded path.",
        field="url",
    )
