"""A device gets its certificate from the real centre, through the real units; and who does not get one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.systemd.conftest import NEW_MACHINE
from tests.systemd.machine import Machine
from tests.systemd.office import Office, network_time
from tests.systemd.settings import SITE

pytestmark = [pytest.mark.nspawn, pytest.mark.timeout(300)]
UNIT = "gate-enrol.service"
CERTIFICATE = "/var/lib/gate/tls/gate.pem"
TOKEN = "/var/lib/gate/enrol-token"
SERIAL = "10000000a1b2c3d4"
ID = "gate-a1b2c3d4"
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with Office(tmp_path / "office") as office:
        yield office


@pytest.fixture
def new_device(new_machine: NEW_MACHINE, office: Office) -> Callable[..., Machine]:
    """Make devices that know where the centre is, off."""

    def make(token: str, name: str = "hg", serial: str = SERIAL) -> Machine:
        machine = new_machine(name, serial=serial)
        enrol = f'url = "{office.url}"\nca_file = "/etc/gate/enrol-ca.pem"\ntoken_file = "{TOKEN}"\n'
        machine.put("/etc/gate/enrol.toml", f'{enrol}site = "{SITE}"\ngate = "{ID}"\n', 0o640, "root:gate")
        machine.put("/etc/gate/enrol-ca.pem", office.ca.read_bytes(), 0o640, "root:gate")
        machine.put(TOKEN, f"{token}\n", 0o600, "gate:gate")
        # The mark of systemd-timesyncd, as after a successful answer of a time server.
        machine.put(
            "/etc/tmpfiles.d/time.conf", "d /run/systemd/timesync\nf /run/systemd/timesync/synchronized\n"
        )
        return machine

    return make


def attempt(machine: Machine) -> str:
    """Start the unit once, without its own repetitions; return what came of it and what it said."""
    machine.run(f"systemctl stop {UNIT}; systemctl reset-failed {UNIT}", check=False)
    machine.run(f"systemctl start {UNIT}", check=False, timeout=150)
    status = machine.property(UNIT, "ExecMainStatus")
    machine.run(f"systemctl stop {UNIT}", check=False)
    return f"{status} {machine.journal(UNIT)}"


def test_right_token_brings_a_certificate_once(office: Office, new_device: Callable[..., Machine]) -> None:
    machine = new_device(office.token(SITE))
    machine.boot()
    # By its timer, with nobody's help.
    machine.wait_for(lambda: machine.exists(CERTIFICATE), 60, "the certificate")
    subject = machine.run(f"openssl x509 -noout -subject -in {CERTIFICATE}").stdout
    assert f"{SITE}/{ID}" in subject
    machine.wait_for(lambda: not machine.exists(TOKEN), 10, "the token to be gone")
    modes = machine.run("stat -c '%a %U %n' /var/lib/gate/device.key /var/lib/gate/tls /var/lib/gate").stdout
    assert "600 gate /var/lib/gate/device.key" in modes, modes
    assert (found := [one for one in office.known() if one["what"] == "certificate"])
    assert found[0]["gate"] == ID
    assert found[0]["device"] == SERIAL
    # Again changes nothing: none is due.
    before = machine.read(CERTIFICATE)
    assert attempt(machine).startswith("0 ")
    assert machine.read(CERTIFICATE) == before


def test_wrong_and_used_tokens_bring_none_and_say_why(
    office: Office, new_device: Callable[..., Machine]
) -> None:
    token = office.token(SITE)
    first, second = new_device(token), new_device("x" * len(token), "second", "10000000aaaaaaaa")
    first.boot()
    second.boot()
    first.wait_for(lambda: first.exists(CERTIFICATE), 60, "the certificate")
    second.put(
        "/etc/gate/enrol.toml",
        second.read("/etc/gate/enrol.toml").replace(ID, "gate-aaaaaaaa"),
        0o640,
        "root:gate",
    )
    said = attempt(second)
    assert said.startswith("77 "), said
    assert "token" in said
    second.put(TOKEN, f"{token}\n", 0o600, "gate:gate")
    said = attempt(second)
    assert not said.startswith("0 "), said
    assert "used" in said
    assert not second.exists(CERTIFICATE)
    assert token not in said, "a token is in the journal"
    # With a good one it goes on by itself.
    second.put(TOKEN, office.token(SITE), 0o600, "gate:gate")
    assert attempt(second).startswith("0 ")


def test_clock_in_1970_waits_and_says_so(office: Office, new_device: Callable[..., Machine]) -> None:
    """The clock is this machine's, so the one service is given another (libfaketime); the rest is real."""
    machine = new_device(office.token(SITE))
    machine.put("/etc/tmpfiles.d/time.conf", "")
    faked = f'LD_PRELOAD={FAKETIME} "FAKETIME=@1970-01-01 00:05:00" DONT_FAKE_MONOTONIC=1'
    machine.put(f"/etc/systemd/system/{UNIT}.d/clock.conf", f"[Service]\nEnvironment={faked}\n")
    machine.boot()
    said = attempt(machine)
    assert said.startswith("75 "), said
    assert "clock is not set" in said
    assert "1970" in said
    assert not machine.exists(CERTIFICATE)
    assert machine.exists(TOKEN), "the token is kept for a better time"
    assert not [one for one in office.known() if one["what"] == "certificate"]
    machine.run(
        f"rm -r /etc/systemd/system/{UNIT}.d; systemctl daemon-reload; mkdir -p /run/systemd/timesync"
    )
    machine.put("/run/systemd/timesync/synchronized", "")
    assert attempt(machine).startswith("0 ")


def test_another_board_with_the_same_name_waits_for_a_person(
    office: Office, new_device: Callable[..., Machine]
) -> None:
    """A card was copied before its first boot: both boards make keys of their own, and one name is taken."""
    token = office.token(SITE, "--uses", "2")
    first, second = new_device(token), new_device(token, "clone", "10000000bbbbbbbb")
    first.boot()
    first.wait_for(lambda: first.exists(CERTIFICATE), 60, "the certificate")
    second.boot()
    said = attempt(second)
    assert said.startswith("75 "), said
    assert not second.exists(CERTIFICATE)
    waiting = [one for one in office.known() if one["what"] == "waiting"]
    assert [one["gate"] for one in waiting] == [ID], waiting
    assert waiting[0]["address"] == second.address
    office.central("enrol", "allow", SITE, ID, "--by", "somebody", config=True)
    assert attempt(second).startswith("0 ")
    # Keys differ, although the cards were the same.
    keys = {machine.run("sha256sum </var/lib/gate/device.key").stdout for machine in (first, second)}
    assert len(keys) == 2


def test_sandboxed_gate_sees_that_the_clock_is_right(
    new_device: Callable[..., Machine], office: Office
) -> None:
    """ProtectClock forbids to ask the kernel: the mark of systemd-timesyncd says it."""
    from tests.systemd.settings import gate_toml
    from tests.systemd.test_booted_service import configured

    machine = new_device(office.token(SITE))
    configured(machine, gate_toml().replace('clock = "always_trusted"', 'clock = "ntp"'))
    # What timesyncd does when a server has answered; it does not run in a container.
    machine.put(
        "/etc/tmpfiles.d/clock.conf",
        "d /run/systemd/timesync 0755\nf /run/systemd/timesync/synchronized 0644\n",
    )
    with network_time():
        machine.boot()
        machine.wait_active("gate.service")
        export = machine.run("gate ledger export /var/lib/gate/ledger.db", user="gate").stdout
    assert '"trusted":true' in export.replace(" ", ""), export[:600]
