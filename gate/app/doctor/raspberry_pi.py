"""Checks of the board that the gate runs on. They read files and ask programs; no pin and no part is touched.

On a machine that is no Raspberry Pi most of them are skipped.
"""

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gate.app.board import Board
from gate.app.doctor.check import Check, Status, skipped
from gate.app.doctor.installed import Account, account
from gate.config import SIMULATED_BUS, Config

RASPBERRY_PI: Final = (
    "device nodes", "gpio chip", "relay pin", "watchdog", "power", "boot loader", "card", "file system",
)  # fmt: skip

NO_PI: Final = "this is no Raspberry Pi"
ANSWER_S: Final = 3.0


class AnswerError(Exception):
    """A program is missing, or could not answer; the message says which and why."""


def raspberry_pi(board: Board, config: Config | None, *, running: bool) -> Iterator[Check]:
    """Check the board. `running`: a gate runs, and may drive its pins while they are looked at."""
    if config is not None and config.simulation is not None:
        yield from (skipped(name, "all hardware is simulated") for name in RASPBERRY_PI)
        return
    yield _device_nodes(board, config)
    yield _gpio_chip(board)
    yield _relay_pin(board, config, running=running)
    yield _watchdog(board)
    yield _power(board)
    yield _boot_loader(board)
    yield from _disk(board, config)


def _ask(*command: str) -> str:
    """Return what a program prints. Raises AnswerError."""
    program = shutil.which(command[0], path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
    if program is None:
        raise AnswerError(f"{command[0]} is not installed")
    try:
        done = subprocess.run(  # noqa: S603 - fixed names, no shell
            [program, *command[1:]], capture_output=True, text=True, timeout=ANSWER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AnswerError(f"{command[0]} does not answer ({type(error).__name__})") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise AnswerError(f"{command[0]}: {said[-1] if said else f'exit status {done.returncode}'}")
    return done.stdout.strip()


# Device nodes and pins


def _device_nodes(board: Board, config: Config | None) -> Check:
    if board.raspberry_pi is None:
        return skipped("device nodes", NO_PI)
    user = account(board)
    if user is None:
        return skipped("device nodes", "see user")
    if config is None:
        return skipped("device nodes", "the configuration cannot be used")
    nodes = list(_nodes(board, config))
    problems = [problem for node in nodes if (problem := _unusable(board, node, user))]
    if not problems:
        return Check("device nodes", Status.OK, ", ".join(nodes) or "none needed", "there, and for the gate")
    advice = (
        "switch I2C on and see that the parts are plugged in (docs/wiring.md); if a group is wrong, "
        "run: udevadm control --reload && udevadm trigger"
    )
    return Check("device nodes", Status.FAILED, "; ".join(problems), "there, and for the gate", advice)


def _nodes(board: Board, config: Config) -> Iterator[str]:
    if config.pins.factory != "mock":
        chips = sorted(path.name for path in board.path("dev").glob("gpiochip*"))
        yield from [f"/dev/{name}" for name in chips] or ["/dev/gpiochip0"]
    if config.thermometer.bus != SIMULATED_BUS:
        yield config.thermometer.bus
    if config.camera.source == "v4l2":
        yield config.camera.device


def _unusable(board: Board, node: str, user: Account) -> str | None:
    """Say why a user cannot open a device for reading and writing; None if it can."""
    try:
        found = board.path(node).stat()
    except OSError as error:
        return f"{node}: {error.strerror}"
    if os.geteuid() == user.uid:
        # Only the kernel knows, as in the sandbox of a unit (PrivateUsers=) all other groups are nobody's.
        return None if os.access(board.path(node), os.R_OK | os.W_OK) else f"{node}: not for this user"
    if found.st_uid == user.uid:
        allowed = stat.S_IRUSR | stat.S_IWUSR
    elif found.st_gid in user.groups:
        allowed = stat.S_IRGRP | stat.S_IWGRP
    else:
        allowed = stat.S_IROTH | stat.S_IWOTH
    if found.st_mode & allowed == allowed:
        return None
    return f"{node}: not for this user (mode {stat.S_IMODE(found.st_mode):o}, group {found.st_gid})"


# What drives the pins of the header: BCM2835 to 2837, BCM2711 (Pi 4), RP1 (Pi 5); kernel device trees.
_HEADER: Final = frozenset({"brcm,bcm2835-gpio", "brcm,bcm2711-gpio", "raspberrypi,rp1-gpio"})


def _gpio_chip(board: Board) -> Check:
    if board.raspberry_pi is None:
        return skipped("gpio chip", NO_PI)
    limit = "the chip of the header"
    chips = {}
    for chip in sorted(board.path("sys/bus/gpio/devices").glob("gpiochip*")):
        names = (board.text(chip.relative_to(board.root) / "of_node/compatible") or "unknown").split("\0")
        chips[chip.name] = names[0]
    for chip_name, compatible in chips.items():
        if compatible in _HEADER:
            return Check("gpio chip", Status.OK, f"{chip_name} is {compatible}", limit)
    advice = "boot the kernel that came with the system; no pin can be driven with this one"
    said = ", ".join(f"{name} is {compatible}" for name, compatible in chips.items()) or "none"
    return Check("gpio chip", Status.FAILED, said, limit, advice)


# "17: op dl pd | lo // GPIO17 = output"; what is not known is "--" (pinctrl of raspberrypi/utils).
_PIN: Final = re.compile(r"^\s*(\d+): +(\S\S) +(?:d[hl] +)?(\S\S) \| (\S\S) ", re.MULTILINE)
_PULLS: Final = {"pd": "pulled down", "pu": "pulled up", "pn": "no pull"}
_LEVELS: Final = {"hi": "high", "lo": "low"}


def _relay_pin(board: Board, config: Config | None, *, running: bool) -> Check:
    if board.raspberry_pi is None:
        return skipped("relay pin", NO_PI)
    if config is None or config.pins.factory == "mock":
        return skipped("relay pin", "no real pins are configured")
    pin = config.pins.relay
    try:
        said = _PIN.search(_ask("pinctrl", "get", str(pin)))
    except AnswerError as error:
        return skipped("relay pin", str(error))
    if said is None or said[1] != str(pin):
        return skipped("relay pin", "pinctrl's answer is not understood")
    return _judged_pin(pin, *said.group(2, 3, 4), running=running)


def _judged_pin(pin: int, function: str, pull: str, level: str, *, running: bool) -> Check:
    kind = {"ip": "input", "op": "output"}.get(function, f"function {function}")
    value = f"GPIO{pin} {kind}, {_PULLS.get(pull, 'pull unknown')}, {_LEVELS.get(level, 'level unknown')}"
    limit, advice = "low, not pulled up", ""
    if function not in {"ip", "op"}:
        advice = "something else has this pin: take its dtoverlay out of /boot/firmware/config.txt"
    elif pull == "pu":
        advice = "the relay closes while the gate is off: set gpio=N=op,dl in config.txt, fit a pull-down"
    elif level == "hi" and not running:
        advice = "no gate runs and the arm is free: switch the relay's supply off, and check its pull-down"
    return Check("relay pin", Status.FAILED if advice else Status.OK, value, limit, advice)


# Watchdog


def _watchdog(board: Board) -> Check:
    if not board.path("run/systemd/system").is_dir():
        return skipped("watchdog", "systemd does not run here")
    if not board.path("dev/watchdog0").exists() and board.raspberry_pi is None:
        return skipped("watchdog", "this machine has no hardware watchdog")
    try:
        board_s = _ask("systemctl", "show", "--property=RuntimeWatchdogUSec", "--value")
        unit = _ask("systemctl", "show", "gate.service", "--property=LoadState,WatchdogUSec")
    except AnswerError as error:
        return skipped("watchdog", str(error))
    said = dict(line.partition("=")[::2] for line in unit.splitlines())
    unit_s = said.get("WatchdogUSec", "") if said.get("LoadState") == "loaded" else "none"
    armed = {
        f"the board after {board_s}": board_s not in {"", "0"} and board.path("dev/watchdog0").exists(),
        f"the gate after {unit_s}": unit_s not in {"", "0", "infinity", "none"},
    }
    value, limit = ", ".join(what for what, is_armed in armed.items() if is_armed) or "none", "both armed"
    if all(armed.values()):
        return Check("watchdog", Status.OK, f"restarts {value}", limit)
    advice = "install the package health-gate again (it brings both), and restart the machine"
    return Check("watchdog", Status.WARNING, f"armed: {value}", limit, advice)


# Power and boot loader

# Bits of `vcgencmd get_throttled`: now, and 16 above each, since the start (raspberrypi/documentation).
_THROTTLED: Final = {0: "voltage too low", 1: "slowed down", 2: "slowed down hard", 3: "hot"}
_SINCE: Final = 16


def _power(board: Board) -> Check:
    if board.raspberry_pi is None:
        return skipped("power", NO_PI)
    try:
        flags = int(_ask("vcgencmd", "get_throttled").partition("=")[2], 16)
    except (AnswerError, ValueError) as error:
        low = board.supply_low()
        if low is None:
            return skipped("power", str(error))
        flags = int(low)
    now = [words for bit, words in _THROTTLED.items() if flags >> bit & 1]
    before = [words for bit, words in _THROTTLED.items() if flags >> (bit + _SINCE) & 1]
    limit = "no fault since the start"
    if not now and not before:
        return Check("power", Status.OK, "enough, and not too hot", limit)
    value = f"now: {', '.join(now)}" if now else f"since the start: {', '.join(before)}"
    low_ever = _THROTTLED[0] in {*now, *before}
    advice = "take the supply that belongs to the board and a short cable; drive lamps and relay from another"
    if not low_ever:
        advice = "give it air or shade, or a cooler: hot boards are slow, and heat falsifies the thermometer"
    # Never a failure: it comes and goes with the load, and an update that fails anew is rolled back.
    return Check("power", Status.WARNING, value, limit, advice)


# A stable release that knows A/B trial boots (autoboot.txt with tryboot_a_b, documented in October 2022).
BOOT_LOADER_MIN: Final = datetime(2023, 1, 11, tzinfo=UTC)


def _boot_loader(board: Board) -> Check:
    if board.raspberry_pi is None:
        return skipped("boot loader", NO_PI)
    try:
        stamp = board.path("proc/device-tree/chosen/bootloader/build-timestamp").read_bytes()
    except OSError:
        return skipped("boot loader", "this board keeps none of its own (Pi 4 and later do)")
    built = datetime.fromtimestamp(int.from_bytes(stamp, "big"), UTC)
    value, limit = f"of {built:%Y-%m-%d}", f"{BOOT_LOADER_MIN:%Y-%m-%d} or later"
    if built >= BOOT_LOADER_MIN:
        return Check("boot loader", Status.OK, value, limit)
    advice = "rpi-eeprom-update -a, then restart; older ones ignore the trial boot of a new image"
    return Check("boot loader", Status.WARNING, value, limit, advice)


# Card and file system

# Cheap cards are good for some hundred rewrites of the whole; no card says how many it has left.
REWRITES_MAX: Final = 100
_SECTOR: Final = 512
_GB: Final = 1_000_000_000
# "Pre EOL information" of an eMMC (JEDEC JESD84-B51): 1 normal, 2 consumed 80 % of its reserve, 3 urgent.
_EMMC_WARNING, _EMMC_URGENT = 2, 3


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a folder lies: device number, options, type and source of its file system."""

    device: str
    options: frozenset[str]
    kind: str
    source: str


def _disk(board: Board, config: Config | None) -> Iterator[Check]:
    if board.raspberry_pi is None:
        yield from (skipped(name, NO_PI) for name in ("card", "file system"))
        return
    mount = None if config is None else _mount(board, config.gate.state_dir)
    if mount is None:
        yield from (skipped(name, "it is not known where the state folder is") for name in RASPBERRY_PI[-2:])
        return
    yield _card(board, mount)
    yield _file_system(board, mount)


def _mount(board: Board, folder: Path) -> Mount | None:
    """Find the mount that a folder is on; the last of equal length counts (proc_pid_mountinfo(5))."""
    best, found = -1, None
    for line in (board.text("proc/self/mountinfo") or "").splitlines():
        fields = line.split()
        point, (kind, source, *rest) = Path(fields[4]), fields[fields.index("-") + 1 :]
        if (folder == point or point in folder.parents) and len(point.parts) >= best:
            options = frozenset(",".join((fields[5], *rest)).split(","))
            best, found = len(point.parts), Mount(fields[2], options, kind, source)
    return found


def _card(board: Board, mount: Mount) -> Check:
    partition = board.path(f"sys/dev/block/{mount.device}")
    if not partition.exists():
        return skipped("card", f"{mount.source} is no disk of its own")
    disk = partition.resolve().parent
    if not (disk / "device").exists():
        return skipped("card", f"nothing is known about {disk.name}")
    size = _number(disk / "size") * _SECTOR
    written = _number(board.path(f"sys/fs/ext4/{partition.resolve().name}/lifetime_write_kbytes")) * 1024
    name = _line(disk / "device" / "name") or disk.name
    value = f"{name}, {size / _GB:.0f} GB, {written / _GB:,.0f} GB written since it was formatted"
    limit = f"less than {REWRITES_MAX} times its size"
    advice = "replace it soon, with a card made for constant writing (docs/replacing.md)"
    reserve = _number(disk / "device" / "pre_eol_info", base=16)
    if reserve >= _EMMC_WARNING:
        status = Status.FAILED if reserve >= _EMMC_URGENT else Status.WARNING
        return Check("card", status, f"{value}; it says itself that it is worn", limit, advice)
    if size and written >= REWRITES_MAX * size:
        return Check("card", Status.WARNING, value, limit, advice)
    return Check("card", Status.OK, value, limit)


def _file_system(board: Board, mount: Mount) -> Check:
    value, limit = f"{mount.kind} on {mount.source}", "writable, kept, no errors"
    if mount.kind in {"overlay", "tmpfs", "ramfs"}:
        advice = "records are lost at the next start: put the state folder on a partition of its own"
        return Check("file system", Status.FAILED, value, limit, advice)
    if "ro" in mount.options:
        advice = "the kernel has stopped writing, or it was mounted so; see dmesg, replace the card"
        return Check("file system", Status.FAILED, f"{value}, read-only", limit, advice)
    counts = {
        path.parent.name: count
        for path in sorted(board.path("sys/fs/ext4").glob("*/errors_count"))
        if (count := _number(path))
    }
    if not counts:
        return Check("file system", Status.OK, value, limit)
    said = ", ".join(f"{count} errors on {name}" for name, count in counts.items())
    advice = "copy the ledger away, then replace the card (docs/replacing.md); see dmesg"
    return Check("file system", Status.WARNING, said, limit, advice)


def _line(path: Path) -> str:
    try:
        return path.read_text("ascii", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path, *, base: int = 10) -> int:
    try:
        return int(_line(path), base)
    except ValueError:
        return 0
