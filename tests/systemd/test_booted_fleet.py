"""The whole way: a gate that has enrolled serves, its records are receipted, and the centre updates it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.systemd.conftest import NEW_MACHINE
from tests.systemd.machine import OFFICE
from tests.systemd.office import Office
from tests.systemd.packages import GATE, another_version
from tests.systemd.repository import Repository
from tests.systemd.settings import GATE as ID
from tests.systemd.settings import SITE, STATE, gate_toml
from tests.systemd.test_booted_enrolment import CERTIFICATE, TOKEN
from tests.systemd.test_booted_service import configured
from tests.systemd.test_booted_updates import NEXT, installed, plan

pytestmark = [pytest.mark.nspawn, pytest.mark.timeout(400)]
UNIT = "gate.service"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with Office(tmp_path / "office") as office:
        yield office


def with_certificate(text: str, port: int) -> str:
    """Return a configuration as prepare-card writes it: TLS with what enrolment brings, and a centre."""
    tls = f'ca_file = "{STATE}/tls/ca.pem"\ncert_file = "{CERTIFICATE}"\nkey_file = "{STATE}/device.key"\n'
    before, _, rest = text.partition("[mqtt]\n")
    after = rest.partition("[camera]")[2]
    mqtt = f'[mqtt]\nhost = "{OFFICE}"\nport = {port}\n{tls}'
    return f'{before}{mqtt}[centre]\nkeys_file = "{STATE}/centre.json"\n[camera]{after}'


def test_update_by_command_of_the_centre(
    new_machine: NEW_MACHINE,
    office: Office,
    packages: dict[str, Path],
    tmp_path: Path,
    shown: Callable[[str], None],
) -> None:
    config = with_certificate(gate_toml(), office.broker_port).replace(
        "township-routine", "/etc/gate/plan.toml"
    )
    machine = configured(new_machine(), config)
    machine.put("/etc/gate/plan.toml", plan())
    enrol = f'url = "{office.url}"\nca_file = "/etc/gate/enrol-ca.pem"\ntoken_file = "{TOKEN}"\n'
    machine.put("/etc/gate/enrol.toml", enrol, 0o640, "root:gate")
    machine.put("/etc/gate/enrol-ca.pem", office.ca.read_bytes(), 0o640, "root:gate")
    machine.put(TOKEN, office.token(SITE), 0o600, "gate:gate")
    with Repository(tmp_path / "repository") as repository:
        repository.add(packages[GATE], another_version(packages[GATE], NEXT, tmp_path))
        repository.trusted_by(machine)
        machine.boot()
        machine.wait_for(lambda: machine.exists(CERTIFICATE), 90, "the certificate")
        machine.run(f"systemctl restart {UNIT}")
        machine.wait_active(UNIT)
        machine.wait_for(lambda: signed_for(office), 90, "the centre to sign for records of the gate")
        before = signed_for(office)
        office.central("update", NEXT, "--gate", f"{SITE}/{ID}", "--by", "Li", config=True)
        machine.wait_for(
            lambda: "done" in office.central("updates", config=True),
            180,
            "the centre to hear that it is done",
        )
    assert installed(machine) == f"ii {NEXT}"
    machine.wait_active(UNIT)
    machine.wait_for(
        lambda: signed_for(office) > before, 60, "the centre to sign for the new version's records"
    )
    shown(f"{signed_for(office)} records signed for")


def signed_for(office: Office) -> int:
    """Return how many records of the gate the centre has proved and signed for."""
    gates = json.loads(office.central("status", "--json", config=True))
    return sum(gate["proved"] for gate in gates if gate["gate"] == ID)
