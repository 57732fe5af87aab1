"""Is the gate at work after an update, and no worse than before it?

At work: systemd says that the service is active, which it is once the gate itself has said READY. No worse:
nothing fails for the doctor of the new version that was sound for the one of the old; what only the new one
looks at may have been so before. And it stays so for as long as systemd's watchdog takes to find that
it hangs, and all the while it is the same process: a gate that falls and is started again is not well.
Then the doctor is asked once more: the gate takes up to 20 s to find that a camera gives no pictures.
"""

import json
import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gate.app.updating.programs import run

UNIT: Final = "gate.service"
READY_S: Final = 10.0
DOCTOR_S: Final = 25.0
"""The doctor takes 20 s at most, and a slow card makes it begin late."""

HEALTH_S: Final = 30.0
LASTING_S: Final = 30.0
"""The watchdog's bound (WatchdogSec in systemd/gate.service), and some more for its last tick."""

STOP_S: Final = 5.0
"""A version that hangs is not waited for."""
_LOOK_EVERY_S: Final = 0.5
_NUMBERS: Final = ("NRestarts", "InactiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic")
_SYSTEMD_S: Final = 60
_FALLS_MAX: Final = 1
"""Somebody may stumble over a device that udev has not given free yet; twice is no accident."""


@dataclass(frozen=True, slots=True)
class UnitState:
    """What systemd says of the service; `word`: its ActiveState (systemctl(1)).

    `run` names one start of it, which took `start_s`; `falls`: how often systemd has started it again by
    itself since.
    """

    word: str
    run: str
    falls: int
    start_s: float

    @property
    def active(self) -> bool:
        """Whether the gate itself has said READY."""
        return self.word == "active"


@dataclass(frozen=True, slots=True)
class Before:
    """How the gate was. `sound`: the doctor's checks that did not fail, None where it could not be asked.

    `start_s`: how long its last start took, until it was ready.
    """

    active: bool
    run: str
    sound: tuple[str, ...] | None
    start_s: float = 0


class Health:
    """Asks systemd and the doctor. `monotonic` and `sleep` in seconds."""

    def __init__(
        self, config: Path, state_dir: Path, monotonic: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._config = config
        self._state_dir = state_dir
        self._monotonic = monotonic
        self._sleep = sleep

    def before(self) -> Before:
        """Look at the gate before it is touched."""
        state = self.state()
        found = self._examined()
        sound = None if found is None else tuple(name for name, failed in found.items() if not failed)
        return Before(state.active, state.run, sound, state.start_s)

    def problem_after(self, before: Before) -> str:
        """Wait until the gate is well, for `HEALTH_S` or so, and stays so; return what is wrong, else ""."""
        over_at = self._monotonic() + HEALTH_S
        if not before.active:  # nobody can say then what the new version is to do better
            return self._worse(before)
        self.restart_unless_other(before.run)
        # A large ledger on a slow card: what the old version needed, the new one may need as well.
        ready_s = max(READY_S, 2 * before.start_s)
        while not (problem := self._waited_ready(ready_s, other_than=before.run)):
            start = self.state().run
            problem = self._worse(before) or self._fell(start) or self._stays_worse(before)
            if not problem or self._monotonic() >= over_at:
                return problem
            self._sleep(_LOOK_EVERY_S)
        return problem

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Keep everybody else from starting the service; what runs goes on.

        The packages' own scripts would restart it, and wait minutes for a version that never gets ready. What
        stands in /run is gone after a power cut.
        """
        self._systemctl("mask", "--runtime", UNIT)
        try:
            yield
        finally:
            self.unshield()

    def unshield(self) -> None:
        """Let everybody start the service again; who was killed behind the shield has left it there."""
        self._systemctl("unmask", "--runtime", UNIT)

    def restart_unless_other(self, run: str) -> None:
        """Start the service anew, unless a boot has done that already."""
        state = self.state()
        if state.run == run or state.word == "inactive":
            self._systemctl("restart", "--no-block", UNIT)

    def serve_again(self) -> str:
        """Start the service after a step back; return why it does not serve, else ""."""
        self._systemctl("reset-failed", UNIT)
        self._systemctl("start", "--no-block", UNIT)
        return self._waited_ready(HEALTH_S, other_than="")

    def stop(self) -> None:
        """Stop the service, and forget its falls: it must not use up the starts of the other version."""
        self._systemctl("stop", "--no-block", UNIT)
        over_at = self._monotonic() + STOP_S
        while self.state().word not in {"inactive", "failed"}:
            if self._monotonic() >= over_at:
                self._systemctl("kill", "--signal=KILL", UNIT)
                break
            self._sleep(_LOOK_EVERY_S)
        self._systemctl("reset-failed", UNIT)

    def state(self) -> UnitState:
        """Ask systemd; a service that it does not know is none that is active."""
        names = ",".join(("ActiveState", "InvocationID", *_NUMBERS))
        lines = self._systemctl("show", f"--property={names}", UNIT).splitlines()
        said = dict(line.partition("=")[::2] for line in lines)
        falls, begun_us, ready_us = (
            int(value) if (value := said.get(name, "")).isdigit() else 0 for name in _NUMBERS
        )
        return UnitState(
            word=said.get("ActiveState", ""),
            run=said.get("InvocationID", ""),
            falls=falls,
            start_s=max(0, ready_us - begun_us) / 1e6,
        )

    def _waited_ready(self, within_s: float, *, other_than: str) -> str:
        over_at = self._monotonic() + within_s
        while True:
            state = self.state()
            if state.word == "failed" or state.falls > _FALLS_MAX:
                return f"{UNIT} does not stay up; see: journalctl --unit {UNIT}"
            if state.active and state.run != other_than:
                return ""
            if self._monotonic() >= over_at:
                return f"{UNIT} was not ready after {within_s:.0f} s"
            self._sleep(_LOOK_EVERY_S)

    def _fell(self, run: str) -> str:
        over_at = self._monotonic() + LASTING_S
        while True:
            state = self.state()
            if not (state.active and state.run == run):
                return f"{UNIT} did not stay up"
            if self._monotonic() >= over_at:
                return ""
            self._sleep(_LOOK_EVERY_S)

    def _worse(self, before: Before) -> str:
        """Return which of the checks that were sound before fail now."""
        found = self._examined()
        if found is None:
            return "gate doctor gives no answer"
        worse = sorted(name for name in before.sound or () if found.get(name, False))
        return f"gate doctor: {', '.join(worse)} failed, and did not before" if worse else ""

    def _stays_worse(self, before: Before) -> str:
        """Return what is worse, and still is after `HEALTH_S`: a broker may be away for a moment."""
        over_at = self._monotonic() + HEALTH_S
        while (problem := self._worse(before)) and self._monotonic() < over_at:
            self._sleep(_LOOK_EVERY_S)
        return problem

    def _examined(self) -> dict[str, bool] | None:
        """Return for each check of the doctor whether it fails, None when the doctor gives no answer."""
        asked = ["gate", "doctor", "--json", f"--config={self._config}"]
        said = run(asked, DOCTOR_S, Path("/"), self._identity()).stdout
        try:
            return {str(check["name"]): check["status"] == "failed" for check in json.loads(said)["checks"]}
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def _identity(self) -> dict[str, Any]:
        """Name the user of the service, whose devices and files the doctor is to judge."""
        owner = self._state_dir.stat()
        if os.geteuid() != 0 or owner.st_uid == 0:
            return {}
        groups = os.getgrouplist(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
        return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": groups}

    def _systemctl(self, *arguments: str) -> str:
        return run(["systemctl", *arguments], _SYSTEMD_S).stdout
