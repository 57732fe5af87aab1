"""What docs/enrolment.md says of the broker beyond tests/integration/test_mosquitto_tls.py."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from central.clock import SystemClock
from gate.app.identity import device_key
from tests.brokers import wait_for
from tests.deploy.cards import ROOT
from tests.integration.secure_broker import SecureBroker
from tests.integration.test_mosquitto_tls import client


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[SecureBroker]:
    with SecureBroker(tmp_path / "broker") as broker:
        yield broker


def on_a_board(broker: SecureBroker, name: str, folder: Path) -> dict[str, Any]:
    """Return the files of a gate whose certificate names its board."""
    files = broker.gate(name, folder)
    key = device_key(folder).public_key().public_bytes_raw()
    made = broker.authority.gate_certificate(name, key, SystemClock().now_ms(), "10000000abcdef01")
    (folder / "gate.pem").write_bytes(made.public_bytes(Encoding.PEM))
    return files


def test_a_gate_whose_certificate_names_its_board_is_still_known_by_its_name(
    broker: SecureBroker, tmp_path: Path
) -> None:
    with client(broker, on_a_board(broker, "north/gate-1", tmp_path / "1")) as gate:
        assert gate.write("hg/1/north/gate-1/ev")
        assert not gate.write("hg/1/north/gate-2/ev")


def test_documents_can_be_kept_to_the_gates_of_a_site(broker: SecureBroker, tmp_path: Path) -> None:
    """As the page says: two lines for each gate in the place of the last one."""
    said = (ROOT / "docs" / "enrolment.md").read_text("utf-8").split("```\nuser ")[1].split("```")[0]
    acl = (broker.place / "acl").read_text().replace("pattern read hg/1/+/doc/#\n", "")
    for site in ("north", "south"):
        acl += f"user {said}".replace("county-hall", site).replace("gate-1a2b3c4d", "gate-1")
    (broker.place / "acl").write_text(acl)
    (broker.keys / "ca.crl").write_text(
        (broker.keys / "ca.crl").read_text() + "\n"
    )  # so that it reads all again
    broker.refresh()
    with (
        client(broker, broker.own("documents")) as documents,
        client(broker, on_a_board(broker, "north/gate-1", tmp_path / "1")) as gate,
    ):
        gate.listen("#")
        for topic in ("hg/1/south/doc/risk", "hg/1/north/doc/risk"):  # the other's first
            assert documents.write(topic)
        wait_for(lambda: "hg/1/north/doc/risk" in gate.heard, 5, "the document")
        assert set(gate.heard) == {"hg/1/north/doc/risk"}
        assert gate.write("hg/1/north/gate-1/ev")
        assert not gate.write("hg/1/north/doc/risk")
