"""Opens files by a path that a tenant gave, and never leaves the folder. What the files mean is left to the callers."""

import ctypes
import errno
import os
import stat as stat_module
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO, Literal

from sill.core.errors import Conflict, InvalidValue, NotFound
from sill.core.names import shorten

PATH_BYTES_MAX = 1_024
COMPONENT_BYTES_MAX = 255
DEPTH_MAX = 32

Mode = Literal["rb", "wb", "ab", "r+b"]


def check_relative(path: str, field: str = "path") -> str:
    """The path itself, if it is allowed: components joined by `/`, none of them empty, `.` or `..`.

    Raises:
        InvalidValue: absolute, empty, backslash, NUL, control or invisible characters, a drive letter, a component
            over 255 bytes, more than 1,024 bytes or 32 levels.
    """
    components = path.split("/")
    if (
        len(path) > PATH_BYTES_MAX
        or len(components) > DEPTH_MAX
        or not all(_is_component(component) for component in components)
        or len(os.fsencode(path)) > PATH_BYTES_MAX
        or (len(components[0]) == 2 and components[0][1] == ":")
    ):
        raise InvalidValue(
            f"{field} {shorten(path)!r} is not allowed: a path is relative, its parts are joined by '/', no part is "
            f"empty, '.' or '..', without backslash and control characters, at most {PATH_BYTES_MAX} bytes and "
            f"{DEPTH_MAX} levels.",
            fix="Give another path.",
            field=field,
        )
    return path


class Folder:
    """A folder whose files are opened by paths that others gave. Every path is checked by `check_relative` first.

    On Linux the kernel holds the boundary (openat2 with RESOLVE_BENEATH, no links of any kind); elsewhere each
    component is opened on its own without following links. Files are made 0600, folders 0700. Only regular files
    are opened; a FIFO, socket or device is refused without waiting for it.

    Args:
        root: the folder; it is made if it is not there. It may itself be reached through a link: the admin chose it.
        by_walk: use the component walk although openat2 is there (for tests).
    """

    def __init__(self, root: Path, *, by_walk: bool = False) -> None:
        self.root = root
        self._by_walk = by_walk or not _has_openat2()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def open(self, relative: str, mode: Mode = "rb") -> BinaryIO:
        """The file, opened. `wb` and `ab` make it, and the folders above, if it is not there.

        Raises:
            NotFound: no such file.
            InvalidValue: the path is not allowed, passes through a link, or is not a regular file.
        """
        check_relative(relative)
        writes = mode in ("wb", "ab")
        if writes:
            self._make_parents(relative)
        flags = {"rb": os.O_RDONLY, "r+b": os.O_RDWR, "wb": os.O_WRONLY, "ab": os.O_WRONLY | os.O_APPEND}[mode]
        # O_NONBLOCK: opening a FIFO must not wait for its other end. Truncated only once it is known to be a file.
        flags |= os.O_NONBLOCK | os.O_NOCTTY | (os.O_CREAT if writes else 0)
        with self._root() as root, _told(relative):
            descriptor = self._open_at(root, relative, flags)
        try:
            if not stat_module.S_ISREG(os.fstat(descriptor).st_mode):
                raise _not_a_file(relative)
            if mode == "wb":
                os.ftruncate(descriptor, 0)
            os.set_blocking(descriptor, True)
            return os.fdopen(descriptor, mode)
        except BaseException:
            os.close(descriptor)
            raise

    def create(self, relative: str) -> BinaryIO:
        """A new file, opened for writing; the folders above are made.

        Raises:
            Conflict: something is there already.
        """
        check_relative(relative)
        self._make_parents(relative)
        with self._root() as root, _told(relative):
            descriptor = self._open_at(root, relative, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        return os.fdopen(descriptor, "wb")

    def make_folder(self, relative: str) -> None:
        """Makes the folder and those above it; it may be there already."""
        check_relative(relative)
        self._make_folders(relative.split("/"))

    def list(self, relative: str = "") -> list[str]:
        """Sorted names of the files and folders directly in the folder (empty: the root); links and others left out."""
        with self._folder(relative) as descriptor, os.scandir(descriptor) as entries:
            return sorted(
                entry.name
                for entry in entries
                if entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)
            )

    def walk(self, relative: str = "") -> Iterator[str]:
        """Paths of all regular files under the folder, sorted folder by folder, relative to the root."""
        for name in self.list(relative):
            path = f"{relative}/{name}" if relative else name
            if stat_module.S_ISDIR(self.stat(path).st_mode):
                yield from self.walk(path)
            else:
                yield path

    def stat(self, relative: str) -> os.stat_result:
        """Facts about the file or folder itself.

        Raises:
            InvalidValue: it is a link, or the path passes through one.
        """
        check_relative(relative)
        with self._parent(relative) as (parent, name), _told(relative):
            facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat_module.S_ISLNK(facts.st_mode):
            raise _through_link(relative)
        return facts

    def remove(self, relative: str) -> None:
        """Removes the file, or the folder if it is empty. A link is removed, never what it points to.

        Raises:
            Conflict: a folder that is not empty.
        """
        check_relative(relative)
        with self._parent(relative) as (parent, name), _told(relative):
            facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat_module.S_ISDIR(facts.st_mode):
                os.rmdir(name, dir_fd=parent)
            else:
                os.unlink(name, dir_fd=parent)

    @contextmanager
    def _root(self) -> Iterator[int]:
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _folder(self, relative: str) -> Iterator[int]:
        with self._root() as root:
            if not relative:
                yield root
                return
            check_relative(relative)
            with _told(relative):
                descriptor = self._open_at(root, relative, os.O_RDONLY | os.O_DIRECTORY)
            try:
                yield descriptor
            finally:
                os.close(descriptor)

    @contextmanager
    def _parent(self, relative: str) -> Iterator[tuple[int, str]]:
        above, _, name = relative.rpartition("/")
        with self._folder(above) as descriptor:
            yield descriptor, name

    def _make_parents(self, relative: str) -> None:
        above = relative.split("/")[:-1]
        if above:
            self._make_folders(above)

    def _make_folders(self, components: Sequence[str]) -> None:
        with self._root() as root:
            current = os.dup(root)
            try:
                for component in components:
                    with _told("/".join(components)):
                        _make_one(current, component)
                        below = os.open(component, _FOLDER_FLAGS, dir_fd=current)
                    os.close(current)
                    current = below
            finally:
                os.close(current)

    def _open_at(self, root: int, relative: str, flags: int) -> int:
        if self._by_walk:
            return _open_by_walk(root, relative.split("/"), flags)
        return _open_beneath(root, relative, flags)


_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FORBIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, invisible or direction-turning, surrogates, breaks
_OPENAT2 = 437  # the same number on every Linux architecture
_RESOLVE = 0x02 | 0x04 | 0x08  # NO_MAGICLINKS, NO_SYMLINKS, BENEATH
_TRIES_MAX = 16


def _is_component(component: str) -> bool:
    if component in ("", ".", "..") or "\\" in component or len(component) > COMPONENT_BYTES_MAX:
        return False
    if component.isascii():
        return component.isprintable()
    if any(unicodedata.category(character) in _FORBIDDEN_CATEGORIES for character in component):
        return False
    return len(component.encode()) <= COMPONENT_BYTES_MAX


class _OpenHow(ctypes.Structure):
    _fields_ = [  # the form that ctypes asks for
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    ]


@cache
def _system_call() -> "ctypes._NamedFuncPointer":
    return ctypes.CDLL(None, use_errno=True).syscall


@cache
def _has_openat2() -> bool:
    """False on old kernels, other systems, and where a sandbox forbids the call."""
    if not sys.platform.startswith("linux"):
        return False
    descriptor = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.close(_open_beneath(descriptor, ".", os.O_RDONLY | os.O_DIRECTORY))
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _open_beneath(root: int, relative: str, flags: int) -> int:
    mode = 0o600 if flags & os.O_CREAT else 0
    how = _OpenHow(flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode, _RESOLVE)
    for _ in range(_TRIES_MAX):
        descriptor: int = _system_call()(
            _OPENAT2, root, os.fsencode(relative), ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how))
        )
        if descriptor >= 0:
            return descriptor
        if ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):  # EAGAIN: a folder was moved while it was walked
            break
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _open_by_walk(root: int, components: Sequence[str], flags: int) -> int:
    current = os.dup(root)
    try:
        for component in components[:-1]:
            below = os.open(component, _FOLDER_FLAGS, dir_fd=current)
            os.close(current)
            current = below
        return os.open(components[-1], flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=current)
    finally:
        os.close(current)


def _make_one(parent: int, name: str) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return


@contextmanager
def _told(relative: str) -> Iterator[None]:
    """Turns what the system says about a path into our errors; a full disk and the like pass through."""
    try:
        yield
    except OSError as wrong:
        if wrong.errno in (errno.ENOENT,):
            raise NotFound(f"there is no {shorten(relative)!r}.") from wrong
        if wrong.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise Conflict(f"{shorten(relative)!r} is there already, or is not empty.") from wrong
        if wrong.errno in (errno.ELOOP, errno.EXDEV, errno.ENOTDIR, errno.EMLINK):
            raise _through_link(relative) from wrong
        if wrong.errno in (errno.EISDIR, errno.ENXIO, errno.ENODEV, errno.EPERM, errno.EINVAL):
            raise _not_a_file(relative) from wrong
        raise


def _through_link(relative: str) -> InvalidValue:
    return InvalidValue(
        f"{shorten(relative)!r} is a link, or passes through a link or a file; only folders and files are allowed.",
        fix="Copy the file to where it is meant to be.",
        field="path",
    )


def _not_a_file(relative: str) -> InvalidValue:
    return InvalidValue(f"{shorten(relative)!r} is not a regular file; only those are opened.", field="path")
