"""What is kept between runs below the cache folder, and goes when nobody has asked for it for a day."""

import os
import shutil
import time
from pathlib import Path

UNUSED_S_MAX = 86_400


def used(folder: Path, pattern: str) -> None:
    """Note that `folder` is in use; remove what lies beside it, is named like this, and was not for a day.

    A day, because other checkouts may be at work with theirs.
    """
    os.utime(folder)
    for other in folder.parent.glob(pattern):
        age_s = time.time() - other.stat().st_mtime  # noqa: TID251 - the age of a file
        if other != folder and other.is_dir() and age_s > UNUSED_S_MAX:
            shutil.rmtree(other)
