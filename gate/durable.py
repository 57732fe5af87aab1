"""Files that are there whole or not at all, also after a power cut.

What is written goes to the disk under another name first, and takes its name when all of it is there.
"""

import os
import secrets
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o600
_PUBLIC: Final = 0o666  # less what the umask takes away


def write_new(path: Path, content: bytes, mode: int = PRIVATE) -> bool:
    """Make a file; False where there is one already, which stays as it is. Raises OSError.

    Of several who do so at once one is the first.
    """
    part = _part(path)
    try:
        _write(part, content, mode)
        os.link(part, path)  # unlike a rename it never replaces a file
    except FileExistsError:
        return False
    finally:
        part.unlink(missing_ok=True)
    flush_names(path.parent)
    return True


def replace(path: Path, content: bytes) -> None:
    """Make a file, or replace it: at every instant it is the old one or the new one. Raises OSError."""
    part = _part(path)
    try:
        _write(part, content, _PUBLIC)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    flush_names(path.parent)


def flush_names(folder: Path) -> None:
    """Make the new names of a folder's files durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def _write(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        if os.geteuid() == 0:  # run by hand as root: the service whose folder this is must be able to read it
            owner = path.parent.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        os.fsync(descriptor)
