"""Takes from this process what it does not need, for good: files, network, other processes, programs, memory.

Call it first of all in a process that is to run code or parse files nobody here vouches for: it binds the calling
thread and those it starts later. Linux only: Landlock for files and signals, seccomp for sockets and new processes.
Source: landlock(7), seccomp(2); the filter is classic BPF.
"""

import ctypes
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

from sill.core.errors import Refused

OPEN_FILES_MAX = 1_024
SCRATCH_BYTES_MAX = 256 * 1024**2
"""Largest file a confined process may write."""
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
_READ_FILE, _READ_DIR, _WRITE_FILE, _TRUNCATE = 1 << 2, 1 << 3, 1 << 1, 1 << 14
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""Landlock's version → how many file rights it knows."""
_THREAD = 0x10000
_EPERM, _ENOSYS = 1, 38
# architecture → (audit number, system calls refused, clone, clone3); numbers from the kernel's tables
_CALLS = {
    "x86_64": (0xC000003E, (41, 57, 58, 59, 101, 165, 166, 250, 272, 310, 311, 321, 322), 56, 435),
    "aarch64": (0xC00000B7, (198, 221, 117, 40, 39, 219, 97, 270, 271, 280, 281), 220, 435),
}
"""Refused: socket, fork, vfork, execve, ptrace, mount, umount, keyctl, unshare, process_vm_*, bpf, execveat."""


def readable_for_python() -> list[Path]:
    """What the interpreter and its libraries read: themselves, the system's libraries, facts about the processor."""
    own = [Path(place) for place in {sys.prefix, sys.base_prefix, *sys.path} if place]
    system = ["/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/proc/self", "/proc/cpuinfo"]
    facts = ["/proc/meminfo", "/proc/stat", "/sys/devices/system", "/sys/fs/cgroup", "/dev/urandom", "/dev/zero"]
    return [*own, *map(Path, system + facts)]


def confine(*, reads: Iterable[Path], writes: Iterable[Path] = (), memory_bytes_max: int = 0) -> None:
    """Leave this process only the files named, and no socket, program or other process.

    Args:
        reads: files and folders it may read; writes: folders it may also write in.
        memory_bytes_max: bytes of its own data; 0 for no bound.
    Raises:
        Refused: the system cannot do it; nothing that needs it may then be run.
    """
    call = ctypes.CDLL(None, use_errno=True)
    version = call.syscall(_CREATE, None, 0, 1) if sys.platform == "linux" else -1
    if version < 1 or platform.machine() not in _CALLS:
        raise Refused(
            "this system cannot confine a process (Landlock is not there).",
            fix="Use Linux 5.13 or newer with Landlock.",
        )
    _set_limits(memory_bytes_max)
    _check(call.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no_new_privs")
    _lock_files(call, version, [*reads], [*writes])
    _filter_calls(call)


def _set_limits(memory_bytes_max: int) -> None:
    for kind, bound in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES_MAX),
        (resource.RLIMIT_FSIZE, SCRATCH_BYTES_MAX),
        (resource.RLIMIT_DATA, memory_bytes_max or resource.RLIM_INFINITY),
    ):
        _, hard = resource.getrlimit(kind)
        least = bound if hard == resource.RLIM_INFINITY else min(bound, hard) if bound >= 0 else hard
        resource.setrlimit(kind, (least, least))


def _lock_files(call: ctypes.CDLL, version: int, reads: list[Path], writes: list[Path]) -> None:
    every = (1 << _RIGHTS.get(version, 16)) - 1
    network, scoped = 0b11 if version >= 4 else 0, 0b11 if version >= 6 else 0
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = call.syscall(_CREATE, struct.pack("<QQQ", every, network, scoped)[:size], size, 0)
    _check(ruleset, "landlock_create_ruleset")
    device_ioctl = 1 << 15
    for places, wanted in ((reads, _READ_FILE | _READ_DIR), (writes, every & ~device_ioctl & ~1)):
        for place in places:
            _allow(call, ruleset, place, wanted & every)
    _check(call.syscall(_RESTRICT, ruleset, 0), "landlock_restrict_self")
    os.close(ruleset)


def _allow(call: ctypes.CDLL, ruleset: int, place: Path, rights: int) -> None:
    try:
        descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # a place that is not there needs no right
        return
    try:
        if not place.is_dir():
            rights &= _READ_FILE | _WRITE_FILE | _TRUNCATE
        _check(call.syscall(_ADD, ruleset, 1, struct.pack("<Qi", rights, descriptor), 0), "landlock_add_rule")
    finally:
        os.close(descriptor)


def _filter_calls(call: ctypes.CDLL) -> None:
    audit, refused, clone, clone3 = _CALLS[platform.machine()]
    load, equal, has_bits, give = 0x20, 0x15, 0x45, 0x06
    allow, kill, no, unknown = 0x7FFF0000, 0x80000000, 0x00050000 | _EPERM, 0x00050000 | _ENOSYS
    program = [(load, 0, 0, 4), (equal, 1, 0, audit), (give, 0, 0, kill), (load, 0, 0, 0)]
    for number in refused:
        program += [(equal, 0, 1, number), (give, 0, 0, no)]
    program += [(equal, 0, 1, clone3), (give, 0, 0, unknown)]  # the C library then asks for clone
    # clone: only for a thread of this process
    program += [
        (equal, 0, 3, clone),
        (load, 0, 0, 16),
        (has_bits, 1, 0, _THREAD),
        (give, 0, 0, no),
        (give, 0, 0, allow),
    ]
    code = b"".join(struct.pack("<HBBI", *step) for step in program)
    held = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(held))
    _check(call.prctl(_SECCOMP, _FILTER, head, 0, 0), "seccomp")


def _check(result: int, what: str) -> None:
    if result < 0:
        reason = os.strerror(ctypes.get_errno())
        raise Refused(f"this process could not be confined: {what}: {reason}.", fix="Use a kernel with Landlock.")
