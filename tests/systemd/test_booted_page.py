"""The commands of docs/centre.md, as they stand there, on a Debian 13; then a gate that the centre hears."""

import re
from pathlib import Path

import pytest

from tests.systemd.conftest import NEW_MACHINE
from tests.systemd.machine import Machine
from tests.systemd.packages import centre_system
from tests.systemd.rootfs import layer
from tests.systemd.settings import SCENE, SITE, gate_toml

pytestmark = [pytest.mark.nspawn, pytest.mark.timeout(300)]
PAGE = Path(__file__).parents[2] / "docs" / "centre.md"
CONFIG = "/etc/central/central.toml"
ID = "gate-a1b2c3d4"
TLS = """\
ca_file = "/var/lib/gate/tls/ca.pem"
cert_file = "/var/lib/gate/tls/gate.pem"
key_file = "/var/lib/gate/device.key"
"""
TRUST = "/etc/gate/trust/.card-1a2b3c4d/counter.toml"


def blocks() -> tuple[list[str], str, list[str]]:
    """Return the commands before the configuration, its text, and those after it."""
    section = PAGE.read_text("utf-8").split("## Setting one up")[1]
    found = re.findall(r"^```(?:sh|toml)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return found[0].splitlines(), found[1], found[2].splitlines()


@pytest.fixture
def machine(new_machine: NEW_MACHINE, packages: dict[str, Path]) -> Machine:
    below = centre_system(packages)
    # procps is on every Debian that was installed the usual way; mosquitto's unit reloads with its kill.
    machine = new_machine("page", below=[layer("centre-broker", below, ["mosquitto", "procps"]), *below])
    # The mark of systemd-timesyncd, as after a successful answer of a time server.
    machine.put(
        "/etc/tmpfiles.d/time.conf", "d /run/systemd/timesync\nf /run/systemd/timesync/synchronized\n"
    )
    machine.boot()
    machine.put("/etc/hosts", "127.0.0.1 localhost broker.example centre.example\n")
    return machine


def put_up_a_gate(machine: Machine) -> None:
    """Write what prepare-card and the first boot write, for a gate on the centre's own machine."""
    token = machine.run(f"central enrol token {SITE}", user="central").stdout
    machine.put("/var/lib/gate/enrol-token", token, 0o600, "gate:gate")
    machine.put("/etc/gate/enrol-ca.pem", machine.read("/var/lib/central/ca.pem"))
    machine.put(
        "/etc/gate/enrol.toml",
        'url = "https://centre.example:8884"\nca_file = "/etc/gate/enrol-ca.pem"\n'
        f'token_file = "/var/lib/gate/enrol-token"\nsite = "{SITE}"\ngate = "{ID}"\n',
    )
    machine.run("systemctl start gate-enrol.service")
    key = "gate pass key --new /root/counter.pem --issuer county-hall --issuer-name 'County hall'"
    machine.put(TRUST, machine.run(key).stdout, 0o640, "root:gate")
    text = gate_toml(8883, "[centre]", 'keys_file = "/var/lib/gate/centre.json"', gate=ID)
    text = re.sub(r"(?m)^host = .*\n(port = .*\n)", rf'host = "broker.example"\n\1{TLS}', text)
    machine.put("/etc/gate/gate.toml", text.replace("trust_files = []", f'trust_files = ["{TRUST}"]'))
    machine.put("/srv/scene.json", SCENE)
    machine.run("systemctl enable --now gate.service")


def test_the_page_sets_up_a_centre_that_hears_a_gate(machine: Machine) -> None:
    (install, *first), settings, second = blocks()
    assert "./health-gate_" in install  # both packages are there already: nothing here reaches a mirror
    for line in first:
        machine.run(line)
    before = machine.read(CONFIG)
    machine.put(CONFIG, re.sub(r"(?m)^\[mqtt\]\n(.+\n)*", settings + "\n", before), 0o640, "root:central")
    said = [machine.run(line).stdout for line in second]
    assert said[0].endswith("good\n"), said[0]
    for unit in ("central.service", "mosquitto.service", "health-gate-broker.path"):
        assert machine.property(unit, "ActiveState") == "active", unit
        assert machine.run(f"systemctl is-enabled {unit}").stdout.strip() == "enabled", unit
    put_up_a_gate(machine)
    machine.wait_active("gate.service")
    machine.wait_for(
        lambda: ID in machine.run("central status", user="central").stdout,
        60,
        "the centre to hear of the gate",
    )
    # The service reads the issuers' keys where the first boot puts them.
    found = machine.run("runuser -u gate -- gate doctor", check=False).stdout
    assert re.search(r"trusted keys.*county-hall", found), found
