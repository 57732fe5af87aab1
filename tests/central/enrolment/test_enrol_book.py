"""Who gets a certificate, and what is written of it, on every database."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from cryptography.x509.oid import NameOID

from central.enrolment.authority import Authority
from central.enrolment.book import Asked, EnrolmentBook, Granted, Refusal, Refused
from central.store import Problem, Store, verify
from gate.core.codes.trust import key_id
from tests.central.enrolment.enrolling import DAY_MS, NOW_MS, Device, a_token, an_authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return an_authority(tmp_path / "keys")


@pytest.fixture
def book(store: Store) -> EnrolmentBook:
    return EnrolmentBook(store.engine)


class Asking:
    """Asks the book, and says what came of it in a word."""

    def __init__(self, book: EnrolmentBook, authority: Authority) -> None:
        self._book, self._authority = book, authority

    def full(self, asked: Asked, now_ms: int = NOW_MS) -> Granted | Refused:
        """Ask at this instant, with a clock that is as right as it is in `asked` at NOW_MS."""
        return self._book.ask(replace(asked, at_ms=asked.at_ms + now_ms - NOW_MS), self._authority, now_ms)

    def __call__(self, asked: Asked, now_ms: int = NOW_MS) -> str:
        came = self.full(asked, now_ms)
        return str(came.why) if isinstance(came, Refused) else "new" if came.is_new else "known"

    def number(self, asked: Asked, now_ms: int = NOW_MS) -> int:
        came = self.full(asked, now_ms)
        assert isinstance(came, Granted), came
        return came.certificate.serial_number


@pytest.fixture
def ask(book: EnrolmentBook, authority: Authority) -> Asking:
    return Asking(book, authority)


def assert_whole(store: Store) -> None:
    problems: list[Problem] = []
    verify(store, (), problems.append)
    assert problems == []


def test_a_token_registers_one_device_and_gives_it_a_certificate(
    store: Store, book: EnrolmentBook, ask: Asking, authority: Authority
) -> None:
    device, token = Device(serial="10000000abcdef01"), a_token(book)
    came = ask.full(device.asks(token))
    assert isinstance(came, Granted)
    assert came.is_new
    [name] = came.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == "north/g-1"
    assert authority.signed(came.certificate)
    [key] = store.gates()
    assert (key.site, key.gate, key.public_key, key.revoked_ms) == ("north", "g-1", device.public_key, None)
    assert "192.0.2.7" in key.note
    assert "10000000abcdef01" in key.note
    assert ask(Device("g-2").asks(token)) == "used_token"
    assert [gate.gate for gate in store.gates()] == ["g-1"]
    assert book.tokens(NOW_MS) == []
    assert_whole(store)


def test_an_answer_that_was_lost_is_given_again(ask: Asking, book: EnrolmentBook, store: Store) -> None:
    device, token = Device(), a_token(book)
    number = ask.number(device.asks(token))
    assert ask.number(device.asks(token)) == number, "with the token, which is not used twice for it"
    assert ask.number(device.asks(), NOW_MS + 59 * DAY_MS) == number
    assert ask.number(device.asks(), NOW_MS + 61 * DAY_MS) != number, "two thirds of its life are over"
    assert len(list(book.issued())) == len(store.gates()) == 1


@pytest.mark.parametrize(
    ("given", "changes", "now_ms", "word"),
    [
        ({}, {"token": "00" * 20}, NOW_MS, "wrong_token"),
        ({}, {"token": ""}, NOW_MS, "no_token"),
        ({}, {}, NOW_MS + 7 * DAY_MS, "expired_token"),
        ({"site": "south"}, {}, NOW_MS, "wrong_site"),
        ({"gate": "g-2"}, {}, NOW_MS, "wrong_site"),
        ({}, {"at_ms": 0}, NOW_MS, "clock"),
        ({}, {"gate": "doc"}, NOW_MS, "bad_request"),
        ({}, {"gate": "a b"}, NOW_MS, "bad_request"),
        ({}, {"site": ""}, NOW_MS, "bad_request"),
        ({}, {"site": "s" * 32, "gate": "g" * 32}, NOW_MS, "bad_request"),
        ({}, {"device": "x\n"}, NOW_MS, "bad_request"),
    ],
)
def test_whoever_may_not_is_told_why(
    book: EnrolmentBook, ask: Asking, store: Store, given: Any, changes: Any, now_ms: int, word: str
) -> None:
    token = a_token(book, **given)
    asked = Device().asks(**{"token": token} | changes)
    assert ask(asked, now_ms) == word
    assert store.gates() == list(book.issued()) == book.waiting() == []


def test_a_token_for_a_batch_of_one_site(book: EnrolmentBook, ask: Asking) -> None:
    token = a_token(book, uses=3)
    assert [ask(Device(f"g-{n}").asks(token)) for n in range(5)] == ["new"] * 3 + ["used_token"] * 2


def test_a_token_that_was_ended_is_good_for_nothing(book: EnrolmentBook, ask: Asking) -> None:
    token = a_token(book)
    [listed] = book.tokens(NOW_MS)
    assert (listed.site, listed.used, listed.uses, listed.made_by) == ("north", 0, 1, "Li")
    assert book.token_number(token) == listed.id
    assert book.token_number("00" * 20) is None
    assert book.end_token(listed.id, NOW_MS)
    assert not book.end_token(listed.id, NOW_MS)
    assert ask(Device().asks(token)) == "expired_token"


def test_a_second_key_for_a_gate_waits_for_a_person(book: EnrolmentBook, ask: Asking, store: Store) -> None:
    token = a_token(book)
    ask(Device().asks(token))
    copied = Device(serial="2")
    for times in (1, 2):
        came = ask.full(copied.asks(token), NOW_MS + times)
        assert isinstance(came, Refused)
        assert came.why is Refusal.WAITING
        assert "central enrol allow north g-1" in came.words
    [waiting] = book.waiting()
    assert (waiting.gate, waiting.why, waiting.times, waiting.address) == (
        "g-1",
        "known_gate",
        2,
        "192.0.2.7",
    )
    assert (waiting.first_ms, waiting.last_ms, waiting.device) == (NOW_MS + 1, NOW_MS + 2, "2")
    assert len(store.gates()) == 1
    with pytest.raises(LookupError):
        book.allow("north", "g-1", "00000000", "2", "Li", NOW_MS)
    others = book.allow("north", "g-1", waiting.kid, waiting.device, "Li", NOW_MS)
    assert others == [store.gates()[0].kid]
    assert ask(copied.asks()) == "known", "it needs no token any more"
    assert book.waiting() == []
    with pytest.raises(LookupError):
        book.allow("north", "g-1", waiting.kid, waiting.device, "Li", NOW_MS)
    assert_whole(store)


@pytest.mark.parametrize("why", ["known_device", "known_key", "known_gate"])
def test_a_token_gives_no_board_or_key_a_second_name(book: EnrolmentBook, ask: Asking, why: str) -> None:
    first = Device(serial="1")
    ask(first.asks(a_token(book)))
    second = {
        "known_device": Device("g-2", "south", serial="1"),
        "known_key": Device("g-2", "south", key=first.key),
        "known_gate": Device(serial=""),
    }[why]
    token = a_token(book, second.site)
    assert ask(second.asks(token)) == "waiting"
    assert [waiting.why for waiting in book.waiting()] == [why]
    assert book.tokens(NOW_MS)[0].used == 0


def alarms(store: Store) -> list[str]:
    return [str(alarm.about.evidence["why"]) for alarm in store.alarms() if alarm.about.code == "key_waits"]


def test_a_known_key_from_another_board_waits_for_a_person(
    book: EnrolmentBook, ask: Asking, store: Store
) -> None:
    device = Device(serial="a1")
    number = ask.number(device.asks(a_token(book)))
    copied = replace(device, serial="b2")
    for _ in range(2):
        came = ask.full(copied.asks(), NOW_MS + 61 * DAY_MS)
        assert isinstance(came, Refused)
        assert (came.why, "central enrol allow north g-1" in came.words) == (Refusal.WAITING, True)
    assert ask(replace(device, serial="").asks()) == "waiting"
    assert ask.number(device.asks()) == number, "the board that was there first goes on"
    assert ask(copied.asks()) == "waiting"
    waiting, another = book.waiting()
    assert (waiting.why, waiting.device, waiting.times) == ("other_board", "b2", 3)
    assert (another.why, another.device, another.times) == ("other_board", "", 1)
    book.refuse("north", "g-1", another.kid, "", "Li", NOW_MS)
    assert alarms(store) == ["other_board"]
    # The card was moved: the honest case.
    assert book.allow("north", "g-1", waiting.kid, waiting.device, "Li", NOW_MS) == []
    moved = ask.number(copied.asks())
    assert moved != number
    assert ask.number(copied.asks()) == moved
    assert [issued.device for issued in book.issued()] == ["b2"]
    assert ask(device.asks()) == "waiting", "one key, one board"
    assert [(waiting.device, waiting.times) for waiting in book.waiting()] == [("a1", 1)]
    assert ask.number(copied.asks(), NOW_MS + 61 * DAY_MS) != moved, "renewal needs nobody"
    assert len(store.gates()) == 1
    assert_whole(store)


def test_who_allows_one_board_allows_no_other_that_has_asked_since(book: EnrolmentBook, ask: Asking) -> None:
    device = Device(serial="a1")
    ask(device.asks(a_token(book)))
    moved, copied = replace(device, serial="b2"), replace(device, serial="c3")
    assert ask(moved.asks()) == "waiting"
    [listed] = book.waiting()
    assert ask(copied.asks()) == "waiting"
    with pytest.raises(LookupError, match="on device d4"):
        book.allow("north", "g-1", listed.kid, "d4", "Li", NOW_MS)
    book.allow("north", "g-1", listed.kid, listed.device, "Li", NOW_MS)
    assert (ask(copied.asks()), ask(moved.asks())) == ("waiting", "known")
    assert [waiting.device for waiting in book.waiting()] == ["c3"]
    book.allow("north", "g-1", listed.kid, "c3", "Li", NOW_MS)
    assert (ask(copied.asks()), ask(moved.asks())) == ("known", "waiting"), "one key, one board"


def test_boards_that_ask_in_turn_are_one_alarm_each(book: EnrolmentBook, ask: Asking, store: Store) -> None:
    device = Device(serial="a1")
    ask(device.asks(a_token(book)))
    raised = 0
    for n in range(6):
        assert ask(replace(device, serial=f"b{n % 2}").asks()) == "waiting"
        for alarm in store.alarms():
            raised += 1
            store.clear_alarm(alarm.id, NOW_MS, by="Li", reason="known")
    assert (raised, [waiting.times for waiting in book.waiting()]) == (2, [3, 3])


def test_boards_with_a_known_key_cannot_fill_the_disk(book: EnrolmentBook, ask: Asking) -> None:
    device = Device(serial="a1")
    ask(device.asks(a_token(book)))
    for n in range(25):
        assert ask(replace(device, serial=f"b{n}").asks()) == "waiting"
    assert len(book.waiting()) == 20
    told = ask.full(replace(device, serial="c").asks())
    assert isinstance(told, Refused)
    assert "20 boards with this key wait already" in told.words
    other = Device("g-2", serial="x")
    ask(other.asks(a_token(book)))
    assert ask(replace(other, serial="y").asks()) == "waiting"
    assert len(book.waiting()) == 21, "the keys of others have room"


def test_allowing_a_board_takes_no_revocation_back_that_came_since(
    book: EnrolmentBook, ask: Asking, store: Store
) -> None:
    device = Device(serial="a1")
    ask(device.asks(a_token(book)))
    copied = replace(device, serial="b2")
    assert ask(copied.asks()) == "waiting"
    [waiting] = book.waiting()
    store.revoke_key("north", "g-1", None, NOW_MS)
    with pytest.raises(LookupError, match="was revoked since"):
        book.allow("north", "g-1", waiting.kid, "b2", "Li", NOW_MS)
    assert [key.revoked_ms for key in store.gates()] == [NOW_MS]
    assert (ask(copied.asks()), ask(device.asks())) == ("revoked_key", "revoked_key")
    assert ask(copied.asks(a_token(book))) == "waiting"
    assert [waiting.why for waiting in book.waiting()] == ["revoked_key"]
    book.allow("north", "g-1", waiting.kid, "b2", "Li", NOW_MS)
    assert ask(copied.asks()) == "known", "now that is what was allowed"


def test_who_was_allowed_first_of_all_lets_no_other_board_in(
    book: EnrolmentBook, ask: Asking, store: Store
) -> None:
    """A key that has waited has no certificate yet that could name its board."""
    ask(Device(serial="a1").asks(token := a_token(book)))
    second = Device(serial="b1")
    copied = replace(second, serial="c9")
    assert (ask(second.asks(token)), ask(copied.asks(token))) == ("waiting", "waiting")
    book.allow("north", "g-1", key_id(second.public_key).hex(), "b1", "Li", NOW_MS)
    assert ask(copied.asks()) == "waiting"
    assert ask(replace(second, serial="d0").asks()) == "waiting", "one that was not listed"
    assert alarms(store) == ["known_gate"], "it is not over"
    assert ask(second.asks()) == "known"


def test_a_revoked_key_that_is_allowed_on_another_board_stays_revoked_on_its_own(
    book: EnrolmentBook, ask: Asking, store: Store
) -> None:
    device = Device(serial="b1")
    ask(device.asks(a_token(book)))
    store.revoke_key("north", "g-1", None, NOW_MS)
    moved = replace(device, serial="b2")
    assert ask(moved.asks(a_token(book))) == "waiting"
    book.allow("north", "g-1", key_id(device.public_key).hex(), "b2", "Li", NOW_MS)
    assert ask(device.asks()) == "waiting"
    assert alarms(store) == ["other_board"]
    assert ask(moved.asks()) == "known"


def test_a_key_that_waited_and_was_registered_waits_no_more(
    book: EnrolmentBook, ask: Asking, store: Store
) -> None:
    ask(Device(serial="a1").asks(token := a_token(book)))
    second = Device(serial="b1")
    assert ask(second.asks(token)) == "waiting"
    store.register_gate("north", "g-1", second.public_key, NOW_MS)
    assert alarms(store) == ["known_gate"], "it has not asked again"
    assert ask(second.asks()) == "known"
    assert (alarms(store), book.waiting()) == ([], [])
    assert_whole(store)


def test_a_certificate_names_its_board(book: EnrolmentBook, ask: Asking) -> None:
    came = ask.full(Device(serial="10000000abcdef01").asks(a_token(book)))
    assert isinstance(came, Granted)
    [name] = came.certificate.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
    assert name.value == "10000000abcdef01"
    came = ask.full(Device("g-2").asks(a_token(book)))
    assert isinstance(came, Granted)
    assert came.certificate.subject.rfc4514_string() == "CN=north/g-2"


def test_the_board_of_a_key_that_a_person_has_registered_is_the_first_that_asks(
    store: Store, ask: Asking, book: EnrolmentBook
) -> None:
    device = Device()
    store.register_gate("north", "g-1", device.public_key, NOW_MS)
    assert ask(device.asks()) == "known"
    assert ask(replace(device, serial="a1").asks()) == "known"
    assert ask(replace(device, serial="b2").asks()) == "waiting", "no token is needed to wait"
    assert [waiting.why for waiting in book.waiting()] == ["other_board"]


def test_strangers_do_not_keep_a_known_key_from_being_noticed(book: EnrolmentBook, ask: Asking) -> None:
    device, token = Device(serial="a1"), a_token(book)
    ask(device.asks(token))
    for _ in range(25):
        ask(Device().asks(token))
    assert ask(replace(device, serial="b2").asks()) == "waiting"
    assert [waiting.why for waiting in book.waiting()][20:] == ["other_board"]


def test_a_key_that_waits_is_an_alarm_until_it_is_allowed_or_refused(
    book: EnrolmentBook, ask: Asking, store: Store
) -> None:
    token = a_token(book)
    ask(Device().asks(token))
    assert alarms(store) == []
    second, third = Device(serial="2"), Device(serial="3")
    for device in (second, third, second):
        assert ask(device.asks(token)) == "waiting"
    assert alarms(store) == ["known_gate"], "one for each gate"
    book.allow("north", "g-1", key_id(second.public_key).hex(), "2", "Li", NOW_MS)
    assert alarms(store) == ["known_gate"], "another one waits still"
    book.refuse("north", "g-1", key_id(third.public_key).hex(), "3", "Li", NOW_MS)
    assert (alarms(store), book.waiting()) == ([], [])
    with pytest.raises(LookupError):
        book.refuse("north", "g-1", key_id(third.public_key).hex(), "3", "Li", NOW_MS)
    assert ask(third.asks(token)) == "waiting"
    [alarm] = [alarm for alarm in store.alarms() if alarm.about.code == "key_waits"]
    assert alarm.about.evidence["device"] == "3"
    store.clear_alarm(alarm.id, NOW_MS, by="Li", reason="known")
    assert ask(third.asks(token)) == "waiting"
    assert alarms(store) == [], "who has looked into it is not told again because it goes on asking"
    assert ask(replace(third, serial="4").asks(token)) == "waiting"
    assert alarms(store) == ["known_gate"], "that is another device"
    assert_whole(store)


def test_strangers_cannot_fill_the_list_of_those_who_wait(book: EnrolmentBook, ask: Asking) -> None:
    ask(Device().asks(token := a_token(book)))
    assert ask(Device().asks("ff" * 20)) == "wrong_token"
    assert book.waiting() == []
    for _ in range(25):
        assert ask(Device().asks(token)) == "waiting"
    assert len(book.waiting()) == 20
    told = ask.full(Device().asks(token))
    assert isinstance(told, Refused)
    assert "20 keys of north wait already" in told.words


def test_a_revoked_key_takes_its_certificates_along_and_stays_out(
    book: EnrolmentBook, ask: Asking, store: Store
) -> None:
    device = Device()
    numbers = {ask.number(device.asks(a_token(book))), ask.number(device.asks(), NOW_MS + 61 * DAY_MS)}
    other = ask.number(Device("g-2").asks(a_token(book)))
    assert book.revoked(NOW_MS) == []
    store.revoke_key("north", "g-1", None, NOW_MS + 5)
    assert {number for number, _ in book.revoked(NOW_MS)} == numbers
    assert other not in numbers
    assert ask(device.asks()) == "revoked_key"
    assert ask(device.asks("00" * 20)) == "revoked_key"
    assert ask(device.asks(a_token(book))) == "waiting", "a token alone does not take a revocation back"
    [waiting] = book.waiting()
    assert waiting.why == "revoked_key"
    assert book.allow("north", "g-1", waiting.kid, waiting.device, "Li", NOW_MS) == []
    assert ask.number(device.asks()) not in numbers, "a revoked certificate stays so"
    assert {number for number, _ in book.revoked(NOW_MS)} == numbers
    assert book.revoked(NOW_MS + 200 * DAY_MS) == [], "what is over anyway need not be named"
    assert_whole(store)


def test_a_key_that_a_person_has_registered_needs_no_token(store: Store, ask: Asking) -> None:
    device = Device()
    store.register_gate("north", "g-1", device.public_key, NOW_MS)
    assert ask(device.asks()) == "known"


def test_certificates_of_an_authority_that_was_replaced_are_made_anew(
    book: EnrolmentBook, ask: Asking, tmp_path: Path
) -> None:
    device = Device()
    number = ask.number(device.asks(a_token(book)))
    newer = Asking(book, an_authority(tmp_path / "newer"))
    assert newer.number(device.asks()) != number


def at_once(*calls: Any) -> list[Any]:
    barrier = Barrier(len(calls))

    def call(each: Any) -> Any:
        barrier.wait(10)
        return each()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


def test_devices_that_ask_at_the_same_instant(book: EnrolmentBook, ask: Asking, store: Store) -> None:
    token = a_token(book, uses=3)
    devices = [Device() for _ in range(3)]  # copies of one card: one name, three keys
    came = at_once(*(lambda device=device: ask(device.asks(token)) for device in devices))
    assert sorted(came) == ["new", "waiting", "waiting"]
    single = a_token(book)
    devices = [Device(f"h-{n}") for n in range(3)]
    came = at_once(*(lambda device=device: ask(device.asks(single)) for device in devices))
    assert sorted(came) == ["new", "used_token", "used_token"]
    same = Device("i-1")
    numbers = at_once(*[lambda: ask.number(same.asks(last))] * 3) if (last := a_token(book)) else []
    assert len(set(numbers)) == 1
    assert len(store.gates()) == 3


def test_a_revocation_misses_no_certificate_that_is_just_being_made(
    book: EnrolmentBook, ask: Asking, store: Store
) -> None:
    for n in range(10):
        device = Device(f"g-{n}")
        store.register_gate("north", device.gate, device.public_key, NOW_MS)
        at_once(
            lambda device=device: ask(device.asks()),
            lambda device=device: store.revoke_key("north", device.gate, None, NOW_MS),
        )
    assert [one for one in book.issued() if one.revoked_ms is None] == []


def test_what_is_no_name_gets_no_token(book: EnrolmentBook) -> None:
    for site, gate in (("a/b", ""), ("north", "doc"), ("", ""), ("north", "x y")):
        with pytest.raises(ValueError, match=r"called|no name"):
            a_token(book, site, gate)


def test_the_token_itself_is_not_kept(store: Store, book: EnrolmentBook, tmp_path: Path) -> None:
    token = a_token(book)
    assert len(token) >= 32
    assert token != a_token(book)
    with store.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM enrol_tokens").all()
    assert token not in repr(rows)
    assert bytes.fromhex(token) not in b"".join(bytes(row.digest) for row in rows)


def test_key_ids_are_those_of_the_list_of_gates(book: EnrolmentBook, ask: Asking) -> None:
    device = Device()
    ask(device.asks(a_token(book)))
    [issued] = book.issued()
    assert (issued.kid, issued.ends_ms) == (key_id(device.public_key).hex(), NOW_MS + 90 * DAY_MS)
