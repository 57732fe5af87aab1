"""What runs in the machine at each of its starts: sets the scene, lets the gate start, plays what it is told.

The kernel's command line says what: `bench.play=day` (every scenario, then a kernel panic; after the reset by
the watchdog visitors until the power is cut), `crowd` (visitors until the power is cut), `end` (the account).
All that is seen and found goes to the share, which is on the host.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from place import Place

SHARE: Final = Path("/mnt/share")
PROJECT: Final = Path("/usr/share/health-gate")
CONFIG: Final = Path("/etc/gate")
PANIC: Final = SHARE / "panic.json"
# Those who wait wait for the slow machine, not for people.
POLICY: Final = """\
extends = "county-hall"
name = "bench-hall"
[timing]
evidence_age_max_s = 180
collect_s = 60
retest_wait_s = 1
cure_s = 60
pass_s = 60
farewell_s = 1
"""
GATE_TOML: Final = """\
[gate]
site = "{site}"
id = "vm-1"
policy = "{folder}/bench-hall.toml"
lang = "en"
clock = "always_trusted"
trust_files = ["{folder}/trust.toml"]
[mqtt]
host = "127.0.0.1"
port = 1883
[camera]
source = "v4l2"
device = "{camera}"
width = 640
height = 480
fps = 2
[thermometer]
bus = "{bus}"
[pins]
{pins}
"""


def main() -> None:
    """Play one start of the machine to its end."""
    play = _told("bench.play")
    installed = PROJECT.exists()
    if not installed:  # the gate waits for us, and installing it may wait for the gate
        _ready()
        _timed("package installed", _install)
    sys.path.insert(0, str(PROJECT))
    os.environ["PYTHONPATH"] = str(PROJECT)  # of our children
    from board import CAMERA, boot_id, run, set_up
    from place import PINS, SITE, Place

    place = Place(set_up(), SHARE)
    pins = "\n".join(f"{name} = {number}" for name, number in PINS.items())
    _put("trust.toml", place.trust())
    _put("bench-hall.toml", POLICY)
    _put("gate.toml", GATE_TOML.format(site=SITE, folder=CONFIG, camera=CAMERA, bus=place.bus, pins=pins))
    since = len(place.events.all)
    if installed:
        _account(run)
        _ready()
    else:
        run("systemctl", "daemon-reload")
    run("udevadm", "settle")
    run("systemctl", "start", "gate.service", within_s=300)
    if play == "day" and not PANIC.exists():
        place.events.wait("gate.started", since, within_s=120)
        _play_day(place)
        PANIC.write_text(json.dumps({"boot_id": boot_id(), "wall_s": _wall_s()}))
        Path("/proc/sysrq-trigger").write_text("c")
    if play == "day":
        _timed("hardware watchdog", partial(_was_reset, place))
    if play == "end":
        _timed("after the last power cut", partial(_last_visitor, place))
        run("systemctl", "stop", "gate.service")
        _account(run)
        run("systemctl", "poweroff", "--no-block")
        return
    _crowd(place)


def _told(name: str) -> str:
    words = dict(word.partition("=")[::2] for word in Path("/proc/cmdline").read_text().split())
    return words[name]


def _ready() -> None:
    """Tell systemd that what stands around the gate is there; sd_notify(3)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect(os.environ["NOTIFY_SOCKET"])
        notify.send(b"READY=1")


def _install() -> str:
    """Install the package, or where none was built, the same files as a tree."""
    from board import run

    packages = sorted(SHARE.glob("*.deb"))
    for package in packages:
        run("dpkg", "-i", str(package), within_s=600)
    if not packages:
        run("tar", "-xf", str(SHARE / "project.tar"), "-C", "/", "--no-same-owner")
        run("systemd-sysusers")
        run("systemd-tmpfiles", "--create")
        run("udevadm", "control", "--reload")
        run("systemctl", "enable", "gate.service")
    # What the next start reads: the hardware watchdog is armed by systemd itself.
    run("systemctl", "daemon-reexec")
    return ", ".join(package.name for package in packages) or "no package was built: installed from the tree"


def _put(name: str, text: str) -> None:
    part, file = CONFIG / f".{name}", CONFIG / name
    part.write_text(text)
    part.chmod(0o640)
    shutil.chown(part, group="gate")
    part.replace(file)


def _account(run: Callable[..., str]) -> None:
    """Put the ledger on the share, as the disk has it before the gate opens it again."""
    number = len(list(SHARE.glob("ledger-*.jsonl")))
    ledger = "/var/lib/gate/ledger.db"
    run("runuser", "-u", "gate", "--", "gate", "ledger", "verify", ledger)
    lines = run("runuser", "-u", "gate", "--", "gate", "ledger", "export", ledger)
    part = SHARE / "ledger.part"
    part.write_text(lines)
    part.rename(SHARE / f"ledger-{number}.jsonl")


def _play_day(place: "Place") -> None:
    from scenarios import DAY

    for scenario in DAY:
        _timed(scenario.__name__.replace("_", " "), partial(scenario, place))
        place.tidy()


def _was_reset(place: "Place") -> str:
    from board import boot_id
    from scenarios import check, visitor_passes

    panic = json.loads(PANIC.read_text())
    check(panic["boot_id"] != boot_id(), "the machine did not start anew")
    visitor_passes(place)
    return f"reset after a kernel panic, a visitor passed {_wall_s() - panic['wall_s']} s after it"


def _wall_s() -> int:
    from gate.shell.clock import SystemClock

    return SystemClock(lambda: True).now().wall_s


def _last_visitor(place: "Place") -> str:
    from scenarios import visitor_passes

    return visitor_passes(place)


def _crowd(place: "Place") -> None:
    from scenarios import visitor_passes

    while True:
        visitor_passes(place)


def _timed(name: str, scenario: Callable[[], str]) -> None:
    began, ok = time.monotonic(), True
    try:
        detail = scenario()
    except Exception as error:  # noqa: BLE001 - whatever it is, the table says so and the bench goes on
        ok, detail = False, f"{type(error).__name__}: {error}"
    _result(name, detail, round(time.monotonic() - began), ok=ok)
    if not ok:
        _keep_journal()


def _keep_journal() -> None:
    with (SHARE / "journal.txt").open("w") as file:
        subprocess.run(["journalctl", "-b", "--no-pager", "-o", "short-monotonic"], stdout=file, check=True)


def _result(name: str, detail: str, seconds: int, *, ok: bool) -> None:
    line = {"name": name, "detail": detail, "seconds": seconds, "ok": ok}
    with (SHARE / "results.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001 - the host is told, and not left waiting
        traceback.print_exc()
        _result("the bench itself", f"{type(error).__name__}: {error}", 0, ok=False)
        _keep_journal()
        subprocess.run(["systemctl", "poweroff", "--no-block"], check=True)
