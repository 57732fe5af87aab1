"""What the doctor says of the way to the centre."""

import json
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner
from pytest import mark

from gate.app.doctor import Check, Status, machine
from gate.app.doctor.centre import centre
from gate.app.identity import KEY_NAME, device_key
from gate.cli import main as gate
from gate.config import Config, load_config
from gate.core.events import gate_stopped
from gate.core.moment import Moment
from gate.ports import Held
from gate.store.ledger import Ledger, Outbox
from tests.app.bounded import in_time
from tests.app.test_doctor import HOUR_MS, NOW, by_name, write_config


def a_config(folder: Path, *, keys: object = None) -> Config:
    """A gate with a centre, a device key and a ledger of three records written at NOW."""
    (folder / "centre.json").write_text(json.dumps(keys or {"sign": ["ab" * 32], "seal": "cd" * 32}))
    config = load_config(write_config(folder, extra=f'[centre]\nkeys_file = "{folder / "centre.json"}"'))
    device_key(config.gate.state_dir)
    path = config.gate.state_dir / "ledger.db"
    with closing(
        Ledger(path, site="north-hall", gate="gate-1", new_epoch="ab" * 8, boot_id="boot")
    ) as ledger:
        for _ in range(3):
            ledger.append(gate_stopped(), NOW)
    return config


def receipted(config: Config, upto: int) -> None:
    with closing(Outbox(config.gate.state_dir / "ledger.db")) as outbox:
        digest = outbox.hash_at(upto)
        assert digest is not None
        outbox.receive(Held("ab" * 8, upto, digest, NOW.wall_ms))


def checks(config: Config, later_ms: int = 0) -> dict[str, Check]:
    now = Moment(NOW.mono_ns, NOW.wall_ms + later_ms, clock_trusted=True)
    return by_name(centre(config, now))


def test_without_a_centre_nothing_is_expected(tmp_path: Path) -> None:
    found = by_name(centre(load_config(write_config(tmp_path)), NOW))
    assert {check.status for check in found.values()} == {Status.OK}
    assert list(found) == ["identity", "centre", "old ledgers"]


def test_all_is_well(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    receipted(config, 3)
    found = checks(config, 9 * HOUR_MS)
    assert {check.status for check in found.values()} == {Status.OK}
    assert found["identity"].value.startswith("key ")
    assert found["centre"].value.endswith("last receipt 9 h ago, 0 without one")


@mark.parametrize(("upto", "last"), [(None, "none yet"), (1, "2 h ago")])
def test_records_that_wait_for_more_than_an_hour(tmp_path: Path, upto: int | None, last: str) -> None:
    config = a_config(tmp_path)
    if upto is not None:
        receipted(config, upto)
    waiting = 3 - (upto or 0)
    assert checks(config, HOUR_MS)["centre"].status is Status.OK
    found = checks(config, 2 * HOUR_MS)["centre"]
    assert found.status is Status.WARNING
    assert found.value.endswith(f"last receipt {last}, {waiting} without one")
    assert "knows this gate's key" in found.advice


def test_a_gate_that_has_not_started_yet(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    for file in config.gate.state_dir.iterdir():
        file.unlink()
    found = checks(config)
    assert found["identity"].status is Status.WARNING
    assert "gate identity" in found["identity"].advice
    assert found["centre"].status is Status.OK
    assert not any(config.gate.state_dir.iterdir()), "the doctor makes nothing"


def spoil_mode(path: Path) -> None:
    path.chmod(0o644)


def spoil_content(path: Path) -> None:
    path.write_text("noise")


@mark.parametrize(
    ("spoil", "status", "advice"),
    [(spoil_mode, Status.WARNING, "chmod 600"), (spoil_content, Status.FAILED, "is damaged")],
)
def test_a_key_that_is_not_as_it_should_be(
    tmp_path: Path, spoil: Callable[[Path], None], status: Status, advice: str
) -> None:
    config = a_config(tmp_path)
    spoil(config.gate.state_dir / KEY_NAME)
    found = checks(config)["identity"]
    assert found.status is status
    assert advice in found.advice


def test_a_state_folder_that_cannot_be_looked_into(tmp_path: Path) -> None:
    """Such as that of the service's user; root may look everywhere, but not at a name of this length."""
    config = a_config(tmp_path)
    closed = replace(config, gate=replace(config.gate, state_dir=tmp_path / ("x" * 300)))
    found = checks(closed)
    assert found["identity"].status is Status.FAILED
    assert "only that user (or root) can work with it" in found["identity"].advice
    assert (found["centre"].status, found["old ledgers"].status) == (Status.SKIPPED, Status.SKIPPED)


def test_keys_of_the_centre_that_cannot_be_used(tmp_path: Path) -> None:
    found = checks(a_config(tmp_path, keys={"sign": ["x"]}))["centre"]
    assert (found.status, found.value) == (Status.FAILED, "2 problems with its keys")
    assert "seal: is required and missing" in found.advice


def test_a_ledger_that_is_damaged_is_for_another_check(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    (config.gate.state_dir / "ledger.db").write_bytes(b"noise" * 5000)
    assert checks(config)["centre"].status is Status.SKIPPED


def renewed(config: Config) -> Path:
    """Put the ledger of three records aside and begin another; return where the old one lies."""
    path = config.gate.state_dir / "ledger.db"
    with closing(
        Ledger(path, site="north-hall", gate="gate-1", new_epoch="unused", boot_id="boot")
    ) as ledger:
        ledger.renew("cd" * 8, "the centre knows another record 3")
        ledger.append(gate_stopped(), NOW)
    return path.with_name(f"ledger-{'ab' * 8}.db")


@mark.parametrize(("upto", "left"), [(None, "3 records"), (1, "2 records"), (2, "1 record")])
def test_records_of_an_old_ledger_that_the_centre_has_not_signed_for(
    tmp_path: Path, upto: int | None, left: str
) -> None:
    config = a_config(tmp_path)
    if upto is not None:
        receipted(config, upto)
    aside = renewed(config)
    there = {path.name: path.read_bytes() for path in config.gate.state_dir.iterdir()}
    found = checks(config)["old ledgers"]
    assert (found.status, found.value) == (Status.WARNING, f"{aside.name}: {left} not signed for")
    assert f"gate ledger export --jsonl {aside}" in found.advice
    assert {path.name: path.read_bytes() for path in config.gate.state_dir.iterdir()} == there
    exported = CliRunner().invoke(gate, ["ledger", "export", "--jsonl", str(aside)])
    assert len(exported.stdout.splitlines()) == 3
    aside.rename(tmp_path / aside.name)
    assert checks(config)["old ledgers"].status is Status.OK


def test_an_old_ledger_that_the_centre_has_signed_for(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    assert checks(config)["old ledgers"].value == "none put aside"
    receipted(config, 3)
    renewed(config)
    found = checks(config)["old ledgers"]
    assert (found.status, found.value) == (Status.OK, "1 put aside, all signed for by the centre")


def test_an_old_ledger_that_cannot_be_read(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    aside = renewed(config)
    aside.write_bytes(b"noise" * 5000)
    found = checks(config)["old ledgers"]
    assert (found.status, found.value) == (Status.WARNING, f"{aside.name} cannot be read")
    assert f"examine {aside}" in found.advice


def test_a_plan_that_the_centre_has_sent_is_named(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    sent = config.gate.state_dir / "policy.toml"
    sent.write_text('extends = "county-hall"\nname = "from-the-centre"\n')
    check = machine._policy(config)
    assert check.status is Status.OK
    assert check.value.startswith("from-the-centre, version ")
    assert check.value.endswith("sent by the centre in the place of township-routine")
    for trap in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        sent.unlink()
        trap(sent)
        refused = in_time(lambda: machine._policy(config))
        assert (refused.status, "followed instead" in refused.advice) == (Status.WARNING, True)
    sent.unlink()
    (tmp_path / "other.toml").write_text('extends = "county-hall"\nname = "from elsewhere"\n')
    sent.write_text(f'extends = "{tmp_path / "other.toml"}"\n')
    led = machine._policy(config)
    assert (led.status, "from elsewhere" in led.value) == (Status.WARNING, False), "as the gate reads it"
    sent.write_text("noise")
    damaged = machine._policy(replace(config))
    assert damaged.status is Status.WARNING
    assert "township-routine is followed instead" in damaged.advice
