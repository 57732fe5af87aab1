"""The AsyncAPI document of all messages is sound, and says what the code does; each check can fail."""

import base64
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gate.core.batches import BATCH_BYTES_MAX, pack
from gate.core.chain import genesis, link
from gate.core.delivery import Ask, Checkpoint, Receipt, Why
from gate.sinks.connection import PACKET_BYTES_MAX
from gate.sinks.settings import state_body, topic_prefix
from tests.asyncapi import NAME, Description, NotAsDescribedError, Wire, load, problems, references, schemas
from tests.centre import CENTRE_KEY, DEVICE_KEY

ROOT = Path(__file__).resolve().parents[1]
RECORDS = (ROOT / "tests" / "golden" / "events.jsonl").read_bytes().splitlines()
PREFIX = topic_prefix("north", "g-1")


def test_the_document_is_sound() -> None:
    assert problems(load()) == []


# What somebody might do to it; each must be noticed.


def drop_address(document: dict[str, Any]) -> None:
    del document["channels"]["records"]["address"]


def wrong_parameter(document: dict[str, Any]) -> None:
    document["channels"]["records"]["address"] = "hg/1/{site}/{gates}/ev"


def leading_slash(document: dict[str, Any]) -> None:
    document["channels"]["records"]["address"] = "/hg/1/{site}/{gate}/ev"


def dangling_channel(document: dict[str, Any]) -> None:
    document["operations"]["sendRecord"]["channel"]["$ref"] = "#/channels/record"


def channel_in_components(document: dict[str, Any]) -> None:
    document["operations"]["sendRecord"]["channel"]["$ref"] = "#/components/messages/record"


def message_of_another_channel(document: dict[str, Any]) -> None:
    document["operations"]["sendRecord"]["messages"][0]["$ref"] = "#/channels/state/messages/gateState"


def missing_schema(document: dict[str, Any]) -> None:
    document["components"]["messages"]["record"]["payload"]["schema"]["$ref"] = "./event-2.json"


def action_of_version_2(document: dict[str, Any]) -> None:
    document["operations"]["sendRecord"]["action"] = "publish"


def no_such_qos(document: dict[str, Any]) -> None:
    document["operations"]["sendRecord"]["bindings"]["mqtt"]["qos"] = 3


def field_of_version_2(document: dict[str, Any]) -> None:
    document["channels"]["records"]["publish"] = {}


def will_in_vain(document: dict[str, Any]) -> None:
    document["servers"]["broker"]["bindings"]["mqtt"]["lastWill"]["message"] = '{"v":1,"state":"gone"}'


def will_not_retained(document: dict[str, Any]) -> None:
    document["servers"]["broker"]["bindings"]["mqtt"]["lastWill"]["retain"] = False


def unused_channel(document: dict[str, Any]) -> None:
    del document["operations"]["sendState"]


def unused_message(document: dict[str, Any]) -> None:
    del document["operations"]["receiveRequest"]


def bad_example(document: dict[str, Any]) -> None:
    document["components"]["messages"]["gateState"]["examples"][0]["payload"]["mode"] = "tired"


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (drop_address, "channel records: no address"),
        (wrong_parameter, "channel records: its address has other parameters than are described"),
        (leading_slash, "channel records: '/hg/1/{site}/{gate}/ev' is no topic name"),
        (dangling_channel, "#/channels/record: nothing is there"),
        (channel_in_components, "operation sendRecord: #/components/messages/record is no channel"),
        (message_of_another_channel, "#/channels/state/messages/gateState is no message of its channel"),
        (missing_schema, "./event-2.json: no such file"),
        (action_of_version_2, "operation sendRecord: action publish"),
        (no_such_qos, "operation sendRecord: no such qos or retain"),
        (field_of_version_2, "channel records: unknown field publish"),
        (will_in_vain, "server broker: last will: hg/1/s/g/state"),
        (will_not_retained, "server broker: last will: hg/1/s/g/state"),
        (unused_channel, "channel state: no operation uses it"),
        (unused_message, "channel receipts: no operation brings request"),
        (bad_example, "message gateState: example: 'tired' is not one of"),
    ],
)
def test_harm_is_noticed(harm: Callable[[dict[str, Any]], None], problem: str) -> None:
    document = load()
    harm(document)
    assert [said for said in problems(document) if problem in said], problems(document)


# It says what the code does


def test_the_last_will_is_what_the_gate_leaves_with_the_broker() -> None:
    mqtt = load()["servers"]["broker"]["bindings"]["mqtt"]
    assert mqtt["lastWill"]["message"].encode() == state_body("lost", {})
    assert mqtt["lastWill"]["topic"].format(site="north", gate="g-1") == f"{PREFIX}/state"
    assert mqtt["maximumPacketSize"] == PACKET_BYTES_MAX


def test_every_schema_of_a_message_is_used() -> None:
    used = {reference[2:] for reference in references(load()) if reference.startswith("./")}
    assert used == set(schemas()) - {"dcc-1.json"}  # the content of a code, which is never sent


def test_the_size_of_a_batch_is_the_one_that_is_enforced() -> None:
    described = load()["components"]["messages"]["recordBatch"]["description"]
    assert f"at most {BATCH_BYTES_MAX} bytes" in described


# Which message is which


def checkpoint(**other: Any) -> bytes:
    given = {"site": "north", "gate": "g-1", "epoch": "e", "size": 2, "hash": bytes(32), "at_ms": 1}
    given |= {"clock_trusted": True, "boot_id": "b", "why": Why.START, "receipted": 1}
    return Checkpoint(**{**given, **other}).signed(DEVICE_KEY)


def receipt(ask: Ask) -> bytes:
    return Receipt("north", "g-1", "e", 2, bytes(32), 1, ask).signed(CENTRE_KEY)


def test_each_message_is_of_one_operation() -> None:
    description = Description()
    for wire, operation in (
        (Wire(f"{PREFIX}/ev", RECORDS[0], 1, False), "sendRecord"),
        (Wire(f"{PREFIX}/ev/batch", pack(RECORDS), 1, False), "sendRecordBatch"),
        (Wire(f"{PREFIX}/state", state_body("lost", {}), 1, True), "sendState"),
        (Wire(f"{PREFIX}/checkpoint", checkpoint(), 1, True), "sendCheckpoint"),
        (Wire(f"{PREFIX}/receipt", receipt(Ask.NOTHING), 1, True), "receiveReceipt"),
        (Wire(f"{PREFIX}/receipt", receipt(Ask.RECORDS), 1, False), "receiveRequest"),
        (Wire("hg/1/north/doc/risk_areas/county", b"HGD1:abcd", 1, True), "receiveDocument"),
    ):
        assert description.operation(wire) == operation


@pytest.mark.parametrize(
    "wire",
    [
        Wire(f"{PREFIX}/ev", RECORDS[0], 0, False),
        Wire(f"{PREFIX}/ev", RECORDS[0], 1, True),
        Wire(f"{PREFIX}/ev", RECORDS[0].replace(b'"verdict":"refuse"', b'"verdict":"maybe"'), 1, False),
        Wire(f"{PREFIX}/ev/batch", RECORDS[0], 1, False),
        Wire(f"{PREFIX}/ev/batch", pack([b"{}"]), 1, False),
        Wire(f"{PREFIX}/checkpoint", checkpoint(size=-1), 1, True),
        Wire(f"{PREFIX}/checkpoint", checkpoint(), 1, False),
        Wire(f"{PREFIX}/checkpoint", checkpoint().split(b"\n")[0], 1, True),
        Wire(f"{PREFIX}/receipt", receipt(Ask.RECORDS), 1, True),
        Wire(f"{PREFIX}/receipt", receipt(Ask.NOTHING), 1, False),
        Wire(f"{PREFIX}/hello", b"", 1, False),
    ],
)
def test_what_is_not_described_is_noticed(wire: Wire) -> None:
    with pytest.raises(NotAsDescribedError):
        Description().operation(wire)


# The text for people


def described() -> set[tuple[str, str, str]]:
    """Which topic, who sends it, whether it is retained: as the table in the text has it."""
    document, rows = load(), set()
    for name, channel in document["channels"].items():
        leaf = re.sub(r"^hg/1/{site}/({gate}/)?", "", channel["address"]).replace("{document}", "…")
        place = f"#/channels/{name}"
        here = [each for each in document["operations"].values() if each["channel"]["$ref"] == place]
        retained = {each["bindings"]["mqtt"]["retain"] for each in here}
        words = "not all" if len(retained) == 2 else "yes" if True in retained else "no"
        rows.add((leaf, "gate" if here[0]["action"] == "send" else "others", words))
    return rows


def test_the_text_shows_the_topics_as_they_are() -> None:
    text = (ROOT / "docs" / "messages.md").read_text("utf-8")
    table = text.split("## Topics")[1].split("## ")[0]
    found = re.findall(r"^\| `([^`]+)` \| (\w+) \| ([^|]+) \|", table, re.MULTILINE)
    assert set(found) == described()
    assert len(found) == len(described())


def test_the_text_names_every_schema() -> None:
    text = (ROOT / "docs" / "messages.md").read_text("utf-8")
    assert {name for name in (*schemas(), NAME) if f"../gate/schemas/{name}" not in text} == {"dcc-1.json"}


def test_the_text_says_how_the_chain_is_made() -> None:
    text = (ROOT / "docs" / "messages.md").read_text("utf-8")
    genesis_tag, record_tag = re.findall(r'SHA-256\( "([^"]+)" 00 ', text)
    first = hashlib.sha256(genesis_tag.encode() + b"\0" + b"5f0c").digest()
    assert first == genesis("5f0c")
    assert hashlib.sha256(record_tag.encode() + b"\0" + first + RECORDS[0]).digest() == link(
        first, RECORDS[0]
    )
    assert str(BATCH_BYTES_MAX) in text


def test_the_text_says_how_a_message_is_signed() -> None:
    line, _, proof = checkpoint().rpartition(b"\n")
    kid, signature = proof.split(b" ")
    key = DEVICE_KEY.public_key()
    key.verify(base64.b64decode(signature), b"health gate, message 1, checkpoint\0" + line)
    assert kid.decode() == hashlib.sha256(key.public_bytes_raw()).hexdigest()[:8]
