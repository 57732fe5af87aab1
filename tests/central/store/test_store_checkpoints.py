import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from central.store import AlarmKind, Arrived, Trust
from gate.core.codes.trust import key_id
from gate.core.delivery import Ask, Why
from tests.central.store.ledgers import Centre, Ledger, altered


def forged(ledger: Ledger, seq: int) -> list[Arrived]:
    """All records of a ledger, one of them altered."""
    records = ledger.arrived()
    records[seq - 1] = altered(records[seq - 1])
    return records


def test_a_checkpoint_with_the_same_hash_proves_all_up_to_its_size(centre: Centre, ledger: Ledger) -> None:
    centre.take(ledger.arrived())
    outcome = centre.hear(ledger, ledger.checkpoint(7))
    assert outcome.state is not None
    assert (outcome.trust, outcome.advanced, outcome.ask) == (Trust.TRUSTED, True, Ask.NOTHING)
    assert (outcome.state.proved, outcome.state.proved_hash) == (7, ledger.hashes[7])
    outcome = centre.hear(ledger)
    assert outcome.state is not None
    assert (outcome.state.proved, outcome.state.backlog) == (10, 0)
    assert centre.problems() == []


def test_a_checkpoint_that_is_ahead_proves_when_its_records_have_come(centre: Centre, ledger: Ledger) -> None:
    outcome = centre.hear(ledger)
    assert outcome.state is not None
    assert (outcome.advanced, outcome.state.head, outcome.state.backlog) == (False, 10, 10)
    assert not centre.take(ledger.arrived(1, 9)).progress[0].advanced
    (progress,) = centre.take(ledger.arrived(10)).progress
    assert (progress.advanced, progress.state.proved) == (True, 10)


def test_of_several_checkpoints_ahead_the_farthest_that_is_reached_proves(
    centre: Centre, ledger: Ledger
) -> None:
    for size in (4, 8, 10):
        centre.hear(ledger, ledger.checkpoint(size))
    (progress,) = centre.take(ledger.arrived(1, 9)).progress
    assert progress.state.proved == 8


def test_an_empty_ledger_is_heard_and_proves_nothing(centre: Centre) -> None:
    ledger = Ledger()
    centre.register(ledger)
    outcome = centre.hear(ledger)
    assert outcome.state is not None
    assert (outcome.advanced, outcome.state.proved, outcome.state.heard_ms) == (False, 0, centre.now_ms)


def test_a_repeated_checkpoint_is_no_news_but_is_answered(centre: Centre, ledger: Ledger) -> None:
    centre.take(ledger.arrived())
    first = centre.hear(ledger)
    again = centre.hear(ledger)
    assert (first.repeated, again.repeated, again.trust) == (False, True, Trust.TRUSTED)
    assert again.state == first.state  # also when the gate was last heard
    assert centre.store.alarms() == []


def test_while_nothing_is_new_only_the_first_and_the_last_heartbeat_stay(
    centre: Centre, ledger: Ledger
) -> None:
    centre.take(ledger.arrived())
    for minute in range(10):
        assert not centre.hear(ledger, ledger.checkpoint(at_ms=ledger.at_ms + minute * 60_000)).repeated
    with centre.store.engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT at_ms FROM checkpoints ORDER BY id").scalars().all()
    assert kept == [ledger.at_ms, ledger.at_ms + 9 * 60_000]
    assert centre.problems() == []


def test_an_older_checkpoint_that_comes_late_is_no_alarm(centre: Centre, ledger: Ledger) -> None:
    centre.take(ledger.arrived())
    centre.hear(ledger)
    late = ledger.checkpoint(6, at_ms=ledger.at_ms - 500)
    outcome = centre.hear(ledger, late)
    assert outcome.state is not None
    assert (outcome.trust, outcome.state.proved, outcome.raised) == (Trust.TRUSTED, 10, ())


def test_fewer_records_than_before_are_concealed(centre: Centre, ledger: Ledger) -> None:
    centre.take(ledger.arrived())
    centre.hear(ledger)
    (alarm,) = centre.hear(ledger, ledger.checkpoint(6, at_ms=ledger.at_ms + 60_000)).raised
    assert (alarm.about.kind, alarm.about.code) == (AlarmKind.CONCEALED, "went_back")
    assert (alarm.about.first, alarm.about.last) == (7, 10)
    assert alarm.about.evidence["size_before"] == 10


def test_how_far_a_backlog_has_been_sent_proves_that_much_and_says_nothing_of_the_rest(
    centre: Centre, ledger: Ledger
) -> None:
    centre.hear(ledger)
    centre.take(ledger.arrived(1, 6))
    sent = ledger.checkpoint(6, at_ms=ledger.at_ms + 60_000, why=Why.COUNT)
    outcome = centre.hear(ledger, sent)
    assert outcome.state is not None
    assert (outcome.state.proved, outcome.state.head, outcome.raised) == (6, 10, ())
    (alarm,) = centre.hear(ledger, ledger.checkpoint(6, at_ms=ledger.at_ms + 61_000)).raised
    assert alarm.about.code == "went_back", "but who states the whole of a ledger means it"
    assert centre.problems() == []


def test_altered_records_are_cast_out_and_asked_for_again(centre: Centre, ledger: Ledger) -> None:
    centre.take(ledger.arrived(1, 3))
    centre.hear(ledger, ledger.checkpoint(3))
    centre.take(forged(ledger, 5))
    outcome = centre.hear(ledger)
    assert outcome.state is not None
    assert (outcome.ask, outcome.state.linked, outcome.state.proved, outcome.state.conflicts) == (
        Ask.RECORDS, 3, 3, 7,
    )  # fmt: skip
    assert centre.standing() == [("epoch1", "checkpoint_differs", 4, 10)]
    (progress,) = centre.take(ledger.arrived(4)).progress  # the same checkpoint proves the right ones
    assert (progress.state.proved, progress.ask) == (10, Ask.NOTHING)
    assert ("epoch1", "altered", 5, 5) in centre.standing()  # and it is known which one was altered
    assert [record.body for record in centre.store.records()] == ledger.bodies
    assert centre.problems() == []


def test_altered_records_are_cast_out_when_they_reach_the_checkpoint(centre: Centre, ledger: Ledger) -> None:
    centre.hear(ledger)
    (progress,) = centre.take(forged(ledger, 5)).progress
    assert (progress.ask, progress.state.top) == (Ask.RECORDS, 0)
    assert centre.take(ledger.arrived()).progress[0].advanced


def test_a_checkpoint_casts_out_only_once(centre: Centre, ledger: Ledger) -> None:
    """Two devices that sign for one ledger: the records of the one, the checkpoint of the other."""
    clone = Ledger()
    clone.write(9)
    clone.write(1, "gate.mode")
    centre.hear(clone)
    assert centre.take(ledger.arrived()).progress[0].ask is Ask.RECORDS
    (progress,) = centre.take(ledger.arrived()).progress
    assert (progress.ask, progress.state.linked) == (Ask.NOTHING, 10)
    outcome = centre.hear(ledger, ledger.checkpoint(at_ms=ledger.at_ms + 1))
    assert outcome.advanced
    assert centre.problems() == []


def test_a_checkpoint_that_contradicts_what_is_proved_is_false(centre: Centre, ledger: Ledger) -> None:
    centre.prove(ledger)
    clone = Ledger()
    clone.write(7)
    clone.write(1, "gate.mode")
    outcome = centre.hear(clone)
    assert [alarm.about.code for alarm in outcome.raised] == ["checkpoint_differs"]
    assert outcome.state is not None
    assert outcome.state.proved == 10  # what the answer says: the clone sees that it is not the one
    assert centre.problems() == []  # it is known: an alarm names it


def test_bad_signatures_are_refused_and_said(centre: Centre, ledger: Ledger) -> None:
    centre.take(ledger.arrived())
    message = ledger.checkpoint()
    for bad in (b"", b"{}", message.replace(b'"size":10', b'"size":9'), message[:-8] + b"AAAAAAA="):
        outcome = centre.hear(ledger, bad)
        assert outcome.trust in {Trust.MALFORMED, Trust.BAD_SIGNATURE}
        assert not outcome.advanced
    assert {code for _, code, _, _ in centre.standing()} == {"bad_signature"}


def test_a_checkpoint_counts_only_in_the_topic_of_its_gate(centre: Centre, ledger: Ledger) -> None:
    centre.take(ledger.arrived())
    outcome = centre.store.checkpoint(ledger.checkpoint(), "north", "g-2", 1)
    assert (outcome.trust, outcome.state) == (Trust.MALFORMED, None)
    assert centre.store.rejects() == 1


def test_an_unknown_key_proves_nothing_until_it_is_registered(centre: Centre, ledger: Ledger) -> None:
    centre.take(ledger.arrived())
    ledger.key = Ed25519PrivateKey.from_private_bytes(b"n" * 32)
    assert centre.hear(ledger).trust is Trust.UNKNOWN_KEY
    assert centre.standing() == [("", "unknown_key", None, None)]
    (alarm,) = centre.store.alarms()
    assert alarm.about.evidence["key"] == key_id(ledger.key.public_key().public_bytes_raw()).hex()
    centre.register(ledger)
    assert centre.standing() == []
    assert centre.hear(ledger).advanced


def test_what_an_unknown_key_has_signed_is_no_claim_later_either(centre: Centre, ledger: Ledger) -> None:
    centre.hear(ledger)
    ledger.key = Ed25519PrivateKey.from_private_bytes(b"n" * 32)
    centre.hear(ledger, ledger.checkpoint(4))
    (progress,) = centre.take(ledger.arrived(1, 6)).progress
    assert (progress.state.linked, progress.state.proved) == (6, 0)


def test_a_revoked_key_proves_nothing_more_and_keeps_what_it_proved(centre: Centre, ledger: Ledger) -> None:
    centre.prove(ledger)
    (key,) = centre.store.gates()
    assert centre.store.revoke_key("north", "g-1", key.kid, centre.now_ms) == 1
    assert centre.store.revoke_key("north", "g-1", None, centre.now_ms) == 0
    assert centre.hear(ledger).trust is Trust.REVOKED_KEY  # the retained message: no news
    assert centre.standing() == []
    ledger.write(1)
    centre.take(ledger.arrived(11))
    outcome = centre.hear(ledger)
    assert outcome.trust is Trust.REVOKED_KEY
    assert outcome.state is not None
    assert (outcome.state.proved, outcome.state.known) == (10, False)
    assert ("epoch1", "revoked_key", None, None) in centre.standing()
    assert centre.problems() == []
    centre.register(ledger)
    assert centre.hear(ledger).advanced


def test_a_revocation_is_no_earlier_than_what_was_believed(centre: Centre, ledger: Ledger) -> None:
    """Whoever revokes has read his clock, then waits for the store; meanwhile a checkpoint comes in."""
    read_ms = centre.now_ms
    centre.prove(ledger)
    assert centre.store.revoke_key("north", "g-1", None, read_ms) == 1
    assert centre.store.gates()[0].revoked_ms == centre.now_ms
    assert centre.problems() == []


def test_the_clock_of_an_idle_gate_that_was_put_right_is_right_at_once(
    centre: Centre, ledger: Ledger
) -> None:
    centre.prove(ledger)
    ahead, right = ledger.at_ms + 3 * 3_600_000, ledger.at_ms + 60_000
    wrong = ledger.checkpoint(at_ms=ahead)
    outcome = centre.hear(ledger, wrong)
    assert outcome.state is not None
    assert outcome.state.head_at_ms == ahead
    outcome = centre.hear(ledger, ledger.checkpoint(at_ms=right))
    assert outcome.state is not None
    assert outcome.state.head_at_ms == right
    for no_news in (wrong, ledger.checkpoint(at_ms=ahead, why=Why.COUNT)):
        outcome = centre.hear(ledger, no_news)
        assert outcome.state is not None
        assert outcome.state.head_at_ms == right


def test_a_gate_that_holds_a_receipt_which_the_store_does_not_know_is_asked(
    centre: Centre, ledger: Ledger
) -> None:
    """The store was restored from a backup."""
    centre.take(ledger.arrived(1, 4))
    outcome = centre.hear(ledger, ledger.checkpoint(receipted=9))
    assert outcome.state is not None
    assert (outcome.ask, outcome.state.receipted) == (Ask.RECORDS, 9)


@pytest.mark.parametrize(("site", "gate", "key"), [("n/o", "g", 32), ("n", "", 32), ("n", "g", 31)])
def test_only_gates_with_a_name_and_a_key_are_registered(
    centre: Centre, site: str, gate: str, key: int
) -> None:
    with pytest.raises(ValueError, match=r"name|bytes"):
        centre.store.register_gate(site, gate, bytes(key), 1)
    assert centre.store.gates() == []
