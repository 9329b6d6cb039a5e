"""Where an inference process listens: alone on the port, with others on it, or on a socket in its folder for a gateway."""

import os
import socket
from functools import cache
from pathlib import Path
from typing import Literal

from sill.core.settings import Settings

Listen = Literal["port", "shared", "socket", "run"]
SOCKET_FILE, GRPC_SOCKET_FILE = "http.sock", "grpc.sock"
PATH_BYTES_MAX = 100
"""The kernel takes 107 for the address of a Unix socket."""


def open_sockets(settings: Settings, home: Path, listen: Listen) -> list[socket.socket] | None:
    """The sockets to listen on; None for the one of host and port.

    A shared port belongs to all processes of this user that ask for it so; the kernel spreads new connections. Such a
    process is asked on a socket of its own too, by the others: see `siblings`.
    """
    if listen == "port":
        return None
    if listen == "shared":
        return [_shared(settings.host, settings.inference_port), _local(home, SOCKET_FILE)]
    return [_local(home, SOCKET_FILE)]


def open_grpc_socket(settings: Settings, home: Path, listen: Listen) -> socket.socket | None:
    """The same for gRPC, on the third port or in a file of its own."""
    if listen == "port":
        return None
    return _shared(settings.host, settings.grpc_port) if listen == "shared" else _local(home, GRPC_SOCKET_FILE)


def socket_path(home: Path, file: str = SOCKET_FILE) -> str:
    """The address of a process's socket, short enough for the kernel however deep the folder lies."""
    path = str(home / file)
    if len(os.fsencode(path)) <= PATH_BYTES_MAX:
        return path
    return f"/proc/self/fd/{_folder(home)}/{file}"


def _shared(host: str, port: int) -> socket.socket:
    shared = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    shared.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted connections inherit it
    shared.bind((host, port))
    return shared


def _local(home: Path, file: str) -> socket.socket:
    (home / file).unlink(missing_ok=True)  # the lock is held: nobody else listens there
    local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    local.bind(socket_path(home, file))
    return local


@cache
def _folder(home: Path) -> int:
    return os.open(home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
