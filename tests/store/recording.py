"""What SQLite does to files, written down: every write, truncation, flush, creation and deletion, in order.

SQLite reaches files through a table of functions (https://sqlite.org/vfs.html). For the length of
`recording()` a copy of the usual table is the default, which notes what succeeds and hands everything on. So
what is recorded is what the ledger really does, with its own SQLite, and nothing has to be built or mounted.
"""

import contextlib
import ctypes as c
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Write:
    path: Path
    offset: int
    data: bytes


@dataclass(frozen=True)
class Truncate:
    path: Path
    size: int


@dataclass(frozen=True)
class Flush:
    """Of one file's content."""

    path: Path


@dataclass(frozen=True)
class Create:
    path: Path


@dataclass(frozen=True)
class Delete:
    path: Path


@dataclass(frozen=True)
class Rename:
    path: Path
    to: Path


@dataclass(frozen=True)
class FlushNames:
    """Of the folder: which files there are."""


@dataclass(frozen=True)
class Mark:
    """Not the disk's business: what the program had done by then, as far as anybody outside can tell."""

    what: str
    value: Any


Step = Write | Truncate | Flush | Create | Delete | Rename | FlushNames | Mark


@dataclass
class Recording:
    """What has happened so far, oldest first."""

    steps: list[Step] = field(default_factory=list)

    def mark(self, what: str, value: Any) -> None:
        self.steps.append(Mark(what, value))


class NotReachableError(Exception):
    """This Python's SQLite is built in such a way that its table of file functions cannot be reached."""


_FILE, _VFS, _INT, _LONG, _TEXT = c.c_void_p, c.c_void_p, c.c_int, c.c_int64, c.c_char_p
# The name comes as an address: it is handed on as it is, because an open file goes on using it.
_OPEN = c.CFUNCTYPE(_INT, _VFS, c.c_void_p, _FILE, _INT, c.POINTER(_INT))
_DELETE = c.CFUNCTYPE(_INT, _VFS, _TEXT, _INT)
_WRITE = c.CFUNCTYPE(_INT, _FILE, c.c_void_p, _INT, _LONG)
_TRUNCATE = c.CFUNCTYPE(_INT, _FILE, _LONG)
_SYNC = c.CFUNCTYPE(_INT, _FILE, _INT)
_SET_CALL = c.CFUNCTYPE(_INT, _VFS, _TEXT, c.c_void_p)
_GET_CALL = c.CFUNCTYPE(c.c_void_p, _VFS, _TEXT)
_OPEN_FOLDER = c.CFUNCTYPE(_INT, _TEXT, c.POINTER(_INT))


class _Vfs(c.Structure):
    """sqlite3_vfs, version 3 (sqlite3.h); what is only copied is untyped."""

    _fields_ = [
        ("version", _INT), ("file_size", _INT), ("path_max", _INT), ("next", _VFS), ("name", _TEXT),
        ("app_data", c.c_void_p), ("open", _OPEN), ("delete", _DELETE), ("others", c.c_void_p * 11),
        ("set_call", _SET_CALL), ("get_call", _GET_CALL), ("next_call", c.c_void_p),
    ]  # fmt: skip


class _Methods(c.Structure):
    """sqlite3_io_methods, version 3."""

    _fields_ = [
        ("version", _INT), ("close", c.c_void_p), ("read", c.c_void_p), ("write", _WRITE),
        ("truncate", _TRUNCATE), ("sync", _SYNC), ("others", c.c_void_p * 13),
    ]  # fmt: skip


class _Recorder:
    def __init__(self, library: c.CDLL, log: Recording) -> None:
        library.sqlite3_vfs_find.restype = c.c_void_p
        library.sqlite3_vfs_register.argtypes = [c.c_void_p, _INT]
        library.sqlite3_vfs_unregister.argtypes = [c.c_void_p]
        self._library = library
        self._log = log.steps
        self._usual = _Vfs.from_address(library.sqlite3_vfs_find(None))
        self._own = _Vfs.from_buffer_copy(self._usual)
        self._paths: dict[int, Path] = {}
        self._methods: dict[int, _Methods] = {}
        self._own.name = b"recording"
        self._own.open, self._own.delete = _OPEN(self._opened), _DELETE(self._deleted)
        usual = self._usual.get_call(c.addressof(self._usual), b"openDirectory")
        self._usual_open_folder = c.cast(usual, _OPEN_FOLDER)
        self._open_folder = _OPEN_FOLDER(self._folder_opened)

    def start(self) -> None:
        self._library.sqlite3_vfs_register(c.addressof(self._own), 1)
        # The one thing that SQLite opens a folder for is to flush it, which it does at once.
        call = c.cast(self._open_folder, c.c_void_p)
        self._usual.set_call(c.addressof(self._usual), b"openDirectory", call)

    def stop(self) -> None:
        self._usual.set_call(c.addressof(self._usual), b"openDirectory", None)
        self._library.sqlite3_vfs_register(c.addressof(self._usual), 1)
        self._library.sqlite3_vfs_unregister(c.addressof(self._own))

    def _opened(self, _vfs: Any, name: int | None, file: int, flags: int, flags_out: Any) -> int:
        path = Path(c.string_at(name).decode()) if name else None
        new = path is not None and not path.exists()
        status = self._usual.open(c.addressof(self._usual), name, file, flags, flags_out)
        methods = c.c_void_p.from_address(file)
        if status == 0 and path is not None and methods.value:
            self._paths[file] = path
            if new:
                self._log.append(Create(path))
            methods.value = c.addressof(self._recorded(methods.value))
        return int(status)

    def _recorded(self, usual_address: int) -> _Methods:
        """Return these functions on an open file with ours in the place of three of them."""
        if usual_address not in self._methods:
            usual = _Methods.from_address(usual_address)
            own = _Methods.from_buffer_copy(usual)

            def write(file: int, data: int, size: int, offset: int) -> int:
                step = Write(self._paths[file], offset, c.string_at(data, size))
                return self._noted(usual.write(file, data, size, offset), step)

            def truncate(file: int, size: int) -> int:
                return self._noted(usual.truncate(file, size), Truncate(self._paths[file], size))

            def sync(file: int, flags: int) -> int:
                return self._noted(usual.sync(file, flags), Flush(self._paths[file]))

            own.write, own.truncate, own.sync = _WRITE(write), _TRUNCATE(truncate), _SYNC(sync)
            self._methods[usual_address] = own
        return self._methods[usual_address]

    def _deleted(self, _vfs: Any, name: bytes, flush_names: int) -> int:
        path = Path(name.decode())
        known = path.exists()
        status = int(self._usual.delete(c.addressof(self._usual), name, 0))
        if known:
            self._noted(status, Delete(path))
        return status if status or not flush_names else self._noted(status, FlushNames())

    def _folder_opened(self, name: bytes, descriptor: Any) -> int:
        failed = int(self._usual_open_folder(name, descriptor))
        return self._noted(failed, FlushNames())

    def _noted(self, status: int, step: Step) -> int:
        if status == 0:
            self._log.append(step)
        return status


_ALIVE: list[_Recorder] = []  # functions that C may still know of are never let go


@contextlib.contextmanager
def recording() -> Iterator[Recording]:
    """Record whatever connections do that are opened in this block; close them in it. NotReachableError."""
    log = Recording()
    try:
        import _sqlite3

        recorder = _Recorder(c.CDLL(_sqlite3.__file__), log)
    except (AttributeError, OSError) as error:
        raise NotReachableError(f"SQLite {sqlite3.sqlite_version}: {error}") from error
    _ALIVE.append(recorder)
    recorder.start()
    try:
        yield log
    finally:
        recorder.stop()
