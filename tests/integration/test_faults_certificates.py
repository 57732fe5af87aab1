"""Certificates that the broker does not take, and a device key that the centre believes no longer."""

from pathlib import Path

import pytest

from tests.brokers import Mosquitto
from tests.certificates import Authority
from tests.chaos.plant import SITE
from tests.integration.fault_town import Town, as_identity, until

pytestmark = pytest.mark.soak

RENEW = "renew this client's own certificate"


def lines(authority: Authority, files: tuple[Path, Path]) -> dict[str, str]:
    return {"ca_file": str(authority.ca_file), "cert_file": str(files[0]), "key_file": str(files[1])}


def as_toml(found: dict[str, str]) -> list[str]:
    return [f'{name} = "{value}"' for name, value in found.items()]


def test_wrong_and_revoked_certificates(tmp_path: Path, sqlite_template: Path) -> None:
    authority, stranger = Authority(tmp_path / "ca"), Authority(tmp_path / "stranger")
    taken_back = authority.issue("g2")
    own, key = authority.issue("broker")
    broker = Mosquitto(
        tmp_path / "broker",
        "allow_anonymous true",
        "require_certificate true",
        f"cafile {authority.ca_file}",
        f"certfile {own}",
        f"keyfile {key}",
        f"crlfile {authority.revoke(taken_back[0])}",
    )
    with Town(tmp_path, sqlite_template, broker=broker) as town:
        good = town.gate("g1", mqtt=as_toml(lines(authority, authority.issue("g1"))))
        revoked = town.gate("g2", mqtt=as_toml(lines(authority, taken_back)))
        foreign = town.gate("g3", mqtt=as_toml(lines(authority, stranger.issue("g3"))))
        expired = town.centre(**lines(authority, authority.issue("old", days=(-10, -1))))
        expired.start()
        for gate in (good, revoked, foreign):
            gate.start()
        for gate in (revoked, foreign):
            until(lambda gate=gate: RENEW in gate.said(), lambda gate=gate: f"{RENEW}: {gate.said()}")
            gate.wait_records(10)  # visitors are served as ever
        until(lambda: "certificate" in expired.log(), lambda: f"the centre to say it: {expired.log()}")
        good.wait_records(10)
        assert [gate.mark() for gate in (good, revoked, foreign)] == [0, 0, 0]
        assert town.store.streams() == []
        expired.kill()

        # A person renews the certificates, under the same names.
        authority.issue("g2")
        (tmp_path / "stranger" / "g3.pem").write_bytes((files := authority.issue("g3"))[0].read_bytes())
        (tmp_path / "stranger" / "g3.key").write_bytes(files[1].read_bytes())
        town.start(town.centre(**lines(authority, authority.issue("new"))))
        for gate in (revoked, foreign):  # or within a minute by itself
            gate.stop()
            gate.start()
            gate.wait_records(1)
        for gate in (good, revoked, foreign):
            town.wait_receipted(gate)
        town.settle(good, revoked, foreign)
        assert town.alarms(standing=True) == []


def test_a_device_whose_key_was_revoked(town: Town) -> None:
    gate = town.gate()
    town.start(town.centre(), gate)
    town.wait_proved(gate, 10)
    assert town.central("gates", "revoke", SITE, gate.name).exit_code == 0
    town.wait_alarm("false/revoked_key g1")
    proved = town.proved(gate)
    gate.wait_records(40)
    assert town.proved(gate) == proved, "nobody signs for it any more"
    assert gate.mark() <= proved
    until(lambda: town.streams(gate)[-1].linked > proved, lambda: "its records, which are kept all the same")
    assert town.central("gates", "add", "-", given=as_identity(gate)).exit_code == 0
    town.wait_receipted(gate)
    town.settle(gate)
    assert town.alarms(standing=True) == ["false/revoked_key g1"], "a person has to say that this was right"
