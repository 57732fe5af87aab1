"""`central enrol` and what it changes in other commands."""

import contextlib
import json
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from central.app import start_enrolment
from central.cli import main
from central.clock import SystemClock
from central.config import load_config, parse_config
from central.enrolment.authority import Authority, load_authority
from central.enrolment.book import EnrolmentBook, Granted
from central.enrolment.settings import EnrolmentSettings
from central.store import open_store
from gate.checked import EX_CONFIG, ConfigError
from gate.core.codes.trust import key_id
from tests.brokers import wait_for
from tests.central.enrolment.enrolling import Device


def central(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in arguments])


class Centre:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        assert central("init", folder).exit_code == 0

    @property
    def authority(self) -> Authority:
        return load_authority(self.folder)

    def said(self, *arguments: object, status: int = 0) -> str:
        done = central(*arguments, "--config", self.folder / "central.toml")
        assert done.exit_code == status, done.output
        return done.stdout if status == 0 else done.stderr

    def ask(self, device: Device, token: str) -> Any:
        now_ms = round(time.time() * 1000)  # noqa: TID251 - as the commands do
        with open_store(f"sqlite:///{self.folder}/central.db") as store:
            asked = device.asks(token, at_ms=now_ms)
            return EnrolmentBook(store.engine).ask(asked, self.authority, now_ms)

    def listed(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.said("enrol", "list", "--json").splitlines()]


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return Centre(tmp_path / "centre")


def test_a_token_is_one_line_and_is_listed_without_itself(centre: Centre) -> None:
    assert "nothing yet" in centre.said("enrol", "list")
    token = centre.said("enrol", "token", "north", "--gate", "g-1", "--days", 3, "--uses", 2, "--by", "Li")
    assert token.count("\n") == 1
    said = centre.said("enrol", "list")
    assert "token 1  north/g-1  used 0 of 2" in said
    assert "made by Li" in said
    assert token.strip() not in said + json.dumps(centre.listed())
    assert "over" in centre.said("enrol", "end-token", 1)
    assert "no token 1" in centre.said("enrol", "end-token", 1, status=1)
    assert "no name" in centre.said("enrol", "token", "a/b", status=2)
    assert "doc" in centre.said("enrol", "token", "north", "--gate", "doc", status=2)


def test_a_key_that_waits_is_listed_and_allowed(centre: Centre) -> None:
    token = centre.said("enrol", "token", "north").strip()
    first, second, third = Device(serial="1"), Device(serial="2"), Device(serial="3")
    assert isinstance(centre.ask(first, token), Granted)
    centre.ask(second, token)
    centre.ask(third, token)
    kids = [key_id(device.public_key).hex() for device in (first, second, third)]
    said = centre.said("enrol", "list")
    assert f"waiting  north/g-1  {kids[1]}  known gate, device 2, from 192.0.2.7, since" in said
    assert f"certificate  north/g-1  {kids[0]}  until" in said
    said = centre.said("enrol", "allow", "north", "g-1", status=2)
    assert f"say which:\n  --key {kids[1]} --device 2\n  --key {kids[2]} --device 3\n" in said
    said = centre.said("enrol", "allow", "north", "g-1", "--key", kids[1], "--by", "Li")
    assert f"key {kids[1]} registered, device 2\n" in said
    assert f"central gates revoke north g-1 --key {kids[0]}" in said
    assert [row["kid"] for row in centre.listed() if row["what"] == "waiting"] == [kids[2]]
    assert f"key {kids[2]} registered" in centre.said("enrol", "allow", "north", "g-1")
    assert "no key of north/g-1 waits" in centre.said("enrol", "allow", "north", "g-1", status=1)
    assert "no key 00" in centre.said("enrol", "allow", "north", "g-1", "--key", "00" * 4, status=1)
    assert "whole" in centre.said("verify")


def test_a_new_token_says_how_it_is_ended(centre: Centre) -> None:
    done = central("enrol", "token", "north", "--config", centre.folder / "central.toml")
    assert "central enrol end-token 1" in done.stderr
    assert done.stdout.strip() not in done.stderr
    assert "token 1: over" in centre.said("enrol", "end-token", 1)


def test_a_key_that_waits_is_refused_and_its_alarm_ends(centre: Centre) -> None:
    token = centre.said("enrol", "token", "north").strip()
    first, second = Device(serial="1"), Device(serial="2")
    assert isinstance(centre.ask(first, token), Granted)
    assert "no key of north/g-1 waits" in centre.said("enrol", "refuse", "north", "g-1", status=1)
    centre.ask(second, token)
    assert "central enrol allow" in centre.said("alarms")
    kid = key_id(second.public_key).hex()
    said = centre.said("enrol", "refuse", "north", "g-1", "--by", "Li")
    assert said == f"north/g-1: key {kid}, device 2 waits no more\n"
    assert "central enrol allow" not in centre.said("alarms")
    assert f"key {kid} was refused" in centre.said("alarms", "--all")
    assert "whole" in centre.said("verify")


def test_a_board_that_came_since_the_list_was_read_is_not_allowed_with_it(centre: Centre) -> None:
    device = Device(serial="a1")
    assert isinstance(centre.ask(device, centre.said("enrol", "token", "north").strip()), Granted)
    centre.ask(replace(device, serial="b2"), "")
    centre.ask(replace(device, serial=""), "")
    kid = key_id(device.public_key).hex()
    for more in ((), ("--key", kid)):
        said = centre.said("enrol", "allow", "north", "g-1", *more, status=2)
        assert f"say which:\n  --key {kid} --device b2\n  --key {kid} --device ''\n" in said
    said = centre.said("enrol", "refuse", "north", "g-1", "--device", "x", status=1)
    assert "waits on device x" in said
    assert "waits no more" in centre.said("enrol", "refuse", "north", "g-1", "--device", "")
    assert "registered, device b2" in centre.said("enrol", "allow", "north", "g-1", "--device", "b2")


def test_a_revocation_is_not_taken_back_in_passing(centre: Centre) -> None:
    device = Device(serial="a1")
    assert isinstance(centre.ask(device, centre.said("enrol", "token", "north").strip()), Granted)
    centre.ask(replace(device, serial="b2"), "")
    centre.said("gates", "revoke", "north", "g-1")
    said = centre.said("enrol", "allow", "north", "g-1", status=1)
    assert "was revoked since" in said
    assert "central enrol refuse north g-1" in said


def test_a_revocation_is_on_the_brokers_list_at_once(centre: Centre) -> None:
    came = centre.ask(Device(), centre.said("enrol", "token", "north").strip())
    done = central("gates", "revoke", "north", "g-1", "--config", centre.folder / "central.toml")
    assert "ca.crl is written" in done.stderr
    [entry] = x509.load_pem_x509_crl((centre.folder / "ca.crl").read_bytes())
    assert entry.serial_number == came.certificate.serial_number
    assert "revoked" in centre.said("enrol", "list")
    (centre.folder / "ca.pem").unlink()
    centre.said("gates", "add", Path(__file__), status=2)  # what is no identity is still told so
    assert "could not be written" in revoked_again(centre)
    (centre.folder / "ca.key").unlink()  # a centre without an authority has no list
    assert revoked_again(centre) == ""


def revoked_again(centre: Centre) -> str:
    identity = {"site": "north", "gate": "g-2", "public_key": Device().public_key.hex()}
    (centre.folder / "identity").write_text(json.dumps(identity))
    centre.said("gates", "add", centre.folder / "identity")
    done = central("gates", "revoke", "north", "g-2", "--config", centre.folder / "central.toml")
    assert done.exit_code == 0
    return done.stderr


def test_certificates_for_the_broker_and_its_clients(centre: Centre) -> None:
    said = centre.said("enrol", "certificate", "broker", "--host", "broker.example", "--host", "192.0.2.1")
    assert f"made {centre.folder}/tls/broker.pem and .key" in said
    again = centre.said("enrol", "certificate", "broker", "--host", "broker.example", "--host", "192.0.2.1")
    assert again.startswith("kept")
    centre.said("enrol", "certificate", "reader")
    assert "name" in centre.said("enrol", "certificate", "../reader", status=1)
    assert "no names of a server" in centre.said("enrol", "certificate", "x", "--host", "bröker", status=1)


def test_where_the_authority_is_missing_it_is_said_what_to_do(centre: Centre) -> None:
    (centre.folder / "ca.key").unlink()
    assert "central init" in centre.said("enrol", "certificate", "reader", status=1)
    text = (centre.folder / "central.toml").read_text()
    section = '[enrolment]\nport = 8884\nnames = ["localhost"]\n'
    (centre.folder / "central.toml").write_text(text + section)
    assert "central init" in centre.said("run", status=EX_CONFIG)
    assert "central init" in centre.said("check-config", status=EX_CONFIG)


def test_a_port_that_is_taken_keeps_no_record_out(centre: Centre, caplog: pytest.LogCaptureFixture) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        open_store(f"sqlite:///{centre.folder}/central.db") as store,
        contextlib.ExitStack() as open_things,
    ):
        settings = EnrolmentSettings(taken.getsockname()[1], "127.0.0.1", ("127.0.0.1",))
        config = replace(load_config(centre.folder / "central.toml"), enrolment=settings)
        start_enrolment(config, store, SystemClock(), open_things)
        assert "no enrolment: cannot listen at 127.0.0.1" in caplog.text
        wait_for((centre.folder / "ca.crl").exists, 10, "the list, which is kept all the same")


def test_the_section_is_checked(centre: Centre) -> None:
    plain = {"centre": {"keys_dir": "/k", "store": "sqlite:////s"}, "mqtt": {"host": "b"}}
    good = parse_config(
        "c", plain | {"enrolment": {"port": 8884, "names": ["centre.example", "2001:db8::1"]}}
    )
    assert (good.enrolment.port, good.enrolment.names) == (8884, ("centre.example", "2001:db8::1"))
    for section, words in (
        ({"port": 8884}, "enrolment.names: is required with a port"),
        ({"port": 8884, "names": ["a b"]}, "'a b' is no host name"),
        ({"port": 0, "names": ["a"]}, "enrolment.port"),
        ({"prot": 1}, "did you mean 'port'"),
    ):
        with pytest.raises(ConfigError, match=words):
            parse_config("c", plain | {"enrolment": section})


def test_the_example_can_be_used(centre: Centre) -> None:
    text = (centre.folder / "central.toml").read_text()
    for line in ("ca_file", "cert_file", "key_file", "[enrolment]", "port = 8884", "names"):
        assert f"\n# {line}" in text
        text = text.replace(f"\n# {line}", f"\n{line}")
    (centre.folder / "central.toml").write_text(text)
    config = load_config(centre.folder / "central.toml")
    assert config.enrolment.port == 8884
    assert config.mqtt.ca_file is not None
    assert config.mqtt.ca_file.exists()
    assert config.mqtt.cert_file is not None
    assert config.mqtt.cert_file.exists()
    assert config.mqtt.key_file is not None
    assert config.mqtt.key_file.exists()
