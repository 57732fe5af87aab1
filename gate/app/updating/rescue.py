"""The code that begins an attempt is kept until the attempt has ended.

After a power cut the new version's code lies in its place, and may be the very thing that is not well. So an
attempt is finished by the code that began it: gate-update.service runs what is kept here, where there is any.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

import gate
from gate.durable import flush_names

_NAME: Final = "rescue"
_MAIN: Final = "from gate.cli import main\n\nmain()\n"


def keep(cache: Path) -> None:
    """Keep the code that runs now, whole and durable or not at all, as a folder that Python can run."""
    part = cache / f"{_NAME}.part"
    shutil.rmtree(part, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", "demo", "sim")
    try:
        shutil.copytree(Path(gate.__file__).parent, part / "gate", ignore=ignored)
        (part / "__main__.py").write_text(_MAIN)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
        raise
    os.sync()
    drop(cache)
    part.rename(cache / _NAME)
    flush_names(cache)


def drop(cache: Path) -> None:
    """Forget it, whole: the version that is installed is the one to go on with."""
    part = cache / f"{_NAME}.old"
    with suppress(FileNotFoundError):
        (cache / _NAME).rename(part)
        flush_names(cache)
    shutil.rmtree(part, ignore_errors=True)
