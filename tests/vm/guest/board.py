"""The board: kernel drivers of simulated hardware, and the files that make them look like a Pi's."""

import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

CONFIGFS: Final = Path("/sys/kernel/config/gpio-sim/bench")
LINES: Final = 54  # BCM2711
CHIP_LABEL: Final = "pinctrl-bcm2711"
REVISION: Final = "c03115"  # a Pi 4B with 4 GB
CPUINFO: Final = Path("/run/cpuinfo")
DROP_IN: Final = Path("/etc/systemd/system/gate.service.d/bench.conf")
CAMERA: Final = "/dev/video0"
BRIDGE_NAME: Final = "MCP2221 usb-i2c bridge"
STUB_NAME: Final = "SMBus stub driver"


class BenchError(Exception):
    """Something did not happen that had to; the text says what."""


def wait_for(condition: Callable[[], Any], within_s: float, what: str, every_s: float = 0.05) -> Any:
    """Wait until `condition` holds and return its value; raises BenchError."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise BenchError(f"waited {within_s:.0f} s in vain for {what}")
        pause.wait(every_s)
    return value


def run(*words: str, within_s: float = 120) -> str:
    """Run a command and return what it said; raises BenchError when it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=within_s)
    if done.returncode:
        raise BenchError(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def set_up() -> Path:
    """Load the drivers, make the pins and the board's revision; return the folder of the pins."""
    for module in ("i2c-dev", "uhid", "hid-mcp2221", "gpio-sim", "panic-halt"):
        run("modprobe", module)
    run("modprobe", "v4l2loopback", "video_nr=0", "exclusive_caps=1", "card_label=bench")
    bank = CONFIGFS / "bank0"
    bank.mkdir(parents=True)
    (bank / "num_lines").write_text(str(LINES))
    (bank / "label").write_text(CHIP_LABEL)
    (CONFIGFS / "live").write_text("1")
    chip = (bank / "chip_name").read_text().strip()
    if chip != "gpiochip0":
        raise BenchError(f"the pins are {chip}: gpiozero looks for those of a Pi 4 at gpiochip0")
    # gpiozero knows a Pi by the last line of this file. The unit's own /proc hides what lies over /proc here.
    CPUINFO.write_text(Path("/proc/cpuinfo").read_text() + f"Revision\t: {REVISION}\n")
    DROP_IN.parent.mkdir(parents=True, exist_ok=True)
    DROP_IN.write_text(f"[Service]\nBindReadOnlyPaths={CPUINFO}:/proc/cpuinfo\n")
    return Path("/sys/devices/platform") / (CONFIGFS / "dev_name").read_text().strip() / chip


def i2c_bus(name: str) -> str:
    """Return the device of the adapter of this name."""

    def found() -> str | None:
        for adapter in Path("/sys/class/i2c-dev").glob("*"):
            if (adapter / "name").read_text().startswith(name) and Path("/dev", adapter.name).exists():
                return f"/dev/{adapter.name}"
        return None

    return str(wait_for(found, 30, f"the I2C adapter {name}"))


class Line:
    """One pin of the board, seen from outside."""

    def __init__(self, pins: Path, number: int) -> None:
        self._folder = pins / f"sim_gpio{number}"

    def close_contact(self) -> None:
        """Connect it to ground."""
        (self._folder / "pull").write_text("pull-down")

    def open_contact(self) -> None:
        """Leave it to its pull-up."""
        (self._folder / "pull").write_text("pull-up")

    @property
    def value_file(self) -> Path:
        """The file with its level, 0 or 1."""
        return self._folder / "value"


def boot_id() -> str:
    """Return the kernel's name for this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
