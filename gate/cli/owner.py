"""Root works in a gate's folder as the user whose folder it is."""

import os
import pwd
from contextlib import suppress
from pathlib import Path
from typing import Final

from gate.cli.ending import refuse

_NOGROUP: Final = 65534  # Debian's


def work_as_owner(folder: Path) -> None:
    """Become the owner of a folder as `become_owner` does, or end in words where that will not do."""
    if problem := become_owner(folder):
        refuse(problem, 1)


def become_owner(folder: Path) -> str:
    """Give up root for the user whose folder this is, for good; others stay who they are.

    What root writes there may be a link that this user has put there, what it reads a pipe, and what root
    leaves there stops the service. Where it is not there yet, or is root's, the next folder above that is not
    root's decides: its owner could have put a link in the place of this one. Return why the folder cannot be
    used then, "" where it can.
    """
    if os.geteuid() != 0:
        return ""
    try:
        owner = _owner(folder)
    except OSError as error:  # somebody's own file system: nobody knows whose it will be in a moment
        return f"{folder} cannot be looked at ({error.strerror}); run this as the gate's user"
    if owner is None:
        return ""
    name, gid = _account(owner)
    os.setgroups(os.getgrouplist(name, gid) if name else [gid])  # such as those of devices
    os.setgid(gid)
    os.setuid(owner.st_uid)
    return _left_by_root(folder, name or str(owner.st_uid))


def _owner(folder: Path) -> os.stat_result | None:
    """Return what is known of the innermost place that is not root's, None where all are. Raises OSError."""
    for place in (folder, *folder.absolute().parents):
        with suppress(FileNotFoundError, NotADirectoryError):
            if (found := place.stat()).st_uid != 0:
                return found
    return None


def _account(owner: os.stat_result) -> tuple[str, int]:
    """Return name and own group of a user; "" and the group of the folder, never root's, for no known one."""
    try:
        known = pwd.getpwuid(owner.st_uid)
    except KeyError:
        return "", owner.st_gid or _NOGROUP
    return known.pw_name, known.pw_gid


def _left_by_root(folder: Path, user: str) -> str:
    """Return what to do with a folder that an earlier version has made as root, "" where there is nothing."""
    # Not what a link leads to, which is no such folder: what is said here will be done.
    if os.path.realpath(folder) != str(folder.absolute()) or os.access(folder, os.W_OK | os.X_OK):
        return ""
    with suppress(OSError):
        if folder.stat().st_uid == 0:
            remedy = f"give it to its user: sudo chown -hR {user}: {folder}"
            return f"{folder} is root's, in a folder of {user}; {remedy}"
    return ""
