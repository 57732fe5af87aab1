"""The gate as a service in a booted Debian 13: readiness, sandbox, watchdog, restarts, and where they end."""

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.systemd.conftest import NEW_MACHINE
from tests.systemd.freezing import frozen
from tests.systemd.machine import REBOOTED, Machine
from tests.systemd.settings import SCENE, STATE, gate_toml

pytestmark = [pytest.mark.nspawn, pytest.mark.timeout(400)]
UNIT = "gate.service"
BROKEN = 'raise RuntimeError("broken on purpose")'
CONFIG = "/etc/gate/gate.toml"


def configured(machine: Machine, config: str = "") -> Machine:
    """Give a machine that is off a configuration and a scene for its camera."""
    machine.put(CONFIG, config or gate_toml(), 0o640, "root:gate")
    machine.put("/srv/scene.json", SCENE)
    return machine


@pytest.fixture
def gate(new_machine: NEW_MACHINE) -> Machine:
    """A machine on which the gate serves."""
    machine = configured(new_machine())
    machine.boot()
    machine.wait_active(UNIT)
    return machine


def test_unconfigured_package_stays_off_without_an_error(new_machine: NEW_MACHINE) -> None:
    machine = new_machine()
    machine.boot()
    assert machine.settle() == "running", machine.run("systemctl --failed").stdout
    assert machine.properties(UNIT, "ActiveState", "ConditionResult") == {
        "ActiveState": "inactive",
        "ConditionResult": "no",
    }


def test_serves_after_boot_says_ready_and_what_it_does(gate: Machine, shown: Callable[[str], None]) -> None:
    says = gate.properties(
        UNIT, "StatusText", "NRestarts", "InactiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic"
    )
    assert "serving" in says["StatusText"]
    assert says["NRestarts"] == "0"
    started, ready = (
        int(says[f"{name}TimestampMonotonic"]) / 1e6 for name in ("InactiveExit", "ActiveEnter")
    )
    shown(f"unit start to READY {ready - started:.2f} s")
    # Ready means ready: whoever asks the desk is answered.
    status = gate.run("gate desk show", user="gate")
    assert "serving" in status.stdout
    assert gate.settle() == "running", gate.run("systemctl --failed").stdout


def test_sandboxed(gate: Machine, shown: Callable[[str], None]) -> None:
    confined(gate, UNIT, "gate", writable=STATE, closed=("/usr", "/etc", "/etc/gate", "/srv", "/boot"))
    shown("user gate, no capabilities, seccomp, only its state folder writable")


def confined(machine: Machine, unit: str, user: str, *, writable: str, closed: Sequence[str]) -> None:
    """Assert that a unit's main process has no rights to speak of, and where its mounts let it write."""
    pid = machine.main_pid(unit)
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert status["Uid"].split() == [machine.run(f"id -u {user}").stdout.strip()] * 4
    assert {status[f"Cap{name}"] for name in ("Eff", "Prm", "Bnd", "Amb", "Inh")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    # Within its mounts even root cannot write, so it is not the file modes that hold.
    inside = ["nsenter", f"--target={pid}", "--mount", "--root", "--wd", "/bin/sh", "-c"]
    held = {path: _writes([*inside, f": >{path}/probe"]) for path in closed}
    assert not any(held.values()), held
    assert _writes([*inside, f": >{writable}/probe && rm {writable}/probe"])


def _writes(command: list[str]) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_hung_process_is_killed_by_the_watchdog_and_started_again(
    gate: Machine, shown: Callable[[str], None]
) -> None:
    records = _records(gate)
    before = gate.property(UNIT, "MainPID")
    began = time.monotonic()
    gate.signal(UNIT, signal.SIGSTOP)
    gate.wait_for(lambda: gate.property(UNIT, "NRestarts") == "1", 60, "a restart")
    gate.wait_active(UNIT)
    shown(f"serving again {time.monotonic() - began:.0f} s after it hung")
    assert gate.property(UNIT, "MainPID") != before
    assert "Watchdog timeout" in gate.journal(UNIT)
    assert _records(gate) > records, "its ledger goes on"


def _records(machine: Machine) -> int:
    """Prove the ledger and return its size."""
    line = machine.run(f"gate ledger verify {STATE}/ledger.db", user="gate").stdout
    return int(next(word for word in line.split() if word.isdigit()))


def test_one_hung_thread_is_named_and_ends_in_a_restart(gate: Machine, shown: Callable[[str], None]) -> None:
    """The thread that reads from the camera's process stands still; all others go on."""
    tasks = Path(f"/proc/{gate.main_pid(UNIT)}/task")
    reader = gate.wait_for(
        lambda: next(
            (task.name for task in tasks.iterdir() if (task / "children").read_text().strip()), None
        ),
        30,
        "the camera's process to have been started by the thread that reads from it",
    )
    began = time.monotonic()
    with frozen(int(reader)):
        gate.wait_for(lambda: "the loop camera-reader hangs" in gate.journal(UNIT), 60, "the gate to say so")
        gate.wait_for(lambda: gate.property(UNIT, "NRestarts") == "1", 60, "a restart")
    gate.wait_active(UNIT)
    assert "Watchdog timeout" in gate.journal(UNIT)
    shown(f"serving again {time.monotonic() - began:.0f} s after the thread hung")


def test_killed_process_is_started_again(gate: Machine) -> None:
    gate.signal(UNIT, signal.SIGKILL)
    gate.wait_for(lambda: gate.property(UNIT, "NRestarts") == "1", 30, "a restart")
    gate.wait_active(UNIT)


def test_wrong_configuration_does_not_loop_and_says_what_is_wrong(new_machine: NEW_MACHINE) -> None:
    machine = configured(new_machine(), gate_toml().replace("policy =", "polcy ="))
    machine.boot()
    machine.wait_for(lambda: machine.property(UNIT, "ActiveState") == "failed", 60, "the unit to fail")
    says = machine.properties(UNIT, "ExecMainStatus", "NRestarts", "Result")
    assert says == {"ExecMainStatus": "78", "NRestarts": "0", "Result": "exit-code"}
    journal = machine.journal(UNIT)
    assert "polcy" in journal
    assert 'did you mean "policy"' in journal.replace("'", '"')
    # It is not for a reboot to mend.
    machine.wait_for(
        lambda: machine.property("gate-escalate.service", "ActiveState") in {"inactive", "failed"},
        30,
        "the end of the escalation",
    )
    machine.run("sleep 3; systemctl is-system-running", check=False)
    assert machine.is_up()
    # Once it is right, one command is enough.
    machine.put(CONFIG, gate_toml(), 0o640, "root:gate")
    machine.run(f"systemctl restart {UNIT}")
    machine.wait_active(UNIT)


def test_crash_loop_reboots_three_times_then_stays_off(
    new_machine: NEW_MACHINE, shown: Callable[[str], None]
) -> None:
    machine = configured(new_machine())
    machine.disk.run(f"echo {BROKEN!r} >>/usr/share/health-gate/gate/app/application.py")
    reboots = 0
    began = time.monotonic()
    machine.start()
    while (status := _ended_or_off(machine)) is not None:
        assert status == REBOOTED
        reboots += 1
        assert reboots <= 3, "it reboots for ever"
        machine.start()
    shown(f"{reboots} reboots in {time.monotonic() - began:.0f} s, then off")
    assert reboots == 3
    assert machine.property(UNIT, "ActiveState") == "failed"
    assert "start request repeated too quickly" in machine.journal(UNIT).lower()
    said = machine.journal("gate-escalate.service")
    assert "stays off" in said or "left off" in said, said


def test_journal_stays_within_its_bounds_in_a_flood(gate: Machine, shown: Callable[[str], None]) -> None:
    """140 MB that hardly compress, from 35 units, so that no unit's rate limit holds it up."""
    line = "head -c 20000 /dev/urandom | base64 -w 0; echo"
    flood = (
        f"for unit in $(seq 35); do systemd-run -q --wait sh -c 'for i in $(seq 150); do {line}; done'; done"
    )
    gate.run(flood, timeout=250)
    gate.run("journalctl --sync")
    sizes = gate.run("find /var/log/journal /run/log/journal -type f -printf '%s\\n'", check=False).stdout
    used = sum(map(int, sizes.split()))
    shown(f"{used / 2**20:.0f} MiB on disk")
    assert 50 * 2**20 < used <= 64 * 2**20
    assert gate.property(UNIT, "NRestarts") == "0"
    # One unit that complains without end is cut short by itself.
    gate.run("systemd-run -q --wait --unit chatter sh -c 'seq 100000'")
    gate.run("journalctl --sync")
    assert 1000 < gate.journal("chatter").count("\n") < 50_000


def test_gate_that_lasted_an_hour_may_be_rebooted_again(new_machine: NEW_MACHINE) -> None:
    """A row of reboots ends with an hour of work, by the clock since boot: no calendar is asked."""
    machine = configured(new_machine())
    machine.put("/var/lib/gate-escalate/reboots", "3\n")
    machine.disk.run(f"echo {BROKEN!r} >>/usr/share/health-gate/gate/app/application.py")
    machine.start(uptime_s=3700)
    assert _ended_or_off(machine) == REBOOTED


def _ended_or_off(machine: Machine) -> int | None:
    """Wait until the system has rebooted, and return its status; None once it is up and has given up."""

    def outcome() -> int | str:
        if not machine.is_up():
            return machine.wait_ended(1) or "halted"
        try:  # it may be gone in the next moment
            states = machine.run(
                f"systemctl show -P ActiveState {UNIT} gate-escalate", check=False, timeout=10
            )
            given_up = states.stdout.split() == ["failed", "inactive"]
            return (
                "off" if given_up and "off" in machine.journal("gate-escalate.service", more="--boot") else 0
            )
        except (AssertionError, subprocess.TimeoutExpired):
            return 0

    found = machine.wait_for(outcome, 90, "a reboot, or the end of reboots")
    return None if found == "off" else int(found)
