"""The centre's package in a booted Debian 13: `central init`, central.service, its sandbox and its port."""

import socket
from pathlib import Path

import pytest

from tests.systemd.conftest import NEW_MACHINE
from tests.systemd.machine import Machine
from tests.systemd.packages import centre_system
from tests.systemd.test_booted_service import confined

pytestmark = [pytest.mark.nspawn, pytest.mark.timeout(300)]
UNIT = "central.service"
KEYS = "/var/lib/central"
CONFIG = "/etc/central/central.toml"
PORT = 8884


@pytest.fixture
def machine(new_machine: NEW_MACHINE, packages: dict[str, Path]) -> Machine:
    """A machine with both packages and a centre that has its keys, booted; its service is not started yet."""
    machine = new_machine("centre", below=centre_system(packages))
    machine.boot()
    assert machine.property(UNIT, "ActiveState") == "inactive", "it waits for a configuration"
    machine.run(f"central init {KEYS}", user="central")
    text = machine.read(f"{KEYS}/central.toml")
    own = f'[enrolment]\nport = {PORT}\nnames = ["{machine.address}"]\n'
    machine.put(CONFIG, f"{text}\n{own}", 0o640, "root:central")
    return machine


def test_centre_serves_in_its_sandbox(machine: Machine) -> None:
    machine.run(f"systemctl start {UNIT}")
    assert machine.property(UNIT, "ActiveState") == "active"
    confined(machine, UNIT, "central", writable=KEYS, closed=("/usr", "/etc", "/etc/central", "/srv"))
    with socket.create_connection((machine.address, PORT), 10):
        pass
    # Without a broker it waits and says so; it does not end.
    machine.wait_for(lambda: "127.0.0.1" in machine.journal(UNIT), 60, "it to miss its broker")
    assert machine.property(UNIT, "NRestarts") == "0"
    machine.run(f"systemctl restart {UNIT}")
    assert machine.property(UNIT, "ActiveState") == "active"


def test_centre_with_a_wrong_configuration_does_not_loop(machine: Machine) -> None:
    machine.put(CONFIG, machine.read(CONFIG).replace("keys_dir", "key_dir"), 0o640, "root:central")
    machine.run(f"systemctl start {UNIT}", check=False)
    machine.wait_for(lambda: machine.property(UNIT, "ActiveState") == "failed", 60, "the unit to fail")
    assert machine.properties(UNIT, "ExecMainStatus", "NRestarts") == {
        "ExecMainStatus": "78",
        "NRestarts": "0",
    }
    assert "keys_dir" in machine.journal(UNIT)
