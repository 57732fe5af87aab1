"""Updates of the real package from a signed repository: there, back, and cut off between."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.systemd.conftest import NEW_MACHINE
from tests.systemd.machine import Machine
from tests.systemd.packages import ASLEEP, GATE, another_version, version_of
from tests.systemd.repository import Repository
from tests.systemd.settings import STATE, gate_toml
from tests.systemd.test_booted_service import configured

pytestmark = [pytest.mark.nspawn, pytest.mark.timeout(400)]
UNIT = "gate.service"
UPDATE = "gate-update.service"
RESULT = f"{STATE}/update-result.json"
NEXT = "9.0.0"
BACK_S_MAX = 30
CRASH = 'raise RuntimeError("broken on purpose")'
HANG = "import threading; threading.Event().wait()"
POLICY = """
extends = "township-routine"
name = "always-quiet"
[update_window]
begins_min = {}
ends_min = {}
"""


@pytest.fixture
def repository(tmp_path: Path, packages: dict[str, Path]) -> Iterator[Repository]:
    with Repository(tmp_path / "repository") as repository:
        repository.add(packages[GATE])
        yield repository


@pytest.fixture
def gate(new_machine: NEW_MACHINE, repository: Repository) -> Machine:
    """A machine that trusts the repository, off, with a plan whose quiet hours are now."""
    machine = configured(new_machine(), gate_toml().replace("township-routine", "/etc/gate/plan.toml"))
    machine.put("/etc/gate/plan.toml", plan())
    repository.trusted_by(machine)
    return machine


def plan() -> str:
    """Return a plan whose quiet hours are all day but one minute, which is hours from now (UTC+8)."""
    begins = (round(time.time()) // 60 + 720) % 1440  # noqa: TID251 - the wall clock is meant
    return POLICY.format(begins, begins - 1 if begins else 1439)


def order(machine: Machine, version: str = NEXT, command: str = "c1") -> None:
    """Ask for a version as the service does when the centre's command has come."""
    now_ms = int(machine.run("date +%s").stdout) * 1000
    said = {"version": version, "command": command, "asked_ms": now_ms}
    machine.put(f"{STATE}/update.json.new", json.dumps(said), 0o600, "gate:gate")
    machine.run(f"mv {STATE}/update.json.new {STATE}/update.json")


def result(machine: Machine, within_s: float = 150) -> dict[str, str]:
    """Wait for a final result and return it."""

    def final() -> dict[str, str] | None:
        if not machine.exists(RESULT):
            return None
        said: dict[str, str] = json.loads(machine.read(RESULT))
        return None if said["outcome"] == "waiting" else said

    found: dict[str, str] = machine.wait_for(final, within_s, "the update's result")
    return found


def installed(machine: Machine) -> str:
    """Return status and version of the package as dpkg knows it."""
    return machine.run(f"dpkg-query --show --showformat='${{db:Status-Abbrev}}${{Version}}' {GATE}").stdout


def outage_s(machine: Machine) -> float:
    """Return how long the gate was away: from its first stop in this boot to its last start."""
    times: dict[str, float] = {}
    for line in machine.journal(UNIT, more="--boot --output short-unix").splitlines():
        at, _, said = line.partition(" ")
        if "Stopping gate.service" in said:
            times.setdefault("stopped", float(at))
        if "Started gate.service" in said:
            times["started"] = float(at)
    return times["started"] - times["stopped"]


def test_good_update_is_installed_and_serves(
    gate: Machine,
    repository: Repository,
    packages: dict[str, Path],
    tmp_path: Path,
    shown: Callable[[str], None],
) -> None:
    repository.add(another_version(packages[GATE], NEXT, tmp_path))
    gate.boot()
    gate.wait_active(UNIT)
    order(gate)  # the path unit sees it
    assert result(gate) | {"at_ms": 0} == {
        "version": NEXT,
        "previous": version_of(packages[GATE]),
        "outcome": "done",
        "detail": "",
        "command": "c1",
        "at_ms": 0,
    }
    assert installed(gate) == f"ii {NEXT}"
    assert NEXT in gate.run("gate --version").stdout
    gate.wait_active(UNIT)
    shown(f"away for {outage_s(gate):.1f} s")
    records = gate.run(f"gate ledger export {STATE}/ledger.db", user="gate").stdout
    assert f'"version":"{NEXT}"' in records.replace(" ", ""), "the new version has begun its run on record"
    gate.wait_for(
        lambda: "hg.update.v1" in gate.run(f"gate ledger export {STATE}/ledger.db", user="gate").stdout,
        30,
        "the result to be on record",
    )


@pytest.mark.parametrize("fault", [CRASH, HANG], ids=["that crashes", "that hangs"])
def test_bad_update(
    fault: str,
    gate: Machine,
    repository: Repository,
    packages: dict[str, Path],
    tmp_path: Path,
    shown: Callable[[str], None],
) -> None:
    repository.add(another_version(packages[GATE], NEXT, tmp_path, breaking=fault))
    gate.boot()
    gate.wait_active(UNIT)
    order(gate)
    said = result(gate)
    assert said["outcome"] == "rolled_back", said
    assert installed(gate) == f"hi {version_of(packages[GATE])}", "the previous version, on hold"
    gate.wait_active(UNIT)
    away = outage_s(gate)
    shown(f"previous version serving again after {away:.1f} s")
    assert away <= BACK_S_MAX
    assert gate.run(f"gate ledger verify {STATE}/ledger.db", user="gate").returncode == 0
    gate.wait_for(lambda: gate.property(UPDATE, "ActiveState") == "failed", 30, "the attempt to be over")
    # It is not tried again by itself.
    gate.run(f"systemctl start {UPDATE}")
    assert installed(gate).endswith(version_of(packages[GATE]))
    assert gate.is_up()


def test_update_that_loses_the_camera_is_undone(
    gate: Machine, repository: Repository, packages: dict[str, Path], tmp_path: Path
) -> None:
    """It is ready and stays up; what it has lost only the running gate knows, some time later."""
    bad = another_version(packages[GATE], NEXT, tmp_path, breaking=CRASH, module="drivers/camera_worker.py")
    repository.add(bad)
    gate.boot()
    gate.wait_active(UNIT)
    order(gate)
    said = result(gate, within_s=240)
    assert (said["outcome"], said["detail"]) == (
        "rolled_back",
        "gate doctor: camera failed, and did not before",
    )
    gate.wait_active(UNIT)


def cut_off_in_a_script(gate: Machine) -> str:
    """Cut the power while the new version's script sleeps, and go on; return what was installed then."""
    gate.put(ASLEEP, "")
    gate.boot()
    gate.wait_active(UNIT)
    order(gate)
    gate.wait_for(lambda: gate.exists(f"{ASLEEP}.now"), 90, "the script to run")
    half = installed(gate)
    gate.cut_power()
    gate.disk.run(f"rm {ASLEEP}")
    gate.boot()
    # Its timer does this soon after boot, and gate-escalate when the gate has fallen for good.
    gate.run(f"systemctl start {UPDATE}", timeout=200)
    return half


@pytest.mark.parametrize("script", ["preinst", "postinst"])
def test_power_cut_in_the_middle_of_an_update(
    script: str, gate: Machine, repository: Repository, packages: dict[str, Path], tmp_path: Path
) -> None:
    """In the preinst nothing is unpacked yet; in the postinst all is, and nothing is configured."""
    repository.add(another_version(packages[GATE], NEXT, tmp_path, sleeping_in=script))
    half = cut_off_in_a_script(gate)
    assert not re.match("ii ", half) or script == "preinst", half
    assert result(gate)["outcome"] == "done"
    assert installed(gate) == f"ii {NEXT}"
    gate.wait_active(UNIT)


def test_power_cut_in_the_middle_of_an_update_to_a_version_that_cannot_even_undo_itself(
    gate: Machine, repository: Repository, packages: dict[str, Path], tmp_path: Path
) -> None:
    """None of its commands begins: what is left to do is done by the version before."""
    bad = another_version(
        packages[GATE], NEXT, tmp_path, breaking=CRASH, module="gate/cli/update.py", sleeping_in="postinst"
    )
    repository.add(bad)
    cut_off_in_a_script(gate)
    assert result(gate)["outcome"] == "rolled_back"
    assert installed(gate) == f"hi {version_of(packages[GATE])}"
    gate.wait_active(UNIT)
    assert not gate.exists("/var/cache/health-gate/rescue")


def test_power_cut_between_unpack_and_configure_of_a_package_put_in_by_hand(
    gate: Machine, packages: dict[str, Path], tmp_path: Path
) -> None:
    deb = another_version(packages[GATE], NEXT, tmp_path)
    gate.put("/srv/next.deb", deb.read_bytes())
    gate.boot()
    gate.wait_active(UNIT)
    gate.run("dpkg --unpack /srv/next.deb")
    assert installed(gate) == f"iU {NEXT}"
    gate.cut_power()
    gate.boot()
    order(gate)
    assert result(gate)["outcome"] == "done"
    assert installed(gate) == f"ii {NEXT}"
    gate.wait_active(UNIT)


def test_tampered_package_is_refused_and_the_gate_goes_on(
    gate: Machine, repository: Repository, packages: dict[str, Path], tmp_path: Path
) -> None:
    deb = another_version(packages[GATE], NEXT, tmp_path)
    repository.add(deb)
    stored = repository.folder / f"{GATE}_{NEXT}_all.deb"
    data = bytearray(stored.read_bytes())
    data[-100] ^= 1
    stored.write_bytes(data)
    gate.boot()
    gate.wait_active(UNIT)
    began = gate.property(UNIT, "InvocationID")
    order(gate)
    said = result(gate)
    assert said["outcome"] == "refused", said
    assert installed(gate) == f"ii {version_of(packages[GATE])}"
    assert gate.property(UNIT, "InvocationID") == began, "the gate was never away"
