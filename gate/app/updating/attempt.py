"""One attempt to bring this device to the version that the centre has named.

    order ──► waiting (not now) ─┐            a file says before each step what is going to be done, so that
      │                          │            whatever runs after a power cut knows where it stands
      ├─► refused                │
      ▼                          ▼
    INSTALLING ──► CHECKING ──► done
        │             │
        └─────┬───────┘
              ▼
           UNDOING ──► rolled_back, and the packages on hold

Nothing is touched before the packages of both versions lie here, whole: the one to go to, and the one to go
back to. What has begun is finished at once, also outside the quiet hours: half an update is no state to
be in.
"""

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from gate.app.adopted import adopted_policy
from gate.app.updating import rescue
from gate.app.updating.health import Before, Health
from gate.app.updating.packages import MAIN, OccupiedError, PackageError, Packages, UnreachableError
from gate.config import Config, load_policy
from gate.core.moment import Moment
from gate.core.policy import Policy
from gate.core.updates import (
    BYTES_MAX,
    DETAIL_MAX,
    ORDER_NAME,
    RESULT_NAME,
    UpdateOrder,
    UpdateOutcome,
    UpdateResult,
    read_order,
    read_result,
)
from gate.durable import read_plain
from gate.durable import replace as put

log = logging.getLogger(__name__)

ORDER_DAYS_MAX: Final = 7
"""What could not be done for so long is not done by surprise: the centre says it again."""

_DAY_MS: Final = 86_400_000
_MINUTE_MS: Final = 60_000
_JOURNAL: Final = "attempt.json"


class BusyError(Exception):
    """Another attempt is at work."""


class StuckError(Exception):
    """The way back is barred for now, in a sentence; the next run tries it again."""


class Stage(StrEnum):
    """How far an attempt has come."""

    INSTALLING = "installing"
    CHECKING = "checking"
    UNDOING = "undoing"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are on a device."""

    cache: Path = Path("/var/cache/health-gate")
    source: Path = Path("/etc/apt/sources.list.d/health-gate.sources")
    card: Path = Path("/boot/firmware/health-gate")


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is on file of an attempt. `previous`: the versions before it, by package."""

    order: UpdateOrder
    stage: Stage
    previous: dict[str, str]
    before: Before
    detail: str = ""
    outcome: UpdateOutcome = UpdateOutcome.WAITING
    at_ms: int = 0

    @property
    def target(self) -> dict[str, str]:
        """The versions to go to, by package."""
        return dict.fromkeys(self.previous, self.order.version)

    def result(self) -> UpdateResult:
        """Return what is said of it."""
        return UpdateResult(
            self.order.version, self.previous.get(MAIN, ""), self.outcome, _line(self.detail),
            self.order.command, self.at_ms,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Updater:
    """Makes attempts. `now`: this instant; `by_hand`: a person has said that it may be now."""

    packages: Packages
    health: Health
    cache: Path
    state_dir: Path
    policy: Policy
    now: Callable[[], Moment]
    by_hand: bool = False

    def run(self) -> UpdateResult | None:
        """Make one attempt, or finish one; return what came of it, None when there was nothing to do.

        Raises BusyError, StuckError, OccupiedError, and OSError where the disk cannot be written.
        """
        self.cache.mkdir(parents=True, exist_ok=True)
        with _alone(self.cache):
            result = self._run()
            rescue.drop(self.cache)  # only now is no attempt open
            self.packages.tidy()
            return result

    def _run(self) -> UpdateResult | None:
        attempt = self._on_file()
        if attempt is not None and attempt.stage is not Stage.ENDED:
            log.warning("an attempt was cut off while %s; going on", attempt.stage)
            self.health.unshield()
            return self._go_on(attempt)
        if not all(package.sound for package in self.packages.installed().values()):
            log.warning("a package is half installed; configuring it")
            self.packages.settle()
        order = self._order()
        if order is None:
            return None
        if attempt is not None and attempt.order.command == order.command:
            self._tell(attempt.result())
            return None
        return self._begin(order)

    def _begin(self, order: UpdateOrder) -> UpdateResult:
        installed = self.packages.installed()
        previous = {name: package.version for name, package in installed.items()}
        attempt = Attempt(order, Stage.ENDED, previous, Before(active=False, run="", sound=None))
        if MAIN not in previous:
            return self._end(attempt, UpdateOutcome.REFUSED, f"{MAIN} is not installed as a package here")
        if self._is_installed(attempt.target):
            self.packages.hold(previous, held=False)
            return self._end(attempt, UpdateOutcome.DONE, "it was installed already")
        reason = self._not_now()
        if reason:
            return self._wait(attempt, reason)
        try:
            self._prepare(attempt)
        except UnreachableError as error:
            return self._wait(attempt, f"not reached: {error}")
        except OccupiedError as error:
            return self._wait(attempt, str(error))
        except PackageError as error:
            return self._end(attempt, UpdateOutcome.REFUSED, str(error))
        except OSError as error:
            return self._wait(attempt, f"for the disk: {error}")
        # dpkg would end with others' trouble, too, and it would look like the new version's.
        if (trouble := self.packages.settle()) and self._is_installed(previous):
            return self._wait(attempt, f"for other packages to be put in order: {trouble}")
        before = self.health.before()
        return self._go_on(self._file(replace(attempt, stage=Stage.INSTALLING, before=before)))

    def _prepare(self, attempt: Attempt) -> None:
        """Have everything here that is needed to go there and back.

        Raises PackageError, OccupiedError, and OSError where there is no room for it.
        """
        log.info("fetching %s", attempt.order.version)
        self.packages.need_room()
        self.packages.refresh()
        for name, version in attempt.previous.items():
            self.packages.keep_running(name, version)
        paths = [self.packages.fetch(name, version) for name, version in attempt.target.items()]
        self.packages.rehearse(paths)
        rescue.keep(self.cache)
        self.packages.await_free()

    def _go_on(self, attempt: Attempt) -> UpdateResult:
        """Do what is left to do, from the step on that is on file. Raises StuckError and OccupiedError."""
        if stranger := self._stranger(attempt):
            # Its script cannot have done so where the mask of an attempt that was killed lay before it.
            if attempt.before.active:
                self.health.restart_unless_other(attempt.before.run)
            return self._end(attempt, UpdateOutcome.REFUSED, f"{stranger} was put in by hand meanwhile")
        if attempt.stage is Stage.INSTALLING:
            log.info("installing %s", attempt.order.version)
            try:
                with self.health.shielded():
                    problem = self._install(attempt)
            except OccupiedError as error:
                if not self._is_installed(attempt.previous):
                    raise
                (self.cache / _JOURNAL).unlink()  # nothing has begun
                return self._wait(attempt, str(error))
            attempt = self._noted(self._judged(attempt, problem, Stage.CHECKING))
        if attempt.stage is Stage.CHECKING:
            problem = self.health.problem_after(attempt.before)
            if not problem:
                return self._arrive(attempt)
            attempt = self._noted(self._judged(attempt, problem, Stage.ENDED))
        log.error("%s is undone: %s", attempt.order.version, attempt.detail)
        return self._undo(attempt)

    @staticmethod
    def _judged(attempt: Attempt, problem: str, further: Stage) -> Attempt:
        return replace(attempt, stage=Stage.UNDOING if problem else further, detail=problem)

    def _install(self, attempt: Attempt) -> str:
        """Bring the new version in, from whatever state; return why that failed, else ""."""
        settled = self.packages.settle()
        if not settled and self._is_installed(attempt.target):
            return ""
        try:
            paths = self.packages.kept(attempt.target)
            # What was there in part is unpacked once more, which apt does not do.
            install = self.packages.put_back if attempt.previous == attempt.target else self.packages.install
            problem = install(paths)
        except PackageError as error:
            return str(error)
        if not problem and not self._is_installed(attempt.target):
            return f"{attempt.order.version} is not installed, although apt says so"
        return problem

    def _arrive(self, attempt: Attempt) -> UpdateResult:
        self.packages.hold(attempt.previous, held=False)
        self.packages.forget_but([attempt.order.version, *attempt.previous.values()])
        return self._end(attempt, UpdateOutcome.DONE, "")

    def _undo(self, attempt: Attempt) -> UpdateResult:
        """Go back to what was there before. Raises StuckError and OccupiedError."""
        self.packages.await_free()  # before the gate is stopped
        try:
            paths = [self.packages.keep_running(*one) for one in attempt.previous.items()]
            with self.health.shielded():
                self.health.stop()
                problem = self.packages.put_back(paths)
        except (PackageError, OSError) as error:
            problem = str(error)
        if problem or not self._is_installed(attempt.previous):
            self.health.serve_again()
            raise StuckError(
                f"{attempt.order.version} is not well ({attempt.detail}), and the version before it cannot "
                f"be put back: {problem or 'dpkg has not installed it'}; this is tried again"
            )
        held = self.packages.hold(attempt.previous, held=True)
        self.packages.forget_but(attempt.previous.values())
        silent = self.health.serve_again() if attempt.before.active else ""
        more = "" if held else "; and it could not be put on hold"
        more += f"; and now: {silent}" if silent else ""
        return self._end(attempt, UpdateOutcome.ROLLED_BACK, attempt.detail + more)

    def _stranger(self, attempt: Attempt) -> str:
        """Return a version that is neither the old nor the new one, "" where there is none."""
        for name, package in self.packages.installed().items():
            if package.sound and package.version not in {attempt.previous.get(name), attempt.order.version}:
                return f"{name} {package.version}"
        return ""

    def _is_installed(self, versions: dict[str, str]) -> bool:
        there = self.packages.installed()
        return all(name in there and there[name].sound and there[name].version == version
                   for name, version in versions.items())  # fmt: skip

    # --- when

    def _not_now(self) -> str:
        """Return why it cannot be now, "" when it can."""
        now, window = self.now(), self.policy.update_window
        if self.by_hand:
            return ""
        if not now.clock_trusted:
            return "the clock is not set, so that nobody knows whether these are the quiet hours"
        minute = (now.wall_ms // _MINUTE_MS + self.policy.utc_offset_min) % 1440
        return "" if window.contains(minute) else f"for the quiet hours, {window}"

    def _wait(self, attempt: Attempt, reason: str) -> UpdateResult:
        """Say that it comes later, once for each reason; or that it comes no more."""
        now = self.now()
        if now.clock_trusted and now.wall_ms - attempt.order.asked_ms > ORDER_DAYS_MAX * _DAY_MS:
            last = f"it could not be done for {ORDER_DAYS_MAX} days; it waited {reason}"
            return self._end(attempt, UpdateOutcome.REFUSED, last)
        result = replace(attempt, detail=reason, at_ms=now.wall_ms).result()
        self._tell(result)
        return result

    # --- what is on file

    def _end(self, attempt: Attempt, outcome: UpdateOutcome, detail: str) -> UpdateResult:
        ended = replace(attempt, stage=Stage.ENDED, outcome=outcome, detail=detail, at_ms=self.now().wall_ms)
        self._tell(self._file(ended).result())
        return ended.result()

    def _file(self, attempt: Attempt) -> Attempt:
        put(self.cache / _JOURNAL, json.dumps(asdict(attempt)).encode())
        return attempt

    def _noted(self, attempt: Attempt) -> Attempt:
        """Note how far it has come; a full disk must not keep a bad version from being undone."""
        try:
            return self._file(attempt)
        except OSError as error:
            log.error("%s cannot be written: %s", self.cache / _JOURNAL, error)
            return attempt

    def _on_file(self) -> Attempt | None:
        try:
            said: dict[str, Any] = json.loads((self.cache / _JOURNAL).read_bytes())
            before, order = said["before"], said["order"]
            sound = before["sound"]
            return Attempt(
                order=UpdateOrder(order["version"], order["command"], order["asked_ms"]),
                stage=Stage(said["stage"]),
                previous=dict(said["previous"]),
                before=Before(
                    before["active"],
                    before["run"],
                    None if sound is None else tuple(sound),
                    before["start_s"],
                ),
                detail=said["detail"],
                outcome=UpdateOutcome(said["outcome"]),
                at_ms=said["at_ms"],
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            log.error("%s is damaged and put aside: %s", self.cache / _JOURNAL, error)
            (self.cache / _JOURNAL).replace(self.cache / f"{_JOURNAL}.damaged")
            return None

    def _order(self) -> UpdateOrder | None:
        try:
            return read_order(read_plain(self.state_dir / ORDER_NAME, BYTES_MAX))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.error("%s counts for nothing: %s", self.state_dir / ORDER_NAME, error)
            return None

    def _tell(self, result: UpdateResult) -> None:
        """Write the result, unless it stands there already: each that is written becomes a record."""
        path = self.state_dir / RESULT_NAME
        try:
            known = read_result(read_plain(path, BYTES_MAX))
        except (OSError, ValueError):
            known = None
        if known is None or replace(known, at_ms=result.at_ms) != result:
            try:
                put(path, result.encoded())
            except OSError as error:
                log.error("%s cannot be written: %s", path, error)


def updater(
    config: Config,
    config_path: Path,
    places: Places,
    now: Callable[[], Moment],
    sleep: Callable[[float], None],
    *,
    by_hand: bool = False,
) -> Updater:
    """Wire one for this device. Raises ConfigError when the plan cannot be read."""
    state_dir = config.gate.state_dir

    def monotonic() -> float:
        return now().mono_ns / 1e9

    return Updater(
        packages=Packages(places.cache, places.source, places.card),
        health=Health(config_path, state_dir, monotonic, sleep),
        cache=places.cache,
        state_dir=state_dir,
        policy=adopted_policy(state_dir, load_policy(config.gate.policy)),
        now=now,
        by_hand=by_hand,
    )


def _line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:DETAIL_MAX]


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    # Root's alone: whoever may open it may hold it, and with it every update.
    descriptor = os.open(cache / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w") as lock:
        os.fchmod(descriptor, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError("another gate update is at work") from None
        yield
