"""Root works in a gate's folder as the user whose folder it is."""

import os
import pwd
from contextlib import suppress
from pathlib import Path


def become_owner(folder: Path) -> None:
    """Give up root for the user whose folder this is, for good; others stay who they are.

    What root writes there may be a link that this user has put there, and what root leaves there stops the
    service. Where it is not there yet, or is root's, the next folder above that is not root's decides: its
    owner could have put a link in the place of this one. Raises OSError.
    """
    if os.geteuid() != 0:
        return
    for place in (folder, *folder.absolute().parents):
        with suppress(FileNotFoundError):
            owner = place.stat()
            if owner.st_uid != 0:
                os.setgroups(_groups(owner.st_uid, owner.st_gid))
                os.setgid(owner.st_gid)
                os.setuid(owner.st_uid)
                return


def _groups(uid: int, gid: int) -> list[int]:
    """Return the groups of a user, such as those of devices; only the one of the folder for no known user."""
    try:
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        return [gid]
