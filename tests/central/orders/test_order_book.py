"""The book of commands on every database: addressed, counted, signed, answered by the gate's own records."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from central.orders import book, command
from central.orders.answers import Answer
from central.orders.book import NotMadeError
from central.store import Arrived, Store
from gate.core.codes.model import Circumstances
from gate.core.commands import Address, Command, CommandRefusedError, Name, Refusal, open_command
from gate.core.events import Outcome
from tests.central.orders.ordering import S, a_gate, deliver, found, made, reply, wanted
from tests.central.store.ledgers import CENTRE, NOW_MS, Centre, Ledger

KEYS = [CENTRE.public_key().public_bytes_raw()]


def at_the_gate(message: bytes, now_ms: int = NOW_MS, counter: int = 0, epoch: str = "epoch1") -> Command:
    """What the gate makes of a message."""
    return open_command(
        message,
        keys=KEYS,
        to=Address("north", "g-1", epoch),
        at=Circumstances("north", now_ms, clock_trusted=True),
        counter=counter,
        retained=False,
    )


def test_the_gate_obeys_what_was_made_for_it(store: Store) -> None:
    a_gate(store)
    order = made(store, want=wanted(Name.SUSPEND, reason="cleaning"))
    obeyed = at_the_gate(order.message)
    assert (obeyed.id, obeyed.counter, obeyed.name) == (order.id, order.counter, Name.SUSPEND)
    assert dict(obeyed.args) == {"reason": "cleaning"}
    assert (order.made_by, order.summary, order.after, order.sent, order.answer) == (
        "Li",
        "cleaning",
        5,
        0,
        None,
    )


def test_it_is_void_when_the_store_says_so_and_not_before(store: Store) -> None:
    a_gate(store)
    order = made(store, NOW_MS + 700, wanted(expires_s=5))
    at_the_gate(order.message, order.expires_ms - 1)
    with pytest.raises(CommandRefusedError) as refused:
        at_the_gate(order.message, order.expires_ms)
    assert refused.value.reason is Refusal.EXPIRED
    assert [kept.id for kept in book.in_force(store.engine, order.expires_ms - 1)] == [order.id]
    assert book.in_force(store.engine, order.expires_ms) == []
    assert book.void_since(store.engine, NOW_MS, order.expires_ms - 1) == []
    assert book.void_since(store.engine, NOW_MS, order.expires_ms) == [order]


def test_a_gate_whose_clock_is_a_little_behind_obeys(store: Store) -> None:
    a_gate(store)
    at_the_gate(made(store).message, NOW_MS - 59 * S)


def test_the_longest_life_is_what_the_command_line_offers(store: Store) -> None:
    a_gate(store)
    assert command._EXPIRES_S_MAX == book.EXPIRES_S_MAX
    at_the_gate(made(store, want=wanted(expires_s=book.EXPIRES_S_MAX)).message)
    with pytest.raises(NotMadeError, match="lives for at most"):
        made(store, want=wanted(expires_s=book.EXPIRES_S_MAX + 1))


@pytest.mark.parametrize("now_ms", [NOW_MS, NOW_MS - 90 * 86_400_000])
def test_counters_rise_whatever_the_clock_does(store: Store, now_ms: int) -> None:
    a_gate(store)
    counters = [made(store).counter, made(store, now_ms).counter, made(store, NOW_MS + 60 * S).counter]
    assert counters == sorted(set(counters))


def test_counters_rise_for_several_operators_at_once(store: Store) -> None:
    a_gate(store)
    a_gate(store, "g-2", "other")

    def operate(_: int) -> None:
        for _ in range(10):
            book.make(store.engine, CENTRE, wanted(), NOW_MS)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(operate, range(4)))
    orders = book.newest(store.engine, 100)
    assert len({order.counter for order in orders}) == len({order.id for order in orders}) == 40
    counter = 0
    for order in orders:
        counter = at_the_gate(order.message, counter=counter).counter  # none is taken for a repetition


def test_a_centre_restored_from_a_backup_counts_on(store: Store) -> None:
    a_gate(store)
    last = at_the_gate(made(store, NOW_MS).message).counter
    with store.engine.begin() as connection:  # the backup was made before
        connection.exec_driver_sql("DELETE FROM commands")
    at_the_gate(made(store, NOW_MS + 10 * S).message, NOW_MS + 10 * S, counter=last)


def test_a_command_is_for_the_ledger_that_the_gate_has_signed_for_last(store: Store) -> None:
    old = a_gate(store)
    forged = Ledger("forged")
    forged.write(3)
    Centre(store).take(forged.arrived())
    assert made(store).epoch == "epoch1"
    new = Ledger("epoch2")
    new.follow(old)
    deliver(store, new)
    assert made(store).epoch == "epoch2"


def test_a_ledger_that_was_left_is_not_the_present_one_although_it_was_heard_last(store: Store) -> None:
    old = a_gate(store)
    new = Ledger("epoch2")
    new.follow(old)
    deliver(store, new)
    centre = Centre(store)
    centre.now_ms += 60 * S
    centre.hear(old, old.checkpoint(at_ms=old.at_ms + 1))  # a broker has kept it back
    assert max(store.streams(), key=lambda state: state.heard_ms or 0).epoch == "epoch1"
    assert made(store).epoch == "epoch2"


def test_a_gate_that_has_never_signed_is_told_nothing(store: Store) -> None:
    for site in ("north", "south"):
        with pytest.raises(NotMadeError, match="never sent a checkpoint"):
            made(store, want=replace(wanted(), site=site))


@pytest.mark.parametrize(
    ("name", "args", "problem"),
    [
        (Name.SUSPEND, {"reason": ""}, "reason: 1 to 100 characters"),
        (Name.SUSPEND, {"reason": "two\nlines"}, "one line of text"),
        (Name.SUSPEND, {}, "suspend takes reason"),
        (Name.RESEND, {"after": -1}, "after: 0 to"),
        (Name.POLICY, {"text": "x" * 49_153}, "text: 1 to 49152 characters"),
        (Name.POLICY, {"text": "消" * 40_000}, "more than 65536 bytes"),
    ],
)
def test_what_no_gate_would_read_is_not_made(
    store: Store, name: Name, args: dict[str, str | int], problem: str
) -> None:
    a_gate(store)
    with pytest.raises(NotMadeError, match=problem):
        made(store, want=wanted(name, **args))
    assert book.newest(store.engine, 10) == []


def test_the_answer_is_a_record_that_came_after_it_was_made(store: Store) -> None:
    ledger = a_gate(store)
    order = made(store)
    ledger.write(2)
    reply(ledger, order)
    Centre(store).take(ledger.arrived(6))
    assert found(store, order.id).answer == Answer(Outcome.DONE, "", "epoch1", 8, proved=False)
    Centre(store).hear(ledger)
    assert found(store, order.id).answer == Answer(Outcome.DONE, "", "epoch1", 8, proved=True)


def test_abnormal_records_that_come_first_do_not_answer_for_those_behind_them(store: Store) -> None:
    ledger = a_gate(store)
    order = made(store)
    ledger.write(3)
    reply(ledger, order)
    reply(ledger, order, "refused", "replayed")
    Centre(store).take(ledger.arrived(10))
    assert found(store, order.id).answer is None
    deliver(store, ledger, 6)
    assert found(store, order.id).answer == Answer(Outcome.DONE, "", "epoch1", 9, proved=True)


def test_an_answer_in_the_ledger_that_followed_is_found(store: Store) -> None:
    old = a_gate(store)
    order = made(store)
    new = Ledger("epoch2")
    new.follow(old)
    reply(new, order, "refused", "misaddressed")
    deliver(store, new)
    found_ = found(store, order.id).answer
    assert found_ is not None
    assert (found_.epoch, found_.seq, found_.reason) == ("epoch2", 2, "misaddressed")


def test_an_answer_in_a_ledger_that_came_before_the_one_that_it_follows_is_found(store: Store) -> None:
    """The abnormal records of a new ledger have come, then the rest of the old one, of which nobody knew."""
    old, new = Ledger("epoch1"), Ledger("epoch2")
    old.write(5)
    new.follow(old)
    centre = Centre(store)
    centre.register(old)
    centre.take(new.arrived())
    centre.prove(old)
    order = made(store)
    assert order.epoch == "epoch1"
    reply(new, order, "refused", "misaddressed")
    deliver(store, new)
    later = made(store, NOW_MS + S)
    reply(new, later)
    deliver(store, new, new.size)
    first, second = book.newest(store.engine, 10)
    assert first.answer == Answer(Outcome.REFUSED, "misaddressed", "epoch2", 2, proved=True)
    assert second.answer == Answer(Outcome.DONE, "", "epoch2", 3, proved=True)


def test_an_answer_to_another_gate_is_none(store: Store) -> None:
    a_gate(store)
    other = a_gate(store, "g-2", "other")
    order = made(store)
    reply(other, order)
    deliver(store, other, 6)
    assert found(store, order.id).answer is None


def test_what_the_gate_said_before_answers_nothing(store: Store) -> None:
    ledger = a_gate(store)
    reply(ledger, made(store))
    deliver(store, ledger, 6)
    later = made(store, NOW_MS + S)
    assert later.after == 6
    assert [order.answer is None for order in book.newest(store.engine, 10)] == [False, True]


def test_each_sending_is_claimed_by_one(store: Store) -> None:
    a_gate(store)
    order = made(store)
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(lambda _: book.claim(store.engine, order, NOW_MS + S), range(4))) == [
            False, False, False, True,
        ]  # fmt: skip
    sent = found(store, order.id)
    assert (sent.sent, sent.sent_ms) == (1, NOW_MS + S)
    assert book.claim(store.engine, sent, NOW_MS + 2 * S)
    assert found(store, order.id).sent == 2


def test_the_newest_are_listed_oldest_first(store: Store) -> None:
    a_gate(store)
    a_gate(store, "g-2", "other")
    for second in range(6):
        made(store, NOW_MS + second * S, wanted(gate=f"g-{second % 2 + 1}"))
    listed = book.newest(store.engine, 3)
    assert [order.made_ms for order in listed] == [NOW_MS + 3 * S, NOW_MS + 4 * S, NOW_MS + 5 * S]
    assert {order.gate for order in book.newest(store.engine, 10, "north", "g-2")} == {"g-2"}
    assert len(book.newest(store.engine, 10, "north")) == 6
    assert book.newest(store.engine, 10, "south") == []


def test_a_record_of_another_kind_is_no_answer(store: Store) -> None:
    ledger = a_gate(store)
    order = made(store)
    body = ledger.bodies[-1].replace(b'"visit":"000005"', f'"id":"{order.id}","outcome":"done"'.encode())
    Centre(store).take([Arrived("north", "g-1", body.replace(b'"seq":5', b'"seq":6'))])
    assert found(store, order.id).answer is None
