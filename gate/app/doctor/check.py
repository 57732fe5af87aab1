"""One check of the doctor: its outcome, how it is printed, and how long it may take."""

import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from threading import Thread
from typing import Any, Final

import click


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found; `advice` has one line for each thing to do, empty when there is none."""

    name: str
    status: Status
    value: str
    limit: str = ""
    advice: str = ""


def exit_status(checks: Iterable[Check]) -> int:
    """Return 2 after a failure, else 1 after a warning, else 0; what was skipped does not count."""
    found = {check.status for check in checks}
    return 2 if Status.FAILED in found else int(Status.WARNING in found)


def as_dict(checks: Sequence[Check]) -> dict[str, Any]:
    """Return the checks in a form for JSON; `ok` is true when there is neither failure nor warning."""
    return {"ok": exit_status(checks) == 0, "checks": [asdict(check) for check in checks]}


_STATUS_COLUMNS: Final = 7
_NAME_COLUMNS: Final = 13
_VALUE_COLUMNS: Final = 44
_INDENT: Final = " " * (_STATUS_COLUMNS + _NAME_COLUMNS + 4)
_COLOURS: Final = {Status.OK: "green", Status.WARNING: "yellow", Status.FAILED: "red"}


def as_text(check: Check, columns: int) -> str:
    """Return a check as a line with its limit and, below it, what to do, for a terminal of this width."""
    status = click.style(f"{check.status:{_STATUS_COLUMNS}}", fg=_COLOURS.get(check.status, "cyan"))
    room = columns - len(_INDENT)
    value, limit = _folded(check.value, room), ""
    if check.limit:
        fits = (
            len(check.value) <= _VALUE_COLUMNS
            and _VALUE_COLUMNS + len("  expected ") + len(check.limit) <= room
        )
        gap = " " * (_VALUE_COLUMNS - len(check.value) + 2) if fits else f"\n{_INDENT}"
        limit = gap + click.style(_folded(f"expected {check.limit}", room), dim=True)
    lines = [f"{status}  {check.name:{_NAME_COLUMNS}}  {value}{limit}"]
    lines += [f"{_INDENT}> {_folded(line, room - 2, '  ')}" for line in check.advice.splitlines()]
    return "\n".join(lines)


def summary(checks: Sequence[Check]) -> str:
    """Return the last line: how many checks ended in which way."""
    counts = ((status, sum(check.status is status for check in checks)) for status in Status)
    words = ", ".join(f"{count} {status}" for status, count in counts if count)
    colour = ("green", "yellow", "red")[exit_status(checks)]
    return click.style(f"{len(checks)} checks: {words}", fg=colour, bold=True)


def _folded(text: str, columns: int, hanging: str = "") -> str:
    wrapped = textwrap.wrap(text, max(columns, 20), break_long_words=False, break_on_hyphens=False)
    return f"\n{_INDENT}{hanging}".join(wrapped)


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of the examination: the checks that it makes, in order, and how long it may take in seconds.

    `examine` may end early: the checks that it leaves out are reported as skipped.
    """

    names: tuple[str, ...]
    examine: Callable[[], Iterable[Check]]
    bound_s: float
    late_advice: str = ""
    late_status: Status = Status.FAILED


class Running:
    """A part at work, in a thread of its own: a bus that hangs or a name server cannot hold up the rest.

    Nothing can end a thread inside a system call. One that is late is left behind as a daemon, and goes with
    the process.
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        self._found: list[Check] = []
        self._until = time.monotonic() + part.bound_s
        self._thread = Thread(target=self._run, name=f"doctor: {part.names[0]}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        found, names = self._found, self._part.names
        try:
            for check in self._part.examine():
                found.append(check)  # one by one: what was found before a fault or the bound counts
        except Exception as error:  # noqa: BLE001 - a fault in one check must not take the others along
            at = min(len(found), len(names) - 1)
            words = f"the check itself failed: {type(error).__name__}: {error}"
            found[at:] = [Check(names[at], Status.FAILED, words, advice="report this as a fault of the gate")]

    def checks(self) -> list[Check]:
        """Return one check for each name of the part, at the latest when its time is over."""
        self._thread.join(max(0.0, self._until - time.monotonic()))
        names, found = self._part.names, list(self._found)
        if self._thread.is_alive() and len(found) < len(names):
            value, limit = "no result in time", f"{self._part.bound_s:g} s"
            late = self._part.late_status
            found.append(Check(names[len(found)], late, value, limit, self._part.late_advice))
        cause = found[-1].name if found else names[0]
        return found + [skipped(name, f"see {cause}") for name in names[len(found) :]]


def duration(seconds: float) -> str:
    """Say a length of time in its largest unit."""
    for unit, length_s in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s or (seconds >= length_s and unit == "h"):
            return f"{seconds // length_s:.0f} {unit}"
    return f"{seconds:.0f} s"


def skipped(name: str, why: str) -> Check:
    """Return a check that was not made, and why."""
    return Check(name, Status.SKIPPED, why)
