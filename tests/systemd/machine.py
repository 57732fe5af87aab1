"""A booted Debian 13 in systemd-nspawn: real systemd, real apt, the real package, on this machine's kernel.

What it is not: it shares the kernel, its clock and its page cache. A power cut here ends every process at one
instant, but what was written and not flushed is still there afterwards (tests/store cuts writes, tests/vm the
machine). There are no devices; on a host with a mixed cgroup hierarchy systemd 257 enforces neither MemoryMax
nor DevicePolicy. Its network is a cable to this machine, which is OFFICE at the other end, and nothing else.
"""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from tests.brokers import require, wait_for
from tests.systemd.rootfs import PATH, Overlay, require_root

BOOT_S = 90.0
# Of the block for measurements (RFC 2544), where no real host is; another one for each test process.
NETWORK = f"198.18.{os.getpid() % 256}"
OFFICE = f"{NETWORK}.1"
HALT_S = 60.0
REBOOTED = 133  # what systemd-nspawn --keep-unit ends with when the system inside has rebooted
# What configures networks inside leaves the end of the cable alone.
CABLE = "[Match]\nName=host0\n[Link]\nUnmanaged=yes\n"
_numbers = itertools.count(2)
CLOCKS = {"boottime": time.CLOCK_BOOTTIME, "monotonic": time.CLOCK_MONOTONIC}
# The pid namespace of the overlay's shell needs a proc of its own, or nspawn does not find its child.
START = 'mount -t proc proc /proc; for file in $0; do echo 0 >"$file/cgroup.procs"; done; exec "$@"'


class Machine:
    """One system with a disk of its own, an overlay. It is off at first, and at the end of the block."""

    def __init__(self, folder: Path, below: Sequence[Path], name: str = "hg", serial: str = "") -> None:
        require_root()
        folder.mkdir(parents=True, exist_ok=True)
        self._nspawn = require("systemd-nspawn", "systemd-container")
        require("ip", "iproute2")
        self.disk = Overlay(folder / "disk", below)
        # Names of containers are unique on a host; several test processes may each have their own. Interfaces
        # are called after them, and have 15 characters at most.
        self._name = f"{name[:6]}{os.getpid() % 10**6}"
        self.address = f"{NETWORK}.{next(_numbers)}"
        self.arguments: list[str] = []  # of the kernel's command line, as far as a container has one
        self._console = folder / "console.log"
        _write(self.disk.folder / "upper/etc/systemd/network/10-cable.network", CABLE)
        self._cpuinfo = _cpuinfo(self.disk.folder / "upper/etc/cpuinfo", serial) if serial else None
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    # ---- power -----------------------------------------------------------------------------------------

    def boot(self) -> float:
        """Switch on and wait until systemd has started all it starts. Return the seconds that took."""
        began = time.monotonic()
        self.start()
        self.settle()
        return time.monotonic() - began

    def start(self, uptime_s: float = 0) -> None:
        """Switch on, and return once there is a systemd to talk to.

        The clocks that count from boot begin at `uptime_s`, as seen inside; wall time is this machine's.
        """
        command = [
            self._nspawn,
            f"--directory={self.disk.root}",
            f"--machine={self._name}",
            "--register=no",
            "--keep-unit",
            "--boot",
            "--console=pipe",
            "--network-veth",
            # The kernel's clock may be read as on a board, not set.
            "--system-call-filter=adjtimex clock_adjtime",
            *([f"--bind-ro=/etc/{self._cpuinfo.name}:/proc/cpuinfo"] if self._cpuinfo else []),
            *self.arguments,
        ]
        groups = " ".join(map(str, self._groups()))
        with self._console.open("ab") as console:
            self._process = subprocess.Popen(
                [*_since_boot(uptime_s), *self.disk.mounted("sh", "-ec", START, groups, *command)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd="/",
            )
        self._leader = wait_for(self._find_leader, BOOT_S, "the container's first process")
        self.plug_in()
        wait_for(lambda: self._gone() or self._talks(), BOOT_S, "systemd to answer")
        self._must_run()

    def plug_in(self) -> None:
        """Connect the cable."""
        network = ["nsenter", f"--target={self._leader}", "--net"]
        looked = [*network, "ip", "link", "show", "host0"]
        wait_for(
            lambda: not subprocess.run(looked, capture_output=True, check=False).returncode, 10, "the cable"
        )
        for before, own, peer, link in (
            (network, self.address, OFFICE, "host0"),
            ([], OFFICE, self.address, f"ve-{self._name}"),
        ):
            subprocess.run([*before, "ip", "addr", "replace", own, "peer", peer, "dev", link], check=True)
            subprocess.run([*before, "ip", "link", "set", link, "up"], check=True)

    def unplug(self) -> None:
        """Pull the cable out."""
        subprocess.run(["ip", "link", "set", f"ve-{self._name}", "down"], check=True)

    def settle(self, within_s: float = BOOT_S) -> str:
        """Wait until the boot is over; return what `systemctl is-system-running` says."""
        done = self.run("systemctl is-system-running --wait", check=False, timeout=within_s)
        return done.stdout.strip()

    def cut_power(self) -> None:
        """End every process at once, without a word to any of them."""
        assert self._process
        self._process.kill()
        self._process.wait(HALT_S)
        self._sweep()

    def halt(self) -> None:
        """Shut down in order."""
        self.run("systemctl --no-block poweroff")
        self.wait_ended(HALT_S)

    def wait_ended(self, within_s: float) -> int:
        """Wait until the system is off; return nspawn's status: REBOOTED for a reboot, 0 for power off."""
        assert self._process
        try:
            status = self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the system is still up after {within_s} s\n{self.journal()}") from None
        self._sweep()
        return status

    def is_up(self) -> bool:
        """Return whether it is switched on."""
        return self._process is not None and self._process.poll() is None

    # ---- inside ----------------------------------------------------------------------------------------

    def run(
        self, command: str, *, check: bool = True, timeout: float = 60, stdin: str = "", user: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command in the running system, as root or as another user.

        It runs beside systemd, in no unit. AssertionError with its output if it fails, unless not `check`.
        """
        self._must_run()
        argv = [*self._enter(), "env", "-i", f"PATH={PATH}", "LANG=C.UTF-8", "HOME=/root", "SYSTEMD_PAGER="]
        argv += ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        done = subprocess.run(
            [*argv, "sh", "-c", command],
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
            input=stdin,
            cwd="/",
        )
        if check and done.returncode:
            raise AssertionError(f"{command!r} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def put(self, path: str, content: str | bytes, mode: int = 0o644, owner: str = "root:root") -> None:
        """Write a file, whether the system is on or off."""
        data = content.encode() if isinstance(content, str) else content
        folder = Path(path).parent
        script = f"mkdir -p {folder} && cat >{path} && chmod {mode:o} {path} && chown {owner} {path}"
        if self.is_up():
            argv = [*self._enter(), "env", "-i", f"PATH={PATH}", "sh", "-c", script]
            subprocess.run(argv, check=True, input=data, cwd="/")
        else:
            self.disk.run(script, stdin=data)

    def put_folder(self, path: str, folder: Path) -> None:
        """Copy a folder of this machine into the system that is off, with modes, all owned by root."""
        script = f"mkdir -p {path} && cp -rT /mnt {path} && chown -R root:root {path}"
        self.disk.run(script, binds={folder: "/mnt"})

    def read(self, path: str) -> str:
        """Return a file's text, whether the system is on or off."""
        return (self.run if self.is_up() else self.disk.run)(f"cat {path}").stdout

    def exists(self, path: str) -> bool:
        """Return whether there is such a file or folder."""
        return not (self.run if self.is_up() else self.disk.run)(f"test -e {path}", check=False).returncode

    def property(self, unit: str, name: str) -> str:
        """Return one property of a unit as systemd shows it."""
        return self.run(f"systemctl show --value --property {name} {unit}").stdout.strip()

    def properties(self, unit: str, *names: str) -> dict[str, str]:
        """Return properties of a unit."""
        lines = self.run(f"systemctl show --property {','.join(names)} {unit}").stdout.splitlines()
        return dict(line.split("=", 1) for line in lines)

    def main_pid(self, unit: str) -> int:
        """Return the process id of a unit's main process as the host sees it, 0 if there is none."""
        pid = int(self.property(unit, "MainPID"))
        return self._outside(pid) if pid else 0

    def signal(self, unit: str, number: int) -> None:
        """Send a signal to a unit's main process alone."""
        self.run(f"systemctl kill --kill-whom=main --signal={signal.Signals(number).name} {unit}")

    def journal(self, unit: str = "", *, more: str = "") -> str:
        """Return the journal's messages, of one unit (what systemd says of it included), oldest first.

        With the system off, of what its disk has kept.
        """
        chosen = f"--unit {unit}" if unit else ""
        command = f"journalctl --quiet --no-pager --output short-precise {chosen} {more}"
        return (self.run if self.is_up() else self.disk.run)(command, check=False).stdout

    def messages(self, unit: str) -> list[dict[str, Any]]:
        """Return the journal's entries of a unit with all their fields."""
        command = f"journalctl --quiet --no-pager --output json --unit {unit}"
        return [json.loads(line) for line in self.run(command).stdout.splitlines()]

    def wait_for(self, condition: Callable[[], Any], within_s: float, what: str) -> Any:
        """Wait until a condition holds and return its value; on failure the journal's end is shown."""
        deadline = time.monotonic() + within_s
        pause = threading.Event()
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {within_s} s in vain for {what}\n{self.journal(more='-n 60')}")
            pause.wait(0.1)
        return value

    def wait_active(self, unit: str, within_s: float = 60) -> None:
        """Wait until a unit is active."""
        self.wait_for(
            lambda: self.property(unit, "ActiveState") == "active", within_s, f"{unit} to be active"
        )

    # ---- how -------------------------------------------------------------------------------------------

    def _enter(self) -> list[str]:
        return [
            "nsenter",
            f"--target={self._leader}",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--time",
            "--root",
            "--wd",
        ]

    def _groups(self) -> list[Path]:
        """Make a control group of its own wherever systemd inside looks for one.

        Containers that share one would kill each other's services.
        """
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
        own = [(Path(where), options) for _, where, kind, options, *_ in mounts if kind.startswith("cgroup")]
        chosen = [where for where, options in own if where.name == "unified" or "name=systemd" in options]
        groups = [where / self._name for where in chosen or [Path("/sys/fs/cgroup")]]
        for group in groups:
            group.mkdir(exist_ok=True)
        return groups

    def _sweep(self) -> None:
        """Remove the control groups, innermost first; their processes have ended."""
        for group in self._groups():
            wait_for(partial(_removed, group), 10, f"the processes of {group} to be gone")
        self._leader = 0

    def _find_leader(self) -> int:
        """Return the container's first process: the one whose innermost pid is 1, below nspawn's own."""
        if self._gone():
            raise AssertionError("systemd-nspawn ended:\n" + self._console.read_text(errors="replace"))
        assert self._process
        for pid in _descendants(self._process.pid):
            numbers = _status(pid, "NSpid")
            if len(numbers) >= 3 and numbers[-1] == "1":
                return pid
        return 0

    def _outside(self, pid: int) -> int:
        found = [one for one in _descendants(self._leader) if _status(one, "NSpid")[-1:] == [str(pid)]]
        return found[0] if found else 0

    def _talks(self) -> bool:
        line = [*self._enter(), "systemctl", "is-system-running"]
        states = {"initializing", "starting", "running", "degraded", "maintenance"}
        return subprocess.run(line, check=False, capture_output=True, text=True).stdout.strip() in states

    def _gone(self) -> bool:
        return not self.is_up()

    def _must_run(self) -> None:
        if self._gone():
            status = self._process.returncode if self._process else None
            raise AssertionError(
                f"the system is off ({status}):\n" + self._console.read_text(errors="replace")
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_up():
            self.cut_power()


def _cpuinfo(path: Path, serial: str) -> Path:
    """Write what /proc/cpuinfo of a board says at its end, and return the file."""
    return _write(path, f"processor\t: 0\n\nRevision\t: c03114\nSerial\t\t: {serial}\nModel\t\t: none\n")


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def _since_boot(uptime_s: float) -> list[str]:
    """Return what gives a command clocks that began to count `uptime_s` ago (time_namespaces(7))."""
    # Rounded so that no clock is before its beginning, which the kernel refuses.
    back = {name: int(uptime_s) - int(time.clock_gettime(clock)) for name, clock in CLOCKS.items()}
    return ["unshare", "--time", *(f"--{name}={offset}" for name, offset in back.items())]


def _removed(group: Path) -> bool:
    """Remove a control group and those in it, innermost first; False while a process is in one."""
    try:
        for folder in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            folder.rmdir()
        group.rmdir()
    except OSError:
        return False
    return True


def _descendants(pid: int) -> list[int]:
    """Return the processes below a process, its children first; what ends meanwhile is left out."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text("ascii").split())
    return found + [deeper for child in found for deeper in _descendants(child)]


def _status(pid: int, key: str) -> list[str]:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
            if line.startswith(key + ":"):
                return line.split()[1:]
    return []
