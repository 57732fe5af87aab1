"""The ledgers of one gate come in any order: what the centre makes of them in the end is the same.

Each order is played by a gate of its own, all of them in one store.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations

import pytest

from central.status import overview
from central.store import Store
from central.store.succession import in_succession
from tests.central.store.ledgers import Centre, Ledger

Step = Callable[[Centre], object]
Script = Callable[[str], list[Step]]
Chain = dict[str, tuple[str, int | None, int]]
Standing = list[tuple[str, str, int | None, int | None]]

sqlite = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
postgresql = pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)


def takes(ledger: Ledger, first: int = 1, last: int | None = None) -> Step:
    return lambda centre: centre.take(ledger.arrived(first, last))


def hears(ledger: Ledger, size: int | None = None) -> Step:
    message = ledger.checkpoint(size)
    return lambda centre: centre.hear(ledger, message)


def begun(gate: str, epoch: str, after: Ledger | None = None, *, size: int | None = None) -> Ledger:
    """A ledger of 4 records when it follows another one, else of 3."""
    ledger = Ledger(epoch, gate=gate)
    if after is not None:
        ledger.follow(after, size=size)
    ledger.write(3)
    return ledger


def two(gate: str) -> list[Step]:
    old = begun(gate, "epoch1")
    new = begun(gate, "epoch2", old)
    return [takes(old), hears(old), takes(new), hears(new)]


def three(gate: str) -> list[Step]:
    """The first two are proved by the word of those that follow them."""
    first = begun(gate, "epoch1")
    second = begun(gate, "epoch2", first)
    third = begun(gate, "epoch3", second)
    return [takes(first), hears(first, 2), takes(second), takes(third), hears(third)]


def newest_at_once(gate: str) -> list[Step]:
    first = begun(gate, "epoch1")
    second = begun(gate, "epoch2", first)
    third = begun(gate, "epoch3", second)
    return [lambda centre: centre.prove(third), takes(first), hears(first), takes(second)]


def cut(gate: str) -> list[Step]:
    old = begun(gate, "epoch1")
    new = begun(gate, "epoch2", old, size=2)
    return [takes(old), hears(old), takes(new), hears(new)]


def another_past(gate: str) -> list[Step]:
    old, other = begun(gate, "epoch1"), Ledger("epoch1", gate=gate)
    other.write(3, "gate.mode")
    new = begun(gate, "epoch2", other)
    return [takes(old), hears(old), takes(new), hears(new)]


def two_devices(gate: str) -> list[Step]:
    """The old ledger is signed for, longer, after the new one was."""
    old = begun(gate, "epoch1")
    new = begun(gate, "epoch2", old)
    known, anew = hears(old), hears(new)
    old.at_ms = new.at_ms
    old.write(2)
    return [takes(old), known, takes(new), anew, hears(old)]


TWO: Chain = {"epoch1": ("epoch2", 3, 3), "epoch2": ("", None, 4)}
THREE: Chain = {"epoch1": ("epoch2", 3, 3), "epoch2": ("epoch3", 4, 4), "epoch3": ("", None, 4)}
SCRIPTS: list[tuple[Script, Chain, Standing]] = [
    (two, TWO, []),
    (three, THREE, []),
    (newest_at_once, THREE, []),
    (cut, TWO | {"epoch1": ("epoch2", 2, 3)}, [("epoch1", "cut_tail", 3, 3)]),
    (another_past, TWO, [("epoch1", "checkpoint_differs", 1, 3)]),
    (two_devices, TWO | {"epoch1": ("epoch2", 3, 5)}, [("epoch1", "old_epoch_goes_on", 4, 5)]),
]


# More orders than these take seconds: the plain suite plays every seventh of them, `make soak` all.
ALL_MAX = 24
EVERY_ORDER = pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.soak)])


def play(centre: Centre, script: Script, step: int = 1) -> dict[str, tuple[int, ...]]:
    """Let the steps come in every order, each at another gate; return the orders by gate.

    Of more orders than ALL_MAX only every `step`th one is played.
    """
    orders = list(permutations(range(len(script("g")))))
    orders = orders[::step] if len(orders) > ALL_MAX else orders
    gates = {f"g-{number}": order for number, order in enumerate(orders)}
    for gate, order in gates.items():
        centre.register(Ledger(gate=gate))
        steps = script(gate)
        for number in order:
            steps[number](centre)
    return gates


def chain(centre: Centre, gate: str) -> Chain:
    """What follows each ledger, where it ended, and how much of it is proved."""
    return {one.epoch: (one.successor, one.ended, one.proved) for one in centre.store.streams("north", gate)}


def raised(store: Store, *, standing: bool = True) -> dict[str, Standing]:
    found: dict[str, Standing] = {}
    for alarm in store.alarms(standing=standing):
        about = alarm.about
        found.setdefault(about.gate, []).append((about.epoch, about.code, about.first, about.last))
    return found


def same_in_every_order(
    centre: Centre, script: Script, expected: Chain, standing: Standing, step: int = 1
) -> None:
    gates = play(centre, script, step)
    alarms = raised(centre.store, standing=False)
    for gate, order in gates.items():
        assert (chain(centre, gate), alarms.get(gate, [])) == (expected, standing), order
    assert centre.problems() == []


@sqlite
@EVERY_ORDER
@pytest.mark.parametrize(("script", "expected", "standing"), SCRIPTS)
def test_ledgers_stand_in_the_order_that_they_state_in_whatever_order_they_come(
    centre: Centre, script: Script, expected: Chain, standing: Standing, step: int
) -> None:
    same_in_every_order(centre, script, expected, standing, step)


@postgresql
def test_so_they_do_on_the_other_database(centre: Centre) -> None:
    same_in_every_order(centre, another_past, TWO, [("epoch1", "checkpoint_differs", 1, 3)])


@sqlite
def test_of_two_ledgers_without_a_word_the_one_that_came_last_is_the_new_one(centre: Centre) -> None:
    """Nothing but arrival says which is which; that one of them is wrong is said in every order."""

    def script(gate: str) -> list[Step]:
        one, other = begun(gate, "epoch1"), begun(gate, "epoch2")
        return [takes(one), hears(one), takes(other), hears(other)]

    gates = play(centre, script)
    alarms = raised(centre.store)
    for gate, order in gates.items():
        old, new = ("epoch1", "epoch2") if order[0] in {0, 1} else ("epoch2", "epoch1")
        assert chain(centre, gate) == {old: (new, None, 3), new: ("", None, 3)}, order
        assert alarms[gate] == [(new, "unannounced_epoch", 1, 1)], order


@sqlite
def test_what_follows_an_unknown_ledger_waits_for_its_word(centre: Centre, ledger: Ledger) -> None:
    centre.prove(ledger)
    unknown = Ledger("epoch2")
    unknown.write(2)
    new = Ledger("epoch3")
    new.follow(unknown)
    centre.prove(new)
    assert centre.standing() == []
    centre.take(unknown.arrived())  # and it does not say whom it follows
    assert centre.standing() == [("epoch2", "unannounced_epoch", 1, 1)]


@sqlite
def test_what_follows_a_ledger_without_records_waits_for_nothing(centre: Centre, ledger: Ledger) -> None:
    centre.prove(ledger)
    new = Ledger("epoch3")
    new.follow(Ledger("epoch2"))
    centre.prove(new)
    assert centre.standing() == [("epoch3", "unannounced_epoch", 1, 1)]
    assert chain(centre, "g-1")["epoch1"] == ("epoch3", None, 10)


@sqlite
def test_ledgers_that_follow_each_other_are_no_circle(centre: Centre) -> None:
    one, other = Ledger("epoch1"), Ledger("epoch2")
    one.follow(other)  # as long as there is nothing of it
    other.follow(one)
    centre.register(one)
    centre.prove(one)
    centre.prove(other)
    assert chain(centre, "g-1") == {"epoch2": ("epoch1", 0, 1), "epoch1": ("", None, 1)}
    assert centre.standing() == [("epoch2", "old_epoch_goes_on", 1, 1)]


@sqlite
def test_an_alarm_that_a_person_has_ended_is_not_raised_anew_by_the_next_ledger(
    centre: Centre, ledger: Ledger
) -> None:
    centre.prove(ledger)
    flashed = Ledger("epoch2")
    flashed.write(2)
    centre.prove(flashed)
    (alarm,) = centre.store.alarms()
    centre.store.clear_alarm(alarm.id, centre.now_ms, by="li", reason="a new card")
    new = Ledger("epoch3")
    new.follow(flashed)
    centre.prove(new)
    assert centre.standing() == []
    assert [one.successor for one in centre.store.streams()] == ["epoch2", "epoch3", ""]


@sqlite
def test_of_two_that_say_to_follow_the_same_ledger_the_second_is_without_a_word(
    centre: Centre, ledger: Ledger
) -> None:
    centre.prove(ledger)
    for epoch in ("epoch2", "epoch3"):
        new = Ledger(epoch)
        new.follow(ledger)
        centre.prove(new)
    assert centre.standing() == [("epoch3", "unannounced_epoch", 1, 1)]
    assert [one.successor for one in centre.store.streams()] == ["epoch2", "epoch3", ""]


@dataclass(frozen=True)
class Row:
    """A ledger as `in_succession` sees it."""

    id: int
    epoch: str
    successor: str = ""
    site: str = "north"
    gate: str = "g-1"


def order(*rows: Row) -> str:
    return " ".join(row.epoch for row in in_succession(rows))


def test_ledgers_stand_before_those_that_follow_them_and_else_by_first_arrival() -> None:
    assert order(Row(1, "c"), Row(2, "b", "c"), Row(3, "a", "b")) == "a b c"
    assert order(Row(3, "c"), Row(2, "x"), Row(1, "a", "c")) == "a x c"
    assert order(Row(1, "c"), Row(2, "x"), Row(3, "a", "c")) == "x a c"
    assert order(Row(2, "c"), Row(3, "a", "c"), Row(4, "b", "c")) == "a b c"
    assert order(Row(1, "b", "elsewhere"), Row(2, "a")) == "b a"


def test_each_gate_has_an_order_of_its_own() -> None:
    of_another = Row(1, "other", "c", gate="g-2")
    assert order(Row(4, "c"), of_another, Row(5, "a", "c")) == "a c other"


def test_a_circle_in_a_damaged_store_leaves_none_out() -> None:
    circle = Row(3, "b", "c"), Row(4, "c", "b")
    assert order(Row(1, "a"), *circle, Row(2, "self", "self")) == "a self b c"


def came_backwards(centre: Centre, ledger: Ledger) -> None:
    """Three ledgers of one gate, the newest of which has come first."""
    found = [ledger]
    for epoch in ("epoch2", "epoch3"):
        new = Ledger(epoch)
        new.follow(found[-1])
        new.write(2)
        found.append(new)
    for one in reversed(found):
        centre.take(one.arrived())
        centre.hear(one)


def test_the_newest_ledger_is_the_last_although_it_came_first(centre: Centre, ledger: Ledger) -> None:
    came_backwards(centre, ledger)
    states = centre.store.streams("north", "g-1")
    assert [one.epoch for one in states] == ["epoch1", "epoch2", "epoch3"]
    assert states[0].id > states[-1].id
    seqs = [(record.epoch, record.seq) for record in centre.store.records()]
    assert (seqs[0], seqs[-1]) == (("epoch1", 1), ("epoch3", 3))
    (status,) = overview(centre.store, centre.now_ms)
    assert (status.epoch, status.stated) == ("epoch3", 3)
