"""A command that its gate refuses as replayed: the centre's own repetition, or somebody else's."""

import json

import pytest
from sqlalchemy import Engine

from central.alerts.book import Book, NotedAlert
from central.alerts.routing import Routing
from central.alerts.rules import Severity, of_record
from central.alerts.settings import AlertSettings, Role, Rule
from central.orders import book as orders
from central.orders.book import Order
from central.store import Store, StoredRecord
from gate.core.events import Kind
from tests.central.alerts.alerting import NOON_MS
from tests.central.orders.ordering import a_gate, found, made
from tests.central.store.ledgers import Ledger

ON_DUTY = Role("duty", ("mail:duty",))
SETTINGS = AlertSettings((ON_DUTY,), (Rule("duty", at_least=Severity.WARNING),))


@pytest.fixture
def order(store: Store) -> Order:
    a_gate(store)
    return made(store)


def send(store: Store, order: Order, times: int) -> None:
    for _ in range(times):
        assert orders.claim(store.engine, found(store, order.id), NOON_MS)


def refused(id_: str, reason: str = "replayed", *, gate: str = "g-1") -> StoredRecord:
    ledger = Ledger(gate=gate)
    ledger.write(
        1, "command", abnormal=True, id=id_, command="checkpoint", counter=1, outcome="refused", reason=reason
    )
    body = ledger.bodies[0]
    assert json.loads(body)["data"]["id"] == id_
    return StoredRecord("north", gate, "epoch1", 1, body, None, NOON_MS, NOON_MS, str(Kind.COMMAND), True)


def noted(engine: Engine, record: StoredRecord) -> NotedAlert:
    book = Book(engine, Routing(SETTINGS, {"mail:duty": "mail:duty"}))
    assert book.note(of_record(record), NOON_MS) == 1
    (alert,) = book.open_alerts()
    return alert


def test_what_the_centre_has_sent_twice_itself_is_a_notice(store: Store, order: Order) -> None:
    send(store, order, 2)
    alert = noted(store.engine, refused(order.id))
    assert (alert.severity, alert.roles) == (Severity.NOTICE, ())
    assert "both times from here" in alert.en


@pytest.mark.parametrize("times", [0, 1])
def test_what_somebody_else_has_sent_again_is_an_alarm(store: Store, order: Order, times: int) -> None:
    send(store, order, times)
    alert = noted(store.engine, refused(order.id))
    assert (alert.severity, alert.roles) == (Severity.ALARM, ("duty",))


@pytest.mark.parametrize(
    ("reason", "gate", "known"),
    [
        ("retained", "g-1", True),
        ("bad_signature", "g-1", True),
        ("replayed", "g-2", True),
        ("replayed", "g-1", False),
    ],
)
def test_nothing_else_is_milder(store: Store, order: Order, reason: str, gate: str, known: bool) -> None:
    send(store, order, 2)
    record = refused(order.id if known else "0" * 32, reason, gate=gate)
    assert noted(store.engine, record).severity is Severity.ALARM
