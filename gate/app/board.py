"""The board under the gate, as its kernel shows it in files. It is only read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

MODEL: Final = "proc/device-tree/model"


@dataclass(frozen=True, slots=True)
class Board:
    """One machine; `root` is the folder that stands for its "/"."""

    root: Path = Path("/")

    def path(self, name: str | Path) -> Path:
        """Return where a file of this machine is; a leading "/" makes no difference."""
        return self.root / str(name).lstrip("/")

    def text(self, name: str | Path) -> str | None:
        """Return what a small file says; None if it is not there or not for us."""
        try:
            # The device tree ends its strings with a NUL.
            return self.path(name).read_text("utf-8", errors="replace").rstrip("\0 \n")
        except OSError:
            return None

    @property
    def raspberry_pi(self) -> str | None:
        """The model of a Raspberry Pi, None on any other machine."""
        model = self.text(MODEL)
        return model if model is not None and model.startswith("Raspberry Pi") else None

    def supply_low(self) -> bool | None:
        """Tell whether the supply's voltage is too low now; None where the board does not say.

        It is bit 0 of what `vcgencmd get_throttled` says (kernel documentation, hwmon/raspberrypi-hwmon).
        """
        for monitor in sorted(self.path("sys/class/hwmon").glob("hwmon*")):
            if self.text(monitor.relative_to(self.root) / "name") == "rpi_volt":
                alarm = self.text(monitor.relative_to(self.root) / "in0_lcrit_alarm")
                return None if alarm is None else alarm != "0"
        return None
