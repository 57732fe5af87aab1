"""A gate on paper that answers commands, and a centre that gives them."""

from typing import Any

from central.orders import book
from central.orders.book import Order, Wanted
from central.store import Store
from gate.core.commands import Name
from tests.central.store.ledgers import CENTRE, NOW_MS, Centre, Ledger

S = 1000


def wanted(name: Name = Name.CHECKPOINT, *, gate: str = "g-1", expires_s: int = 120, **args: Any) -> Wanted:
    return Wanted("north", gate, name, args, "a file", "Li", expires_s)


def a_gate(store: Store, gate: str = "g-1", epoch: str = "epoch1") -> Ledger:
    """A registered gate with five proved records."""
    ledger, centre = Ledger(epoch, gate=gate), Centre(store)
    centre.register(ledger)
    ledger.write(5)
    centre.prove(ledger)
    return ledger


def made(store: Store, now_ms: int = NOW_MS, want: Wanted | None = None) -> Order:
    return found(store, book.make(store.engine, CENTRE, want or wanted(), now_ms))


def found(store: Store, id_: str) -> Order:
    order = book.find(store.engine, id_)
    assert order is not None
    return order


def reply(ledger: Ledger, order: Order, outcome: str = "done", reason: str = "") -> None:
    """Write the gate's record of what became of a command."""
    said = {"id": order.id, "command": str(order.name), "counter": order.counter, "outcome": outcome}
    more = {"reason": reason} if reason else {}
    ledger.write(1, "command", abnormal=outcome != "done", **said, **more)


def deliver(store: Store, ledger: Ledger, first: int = 1) -> None:
    Centre(store).prove(ledger, first)
