"""The faults of a chaos run: the same for a seed, and none forgotten."""

from itertools import islice

from tests.chaos.faults import BROKER, CENTRE, Fault, Kind, deal

GATES = ("g1", "g2", "g3")
DECK = 2 * 3 + 3 + 4 + 2


def dealt(seed: int, count: int = DECK) -> list[Fault]:
    return list(islice(deal(seed, GATES), count))


def test_the_seed_says_what_goes_wrong() -> None:
    assert dealt(1, 100) == dealt(1, 100)
    assert dealt(1, 100) != dealt(2, 100)


def test_every_deck_has_everything() -> None:
    for faults in (dealt(3), dealt(3, 2 * DECK)[DECK:]):
        struck = {(fault.kind, fault.target) for fault in faults}
        assert struck == {
            *((kind, gate) for kind in (Kind.KILL, Kind.FREEZE) for gate in GATES),
            (Kind.KILL, BROKER), (Kind.KILL, CENTRE), (Kind.FREEZE, CENTRE), (Kind.FLOOD, CENTRE),
        }  # fmt: skip


def test_a_frozen_link_is_one_that_must_be_given_up() -> None:
    assert all(fault.lasts_s > 1.5 * 5 for fault in dealt(4, 200) if fault.kind is Kind.FREEZE)
