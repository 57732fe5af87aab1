"""What the doctor says of the board, its card and what is installed: files of a Pi, programs on PATH."""

import grp
import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest import MonkeyPatch, fixture, mark

from gate.app import doctor
from gate.app.application import World
from gate.app.board import Board
from gate.app.doctor import Check, Status
from gate.app.doctor.installed import installed, packages
from gate.app.doctor.raspberry_pi import AnswerError, _ask, raspberry_pi
from gate.config import CameraSection, Config, PinsSection, ThermometerSection
from tests.app.test_doctor import a_config, by_name, only, write_config

STATE = Path("/var/lib/gate")
BOOT_LOADER = 1_736_000_000  # 2025-01-04
MOUNTS = """\
21 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw,errors=remount-ro
22 21 0:20 / /proc rw,nosuid - proc proc rw
23 21 179:1 / /boot/firmware rw,relatime shared:2 - vfat /dev/mmcblk0p1 rw,fmask=0022
"""


class Pi:
    """A machine below a folder: a Pi 4 on which all is well, until something in it is written anew."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.board = Board(root)
        self.bin = root / "usr/bin"
        self.has("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
        self.has("proc/device-tree/chosen/bootloader/build-timestamp", BOOT_LOADER.to_bytes(4, "big"))
        self.has("proc/self/mountinfo", MOUNTS)
        group = grp.getgrgid(os.getgid()).gr_name
        self.has("etc/passwd", "root:x:0:0::/root:/bin/sh\ngate:x:62001:62001::/var/lib/gate:/bin/false\n")
        self.has(
            "etc/group",
            f"{group}-here:x:{os.getgid()}:gate\ngpio:x:62003:gate\ni2c:x:62004:gate,pi\n"
            "video:x:62005:pi,gate\ngate:x:62001:\nspi:x:62006:pi\n",
        )
        for node in ("gpiochip0", "i2c-1", "v4l/by-id/cam"):
            self.has(f"dev/{node}", "").chmod(0o660)
        self.has("dev/watchdog0", "")
        self.has("run/systemd/system/x", "")
        # A list, ended by NUL, as the kernel shows it.
        self.has("sys/bus/gpio/devices/gpiochip0/of_node/compatible", "brcm,bcm2711-gpio\0")
        self.has("sys/bus/gpio/devices/gpiochip1/of_node/compatible", "raspberrypi,firmware-gpio\0")
        self.has("sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
        self.has("sys/class/hwmon/hwmon1/name", "rpi_volt\n")
        self.has("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0\n")
        disk = "sys/devices/platform/emmc2bus/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0"
        self.has(f"{disk}/size", "62333952\n")
        self.has(f"{disk}/device/name", "SD32G\n")
        self.has(f"{disk}/mmcblk0p2/partition", "2\n")
        (root / "sys/dev/block").mkdir(parents=True)
        (root / "sys/dev/block/179:2").symlink_to(root / disk / "mmcblk0p2")
        self.disk = disk
        self.has("sys/fs/ext4/mmcblk0p2/lifetime_write_kbytes", "104857600\n")
        self.has("sys/fs/ext4/mmcblk0p2/errors_count", "0\n")
        self.says("vcgencmd", "throttled=0x0")
        self.says("pinctrl", "17: ip    pd | lo // GPIO17 = input")
        self.systemd("14s", "loaded", "20s")

    def has(self, name: str, content: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def does(self, program: str, script: str) -> None:
        self.has(f"usr/bin/{program}", f"#!/bin/sh\n{script}\n").chmod(0o755)

    def says(self, program: str, words: str) -> None:
        self.does(program, f"echo '{words}'")

    def systemd(self, manager: str, load: str, unit: str) -> None:
        self.does(
            "systemctl",
            f'[ "$2" != gate.service ] && echo {manager} && exit\n'
            f"echo LoadState={load}\necho WatchdogUSec={unit}",
        )

    def checks(self, *, running: bool = False, **changes: Any) -> dict[str, Check]:
        return by_name(raspberry_pi(self.board, a_gate(**changes), running=running))


@fixture
def pi(tmp_path: Path, monkeypatch: MonkeyPatch) -> Pi:
    pi = Pi(tmp_path / "pi")
    monkeypatch.setenv("PATH", f"{pi.bin}:/usr/bin:/bin")
    return pi


def a_gate(**changes: Any) -> Config:
    config = a_config(STATE)
    return replace(config, camera=CameraSection(device="/dev/v4l/by-id/cam"), **changes)


def test_all_is_well_on_a_pi_as_it_should_be(pi: Pi) -> None:
    checks = pi.checks()
    assert {name: check.value for name, check in checks.items() if check.status is not Status.OK} == {}
    assert {check.advice for check in checks.values()} == {""}
    assert {name: check.value for name, check in checks.items()} == {
        "device nodes": "/dev/gpiochip0, /dev/i2c-1, /dev/v4l/by-id/cam",
        "gpio chip": "gpiochip0 is brcm,bcm2711-gpio",
        "relay pin": "GPIO17 input, pulled down, low",
        "watchdog": "restarts the board after 14s, the gate after 20s",
        "power": "enough, and not too hot",
        "boot loader": "of 2025-01-04",
        "card": "SD32G, 32 GB, 107 GB written since it was formatted",
        "file system": "ext4 on /dev/mmcblk0p2",
    }


def test_on_another_machine_each_is_skipped_with_the_reason(pi: Pi) -> None:
    pi.has("proc/device-tree/model", "Some other board\0")
    (pi.root / "dev/watchdog0").unlink()
    checks = pi.checks()
    assert {check.status for check in checks.values()} == {Status.SKIPPED}
    assert checks.pop("watchdog").value == "this machine has no hardware watchdog"
    assert {check.value for check in checks.values()} == {"this is no Raspberry Pi"}


def test_the_whole_names_the_board_s_checks_once(pi: Pi, tmp_path: Path) -> None:
    names = [check.name for check in doctor.examine(tmp_path / "none.toml", World(), pi.board)]
    assert len(names) == len(set(names))
    assert {*pi.checks(), "packages", "user"} <= set(names)


def test_without_a_configuration_what_needs_none_is_examined(pi: Pi) -> None:
    checks = by_name(raspberry_pi(pi.board, None, running=True))
    done = {name for name, check in checks.items() if check.status is Status.OK}
    assert done == {"gpio chip", "watchdog", "power", "boot loader"}


# Device nodes


def test_a_device_that_is_missing_is_named(pi: Pi) -> None:
    (pi.root / "dev/i2c-1").unlink()
    check = pi.checks()["device nodes"]
    assert (check.status, check.value) == (Status.FAILED, "/dev/i2c-1: No such file or directory")
    assert "switch I2C on" in check.advice
    assert pi.checks(thermometer=ThermometerSection(bus="simulated"))["device nodes"].status is Status.OK


def test_no_gpio_chip_at_all_is_a_missing_device(pi: Pi) -> None:
    (pi.root / "dev/gpiochip0").unlink()
    assert pi.checks()["device nodes"].status is Status.FAILED
    assert pi.checks(pins=PinsSection(factory="mock"))["device nodes"].status is Status.OK


@mark.parametrize(("mode", "status"), [(0o660, Status.OK), (0o640, Status.FAILED), (0o606, Status.FAILED)])
def test_a_device_must_be_for_a_group_of_the_gate(pi: Pi, mode: int, status: Status) -> None:
    (pi.root / "dev/i2c-1").chmod(mode)
    check = pi.checks()["device nodes"]
    assert check.status is status
    assert ("not for this user" in check.value) is (status is Status.FAILED)


@mark.parametrize(("mode", "status"), [(0o660, Status.FAILED), (0o606, Status.OK)])
def test_a_device_of_a_foreign_group_counts_by_what_all_may(pi: Pi, mode: int, status: Status) -> None:
    groups = (pi.root / "etc/group").read_text().replace(f":{os.getgid()}:gate", f":{os.getgid()}:")
    pi.has("etc/group", groups)
    (pi.root / "dev/i2c-1").chmod(mode)
    for node in ("gpiochip0", "v4l/by-id/cam"):
        (pi.root / "dev" / node).chmod(0o666)
    assert pi.checks()["device nodes"].status is status


def test_the_gate_s_user_itself_asks_the_kernel(pi: Pi) -> None:
    """In the sandbox of a unit groups cannot be told by their numbers."""
    pi.has("etc/passwd", f"gate:x:{os.geteuid()}:62001::/var/lib/gate:/bin/false\n")
    node = pi.root / "dev/i2c-1"
    node.chmod(0o060)  # against the numbers: the owner may not, whatever the group may
    may = os.access(node, os.R_OK | os.W_OK)
    assert pi.checks()["device nodes"].status is (Status.OK if may else Status.FAILED)


# The user


def test_the_user_is_in_the_groups_that_its_devices_need(pi: Pi) -> None:
    check = by_name(installed(pi.board, a_gate()))["user"]
    assert (check.status, check.limit) == (Status.OK, "gpio, i2c, video")


def test_a_missing_group_is_named_with_the_command(pi: Pi) -> None:
    pi.has("etc/group", "gpio:x:62003:gate\ni2c:x:62004:gates\ngate:x:62001:\n")
    check = by_name(installed(pi.board, a_gate()))["user"]
    assert (check.status, check.value) == (Status.FAILED, "gate in gate, gpio")
    assert check.advice.startswith("usermod --append --groups i2c,video gate;")
    pictures = replace(
        a_gate(thermometer=ThermometerSection(bus="simulated")), camera=CameraSection("folder", path=Path())
    )
    assert by_name(installed(pi.board, pictures))["user"].status is Status.OK


def test_no_user_is_a_fault_of_a_pi_only(pi: Pi) -> None:
    pi.has("etc/passwd", "root:x:0:0::/root:/bin/sh\n")
    check = by_name(installed(pi.board, None))["user"]
    assert check.status is Status.FAILED
    assert "install the package health-gate" in check.advice
    assert pi.checks()["device nodes"].value == "see user"
    pi.has("proc/device-tree/model", "")
    assert by_name(installed(pi.board, None))["user"].status is Status.SKIPPED


# Packages


def distribution(folder: Path, name: str, version: str, *needs: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {need}" for need in needs)]))


NEEDS = ("cbor2>=5.6", "paho-mqtt<3,>=2.1", 'apprise>=1.9; extra == "central"')


@mark.parametrize(
    ("cbor2", "paho", "value"),
    [
        ("5.6.5", "2.1", "health-gate 0.1.0, 2 libraries"),
        ("5.6", "2.1.0+dfsg1", "health-gate 0.1.0, 2 libraries"),
        ("5.10", "10.0", "health-gate 0.1.0, 2 libraries"),
        ("5.5.9", "2.1", "cbor2 is 5.5.9, needed is 5.6"),
        ("5.6", "1.6.1", "paho-mqtt is 1.6.1, needed is 2.1"),
        ("5.6", None, "paho-mqtt is missing"),
    ],
)
def test_libraries_have_the_versions_that_the_package_asks_for(
    tmp_path: Path, cbor2: str, paho: str | None, value: str
) -> None:
    distribution(tmp_path, "health-gate", "0.1.0", *NEEDS)
    distribution(tmp_path, "cbor2", cbor2)
    if paho:
        distribution(tmp_path, "paho-mqtt", paho)
    check = packages([str(tmp_path)])
    assert check.value == value
    assert check.status is (Status.OK if "libraries" in value else Status.FAILED)


def test_a_library_without_metadata_is_there_if_its_module_is(tmp_path: Path) -> None:
    distribution(tmp_path, "health-gate", "0.1.0", "zxing-cpp>=2.3")
    assert packages([str(tmp_path)]).value == "zxing-cpp is missing"
    (tmp_path / "zxingcpp.py").touch()
    assert packages([str(tmp_path)]).status is Status.OK


def test_a_checkout_that_is_not_installed_says_so(tmp_path: Path) -> None:
    assert packages([str(tmp_path)]).status is Status.SKIPPED


# Pins


def test_the_chip_of_the_header_may_have_any_number(pi: Pi) -> None:
    for number, compatible in ((0, "brcm,brcmstb-gpio\0"), (4, "raspberrypi,rp1-gpio\0")):
        pi.has(f"sys/bus/gpio/devices/gpiochip{number}/of_node/compatible", compatible)
    assert pi.checks()["gpio chip"].value == "gpiochip4 is raspberrypi,rp1-gpio"
    (pi.root / "sys/bus/gpio/devices/gpiochip4/of_node/compatible").unlink()
    check = pi.checks()["gpio chip"]
    assert check.status is Status.FAILED
    assert check.value.endswith("gpiochip4 is unknown")


@mark.parametrize(
    ("said", "running", "status", "words"),
    [
        ("17: ip    pn | lo // GPIO17 = input", False, Status.OK, "input, no pull, low"),
        ("17: op dl pd | lo // GPIO17 = output", False, Status.OK, "output, pulled down, low"),
        ("17: op dl -- | lo // GPIO17 = output", False, Status.OK, "output, pull unknown, low"),
        ("17: ip    pu | hi // GPIO17 = input", False, Status.FAILED, "input, pulled up, high"),
        ("17: ip    pu | lo // GPIO17 = input", True, Status.FAILED, "input, pulled up, low"),
        ("17: op dh pn | hi // GPIO17 = output", False, Status.FAILED, "output, no pull, high"),
        ("17: op dh pn | hi // GPIO17 = output", True, Status.OK, "output, no pull, high"),
        ("17: a3    pd | lo // GPIO17 = RTS0", False, Status.FAILED, "function a3, pulled down, low"),
        ("27: ip    pu | lo // GPIO27 = input", False, Status.SKIPPED, "not understood"),
        ("Unknown GPIO", False, Status.SKIPPED, "not understood"),
    ],
)
def test_the_relay_s_pin(pi: Pi, said: str, running: bool, status: Status, words: str) -> None:
    pi.says("pinctrl", said)
    check = pi.checks(running=running)["relay pin"]
    assert check.status is status
    assert check.value.endswith(words)
    assert bool(check.advice) is (status is Status.FAILED)


def test_the_pin_that_is_configured_is_asked_for_and_only_read(pi: Pi) -> None:
    pi.does("pinctrl", 'echo "$@" > "$0.asked"; echo "$2: ip    pd | lo // GPIO$2 = input"')
    assert pi.checks(pins=PinsSection(relay=20))["relay pin"].value == "GPIO20 input, pulled down, low"
    assert (pi.bin / "pinctrl.asked").read_text() == "get 20\n"


def test_programs_that_are_missing_fail_or_hang_are_reasons_to_skip(pi: Pi, monkeypatch: MonkeyPatch) -> None:
    (pi.bin / "pinctrl").unlink()
    assert pi.checks()["relay pin"].value == "pinctrl is not installed"
    pi.does("pinctrl", "echo cannot open /dev/gpiomem >&2; exit 1")
    assert pi.checks()["relay pin"].value == "pinctrl: cannot open /dev/gpiomem"
    pi.does("pinctrl", "exit 3")
    assert pi.checks()["relay pin"].value == "pinctrl: exit status 3"
    monkeypatch.setattr("gate.app.doctor.raspberry_pi.ANSWER_S", 0.1)
    pi.does("pinctrl", "exec sleep 30")
    began_s = time.monotonic()
    assert "does not answer" in pi.checks()["relay pin"].value
    assert time.monotonic() - began_s < 10
    try:
        _ask("no-such-program")
    except AnswerError as error:
        assert "not installed" in str(error)


# Watchdog


@mark.parametrize(
    ("manager", "load", "unit", "value"),
    [
        ("0", "loaded", "20s", "armed: the gate after 20s"),
        ("14s", "loaded", "0", "armed: the board after 14s"),
        ("14s", "loaded", "infinity", "armed: the board after 14s"),
        ("14s", "not-found", "infinity", "armed: the board after 14s"),
        ("0", "not-found", "0", "armed: none"),
    ],
)
def test_a_watchdog_that_is_not_armed(pi: Pi, manager: str, load: str, unit: str, value: str) -> None:
    pi.systemd(manager, load, unit)
    check = pi.checks()["watchdog"]
    assert (check.status, check.value) == (Status.WARNING, value)


def test_a_watchdog_that_systemd_asks_for_and_the_board_does_not_have(pi: Pi) -> None:
    (pi.root / "dev/watchdog0").unlink()
    assert pi.checks()["watchdog"].value == "armed: the gate after 20s"


def test_no_systemd_no_watchdog(pi: Pi) -> None:
    (pi.root / "run/systemd/system/x").unlink()
    (pi.root / "run/systemd/system").rmdir()
    assert pi.checks()["watchdog"].value == "systemd does not run here"


# Power and boot loader


@mark.parametrize(
    ("flags", "value", "advice"),
    [
        ("0x50005", "now: voltage too low, slowed down hard", "take the supply"),
        ("0x10000", "since the start: voltage too low", "take the supply"),
        ("0x80008", "now: hot", "give it air"),
        ("0xe0000", "since the start: slowed down, slowed down hard, hot", "give it air"),
    ],
)
def test_power(pi: Pi, flags: str, value: str, advice: str) -> None:
    pi.says("vcgencmd", f"throttled={flags}")
    check = pi.checks()["power"]
    assert (check.status, check.value) == (Status.WARNING, value)
    assert check.advice.startswith(advice)


def test_without_vcgencmd_the_kernel_s_monitor_is_asked(pi: Pi) -> None:
    (pi.bin / "vcgencmd").unlink()
    assert pi.checks()["power"].status is Status.OK
    pi.has("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    assert pi.checks()["power"].value == "now: voltage too low"
    pi.has("sys/class/hwmon/hwmon1/name", "other\n")
    assert pi.checks()["power"].value == "vcgencmd is not installed"
    pi.says("vcgencmd", "error=1 error_msg=Command not registered")
    assert pi.checks()["power"].status is Status.SKIPPED


def test_an_old_boot_loader(pi: Pi) -> None:
    stamp = "proc/device-tree/chosen/bootloader/build-timestamp"
    newest_old = int(datetime(2023, 1, 10, 23, 59, 59, tzinfo=UTC).timestamp())
    pi.has(stamp, newest_old.to_bytes(4, "big"))
    check = pi.checks()["boot loader"]
    assert (check.status, check.value) == (Status.WARNING, "of 2023-01-10")
    pi.has(stamp, (newest_old + 1).to_bytes(4, "big"))
    assert pi.checks()["boot loader"].status is Status.OK
    (pi.root / stamp).unlink()
    assert pi.checks()["boot loader"].status is Status.SKIPPED


# Card and file system


def test_a_card_that_has_been_written_over_and_over(pi: Pi) -> None:
    limit_kb = 62333952 * 512 * 100 // 1024
    written = "sys/fs/ext4/mmcblk0p2/lifetime_write_kbytes"
    pi.has(written, f"{limit_kb}\n")
    assert pi.checks()["card"].status is Status.WARNING
    pi.has(written, f"{limit_kb - 1}\n")
    assert pi.checks()["card"].status is Status.OK


@mark.parametrize(
    ("reserve", "status"), [("0x01", Status.OK), ("0x02", Status.WARNING), ("0x03", Status.FAILED)]
)
def test_an_emmc_says_itself_that_it_is_worn(pi: Pi, reserve: str, status: Status) -> None:
    pi.has(f"{pi.disk}/device/pre_eol_info", reserve)
    assert pi.checks()["card"].status is status


@mark.parametrize(
    ("mount", "value"),
    [
        ("30 21 0:40 / /var/lib/gate rw - tmpfs tmpfs rw", "tmpfs on tmpfs"),
        ("30 21 0:41 / / rw - overlay overlay rw,lowerdir=/l", "overlay on overlay"),
        ("30 21 179:2 / /var ro,relatime - ext4 /dev/mmcblk0p2 rw", "ext4 on /dev/mmcblk0p2, read-only"),
        ("30 21 179:2 / /var rw - ext4 /dev/mmcblk0p2 ro", "ext4 on /dev/mmcblk0p2, read-only"),
    ],
)
def test_a_state_folder_that_does_not_keep_anything(pi: Pi, mount: str, value: str) -> None:
    pi.has("proc/self/mountinfo", f"{MOUNTS}{mount}\n")
    check = pi.checks()["file system"]
    assert (check.status, check.value) == (Status.FAILED, value)


def test_of_several_mounts_the_one_that_the_folder_is_on_counts(pi: Pi) -> None:
    places = ("/var/lib/gateway", "/var/lib/ga", "/tmp")
    elsewhere = [f"3{at} 21 0:4{at} / {place} rw - tmpfs tmpfs rw\n" for at, place in enumerate(places)]
    pi.has("proc/self/mountinfo", MOUNTS + "".join(elsewhere))
    assert pi.checks()["file system"].status is Status.OK


def test_errors_of_any_partition_are_told(pi: Pi) -> None:
    pi.has("sys/fs/ext4/mmcblk0p3/errors_count", "3\n")
    check = pi.checks()["file system"]
    assert (check.status, check.value) == (Status.WARNING, "3 errors on mmcblk0p3")
    assert "replace the card" in check.advice


def test_a_disk_of_which_nothing_is_known(pi: Pi) -> None:
    pi.has("proc/self/mountinfo", MOUNTS.replace("179:2", "259:9"))
    assert pi.checks()["card"].value == "/dev/mmcblk0p2 is no disk of its own"
    pi.has("proc/self/mountinfo", "")
    assert {pi.checks()[name].status for name in ("card", "file system")} == {Status.SKIPPED}


def test_a_simulated_gate_on_a_pi_is_not_asked_for_devices(pi: Pi, tmp_path: Path) -> None:
    path = write_config(tmp_path, extra=f'[simulation]\nworld_log = "{tmp_path / "world.jsonl"}"')
    path.write_text(path.read_text().replace('[camera]\ndevice = "/dev/v4l/by-id/none"', ""))
    checks = by_name(doctor.examine(path, World(), pi.board))
    assert checks["relay pin"].value == "all hardware is simulated"
    assert checks["user"].status is Status.OK


def test_only_one_check_for_a_missing_user(pi: Pi) -> None:
    assert only(check for check in installed(pi.board, None) if check.name == "user").status is Status.OK
