"""Files that are there whole or not at all, also after a power cut.

What is written goes to the disk under another name first, and takes its name when all of it is there.
"""

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o600
_PUBLIC: Final = 0o666  # less what the umask takes away


def write_new(path: Path, content: bytes, mode: int = PRIVATE, *, owned_as_folder: bool = False) -> bool:
    """Make a file; False where there is one already, which stays as it is. Raises OSError.

    Of several who do so at once one is the first. What a power cut has left of an earlier attempt is taken
    away: it may be secret. With `owned_as_folder`, for a service's own files, root gives it to whose folder
    it is.
    """
    part = path.with_name(f".{path.name}.new")
    with _opened(path.parent) as folder:
        fcntl.flock(folder, fcntl.LOCK_EX)  # so that the part is nobody else's, and nothing is replaced
        part.unlink(missing_ok=True)
        if os.path.lexists(path):
            return False
        try:
            _write(part, content, mode, os.fstat(folder) if owned_as_folder else None)
            part.rename(path)  # a link would leave two names where the power goes
        finally:
            part.unlink(missing_ok=True)
        os.fsync(folder)
    return True


def replace(path: Path, content: bytes) -> None:
    """Make a file, or replace it: at every instant it is the old one or the new one. Raises OSError."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _write(part, content, _PUBLIC)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    flush_names(path.parent)


def read_plain(path: Path, bytes_max: int, *, links: bool = False) -> bytes:
    """Read a file of somebody else's folder: no pipe is waited for, and without `links` no link followed.

    Raises OSError, and ValueError for what is no plain file or larger than `bytes_max`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | (0 if links else os.O_NOFOLLOW))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("no plain file")
        content = file.read(bytes_max + 1)
    if len(content) > bytes_max:
        raise ValueError(f"more than {bytes_max} bytes")
    return content


def flush_names(folder: Path) -> None:
    """Make the new names of a folder's files durable. Raises OSError."""
    with _opened(folder) as descriptor:
        os.fsync(descriptor)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes, mode: int, owner: os.stat_result | None = None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        if owner is not None and os.geteuid() == 0:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        os.fsync(descriptor)
