"""Debian's programs, run in English, without questions, and within a bound."""

import os
import subprocess
from pathlib import Path
from typing import Any, Final

NO_ANSWER: Final = 127


def run(
    arguments: list[str], within_s: float, cwd: Path | None = None, identity: dict[str, Any] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; one that cannot be run or takes too long has the status `NO_ANSWER`.

    `identity`: as which user, in the words of `subprocess.run`; the caller's own without one.
    """
    environment = {
        **os.environ,
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "NEEDRESTART_SUSPEND": "1",
        "APT_LISTCHANGES_FRONTEND": "none",
    }
    try:
        return subprocess.run(  # noqa: S603 - no shell, and versions are checked (gate.core.commands)
            arguments,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=within_s,
            check=False,
            **(identity or {}),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(arguments, NO_ANSWER, "", f"E: {error}")
