"""`gate simulate`: the simulated world with the real thermometer driver on a part simulated at the wire."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from drivers.mlx90614 import AMBIENT_TO_CORE, OBJECT, VARIANTS, Mlx90614
from drivers.sim.mlx90614 import Fault, SimMlx90614
from gate.app.hardware import as_measurement
from gate.config import load_policy
from gate.core.evidence import Direction, Measurement
from gate.perform import Observer
from gate.sim.faults import FAULT_KINDS
from gate.sim.machine import Parts
from gate.sim.world import Report, Setup, Simulation

if TYPE_CHECKING:
    from smbus2 import i2c_msg

__all__ = ["FAULT_KINDS", "Report", "simulate"]

VARIANT: Final = VARIANTS["DCC"]
CORE_MODEL: Final = AMBIENT_TO_CORE["forehead_linear"]
_I2C_READ: Final = 0x0001  # I2C_M_RD in linux/i2c.h


def simulate(
    seed: int,
    hours: float,
    faults: frozenset[str],
    policy: str = "county-hall",
    parts: Parts | None = None,
    observe: Observer | None = None,
    direction: Direction = Direction.IN,
) -> Report:
    """Simulate one gate for `hours` of virtual time and report; the same arguments give the same digest.

    `faults` holds kinds of `FAULT_KINDS`, `policy` a name or path. ValueError for an unknown kind of fault,
    ConfigError for a policy that cannot be used. `direction` is the way that the gate leads. `parts` puts
    broken parts into the gate, `observe` hears of every input and effect: both for tests.
    """
    began_s = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=_memory_folder(), prefix="gate-simulation-") as folder:
        setup = Setup(
            load_policy(policy),
            seed,
            hours,
            faults,
            WatchedThermometer,
            Path(folder),
            parts or Parts(),
            observe,
            direction,
        )
        report = Simulation(setup).run()
    return replace(report, policy=policy, real_s=round(time.perf_counter() - began_s, 3))


def _memory_folder() -> str | None:
    """Return a folder in memory where there is one: a simulated disk need not wear a real one."""
    shared = Path("/dev/shm")  # noqa: S108 - the folder made in it is private and has a random name
    return str(shared) if shared.is_dir() else None


class WatchedThermometer:
    """The real driver on a simulated part, seeded to be off by as much as its maker allows.

    Ambient, error and noise come from the seed. Whose forehead a sample has seen is known here, not to the
    driver: a conversion keeps what was in view when it was made.
    """

    def __init__(self, monotonic: Callable[[], float], sleep: Callable[[float], None], seed: int) -> None:
        rng = Random(f"{seed}/thermometer")  # noqa: S311 - chance to be repeated, not a secret
        self._ambient_cc = rng.randint(1700, 2700)
        surface_cc = 3650 - CORE_MODEL.term_cc(self._ambient_cc)
        self.error_cc = VARIANT.error_cc(surface_cc, self._ambient_cc)
        self._off_cc = rng.randint(-self.error_cc, self.error_cc)
        self._monotonic, self._sleep = monotonic, sleep
        self._part = _WatchedPart(
            VARIANT, monotonic=monotonic, sleep=sleep, seed=rng.getrandbits(32), ambient_cc=self._ambient_cc
        )
        self._part.sampled = []
        self.restart()

    def restart(self) -> None:
        """Use a driver that knows nothing of earlier readings."""
        self._driver = Mlx90614(
            self._part,
            VARIANT,
            sleep=self._sleep,
            monotonic=self._monotonic,
            ambient_to_core=CORE_MODEL,
        )

    def measure(self) -> tuple[Measurement, tuple[int, ...]]:
        """Take one reading; say whose forehead each sample has seen."""
        self._part.sampled.clear()
        measurement = as_measurement(self._driver.measure())
        return measurement, tuple(self._part.sampled)

    def look_at(self, person: int, core_cc: int | None) -> None:
        """Bring a forehead into view, or the wall."""
        if core_cc is None:
            surface_cc = self._ambient_cc
        else:
            surface_cc = core_cc - CORE_MODEL.term_cc(self._ambient_cc) + self._off_cc
        self._part.look_at(surface_cc)
        self._part.in_view = person

    def break_down(self, word: str) -> None:
        """Let the part fail."""
        self._part.inject(Fault(word))

    def repair(self) -> None:
        """Let the part work."""
        self._part.recover()


class _WatchedPart(SimMlx90614):
    """Notes who was in view at the conversion whose word is read."""

    in_view = 0
    converted = 0
    sampled: list[int]

    def i2c_rdwr(self, *messages: "i2c_msg") -> None:
        super().i2c_rdwr(*messages)
        if messages[-1].flags & _I2C_READ and messages[0].buf[0][0] == OBJECT:
            self.sampled.append(self.converted)

    def _convert(self, now_s: float) -> None:
        super()._convert(now_s)
        self.converted = self.in_view
