"""Debian's programs, run in English, without questions, and within a bound."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any, Final

NO_ANSWER: Final = 127


def run(
    arguments: list[str], within_s: float, cwd: Path | None = None, identity: dict[str, Any] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; one that cannot be run or takes too long has the status `NO_ANSWER`.

    Who takes too long is ended with all that he has started. `identity`: as which user, in the words of
    `subprocess.Popen`; the caller's own without one.
    """
    environment = {
        **os.environ,
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "NEEDRESTART_SUSPEND": "1",
        "APT_LISTCHANGES_FRONTEND": "none",
    }
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell, and versions are checked (gate.core.commands)
            arguments,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            **(identity or {}),
        )
    except OSError as error:
        return subprocess.CompletedProcess(arguments, NO_ANSWER, "", f"E: {error}")
    with process:
        try:
            said = process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            return subprocess.CompletedProcess(arguments, NO_ANSWER, "", f"E: {error}")
    return subprocess.CompletedProcess(arguments, process.returncode, *said)
