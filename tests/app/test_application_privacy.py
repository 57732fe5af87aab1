"""The whole gate, and what leaves it: no name, no number, no reference by which to follow somebody."""

import base64
import json
import logging
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from nacl.public import PrivateKey, SealedBox

from gate.app.desk import DeskError, ask
from gate.app.identity import device_key
from gate.config import CentreSection, Config
from gate.core.codes.home import read_pass
from gate.core.events import Kind
from gate.core.pseudonyms import day_key, pseudonym
from gate.core.texts import Key
from gate.shell.desk import SOCKET_NAME
from gate.store.ledger import verify
from tests.app.running_gate import GATE, SITE, RunningGate, a_config
from tests.brokers import Mosquitto, Subscriber, wait_for
from tests.centre import CENTRE_KEY, SmallCentre, public
from tests.integration.test_centre_delivery import CentreClient

SEAL = PrivateKey(bytes(range(32)))
SAID = {"name": "Ouyang Xiu 欧阳修", "phone": "13800138000"}
CORRECTED = {"name": "Ouyang Xiu 欧阳修", "phone": "13900139000"}
PLAIN = ["Ouyang", "欧阳修", "13800138000", "13900139000"]


def with_centre(folder: Path, port: int) -> Config:
    path = folder / "centre.json"
    keys = {"sign": [public(CENTRE_KEY).hex()], "seal": bytes(SEAL.public_key).hex()}
    path.write_text(json.dumps(keys))
    return replace(a_config(folder, port), centre=CentreSection(path))


def register(gate: RunningGate, said: dict[str, str]) -> dict[str, Any]:
    return ask(gate.config.gate.state_dir / SOCKET_NAME, {"register": said})


def come_without_a_phone(gate: RunningGate) -> None:
    gate.come()
    gate.wait_recorded(Kind.VISIT_DECIDED, stage="referred")


def found(words: list[str], place: bytes) -> list[str]:
    """Return which of these stand there, in any of the ways in which text is written."""
    return [
        word
        for word in words
        if any(
            spelled in place
            for spelled in (
                word.encode(),
                word.encode("utf-16-le"),
                json.dumps(word).strip('"').encode(),
                base64.b64encode(word.encode())[:-4],
            )
        )
    ]


def test_what_a_visitor_says_of_themselves_is_nowhere_but_at_the_centre(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port, qos=1) as subscriber:
        config = with_centre(tmp_path, broker.port)
        device = public(device_key(config.gate.state_dir))
        with CentreClient(broker.port, SmallCentre(SITE, GATE, device)), RunningGate(config) as gate:
            come_without_a_phone(gate)
            for said in (SAID, CORRECTED):
                assert register(gate, said)["ok"]
            gate.place.press("confirm")
            gate.wait_shown(Key.PASS_PLEASE)
            gate.place.step_away()
            assert gate.place.push()
            gate.wait_recorded(Kind.VISIT_CLOSED)
            wait_for(lambda: subscriber.bodies("sealed"), 5, "what is sealed at the broker")
            wait_for(lambda: subscriber.bodies()[-1:] == gate.bodies()[-1:], 5, "every record at the broker")
            (tmp_path / "state" / "while-running").write_bytes(
                b"".join(path.read_bytes() for path in sorted(gate.ledger.parent.glob("ledger.db*")))
            )
        decided = gate.recorded(Kind.VISIT_DECIDED)[-1]
    assert decided["stage"] == "authorised"
    assert decided["evidence"]["registered"] == ["name", "phone"]
    assert verify(gate.ledger).ok

    attached = json.loads(subscriber.bodies("sealed")[0])
    sealed = base64.b64decode(attached["sealed"])
    assert sha256(sealed).hexdigest() == decided["sealed"]
    unsealed = json.loads(SealedBox(SEAL).decrypt(sealed))
    assert (unsealed["site"], unsealed["gate"], unsealed["fields"]) == (SITE, GATE, CORRECTED)

    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert {"ledger.db", "while-running"} <= {path.name for path in files}
    for path in files:
        assert found(PLAIN, path.read_bytes()) == [], path.name
    for topic, body in subscriber.messages:
        assert found(PLAIN, body) == [], topic
    assert found(PLAIN, caplog.text.encode()) == []


def test_without_a_centre_nothing_is_taken_down_and_nothing_is_kept(tmp_path: Path) -> None:
    with RunningGate(a_config(tmp_path)) as gate:
        come_without_a_phone(gate)
        with pytest.raises(DeskError, match="has no centre that could keep"):
            register(gate, SAID)
    assert gate.recorded(Kind.VISIT_DECIDED)[-1]["evidence"]["registered"] == []
    for path in (path for path in (tmp_path / "state").rglob("*") if path.is_file()):
        assert found(PLAIN, path.read_bytes()) == [], path.name


def a_visit_on_record(folder: Path, site_key: bytes | None) -> tuple[dict[str, Any], str, bytes]:
    """Let somebody pass; return the decision, the reference in their pass, and the key that was used."""
    folder.mkdir()
    config, shared = a_config(folder), folder / "shared.key"
    if site_key is not None:
        shared.write_bytes(site_key)
        config = replace(config, gate=replace(config.gate, site_key_file=shared))
    with RunningGate(config) as gate:
        issued: list[str] = []
        issue = gate.issuer.issue
        gate.issuer.issue = lambda: issued.append(issue()) or issued[-1]  # type: ignore[func-returns-value, method-assign, misc]
        gate.visit()
    subject = read_pass(issued[0].encode())[1].subject.hex()
    (event,) = [event for event in gate.events() if event["type"] == "hg.visit.decided.v1"]
    assert all(subject.encode() not in body for body in gate.bodies())
    return event, subject, site_key or (config.gate.state_dir / "site.key").read_bytes()


def in_china(time: str) -> str:
    """Return the day on which it is then, where the plan is followed."""
    return f"{datetime.fromisoformat(time).astimezone(timezone(timedelta(hours=8))).date()}"


def test_who_passes_has_a_name_of_the_day_and_of_the_site(tmp_path: Path) -> None:
    names = []
    for number, key in enumerate((bytes(range(32)), bytes(range(32)), None)):
        event, subject, used = a_visit_on_record(tmp_path / str(number), key)
        code = event["data"]["evidence"]["code"]
        day = in_china(event["time"])
        assert code["subject"] == pseudonym(day_key(used, day), "subject", subject)
        names.append((day, code["subject"]))
    assert names[0][0] != names[1][0] or names[0] == names[1], "one name at two gates with one key"
    assert names[2][1] not in {names[0][1], names[1][1]}, "a gate without it has a key of its own"
