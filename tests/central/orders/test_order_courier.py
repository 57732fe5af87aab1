"""When commands are sent, and sent again, and when one without an answer is an alarm; in virtual time."""

from dataclasses import dataclass, field, replace

import pytest
from sqlalchemy import text

from central.orders import book
from central.orders.answers import Answer
from central.orders.book import Order
from central.orders.courier import (
    FIRST_PAUSE_MS,
    GRACE_MS,
    LOOK_BACK_MS,
    PAUSE_MS_MAX,
    SETTLE_MS,
    Courier,
    due,
)
from central.orders.unanswered import UNANSWERED
from central.store import Store, StoreError
from gate.core.commands import Name
from gate.core.events import Outcome
from tests.central.alerts.alerting import StillClock
from tests.central.orders.ordering import S, a_gate, deliver, found, made, reply, wanted
from tests.central.store.ledgers import NOW_MS, Centre, Ledger

ANSWER = Answer(Outcome.DONE, "", "epoch1", 6, proved=True)


def order(
    id_: str = "c1", *, sent: int = 0, sent_ms: int | None = None, answer: Answer | None = None
) -> Order:
    return Order(
        id=id_, site="north", gate="g-1", epoch="epoch1", counter=1, after=5, name=Name.RESUME, summary="",
        made_by="Li", made_ms=0, expires_ms=600 * S, message=b"m", sent=sent, sent_ms=sent_ms, answer=answer,
    )  # fmt: skip


def ids(*orders: Order, came_back_ms: int = 0, now_ms: int) -> list[str]:
    return [each.id for each in due(orders, came_back_ms, now_ms)]


# What is due


def test_what_was_never_sent_is_due_and_what_is_answered_never_again() -> None:
    assert ids(order(), now_ms=100 * S) == ["c1"]
    assert ids(order(sent=1, sent_ms=0, answer=ANSWER), now_ms=100 * S, came_back_ms=50 * S) == []


@pytest.mark.parametrize(
    ("sent", "pause_ms"), [(1, 10 * S), (2, 20 * S), (3, 40 * S), (5, 120 * S), (99, 120 * S)]
)
def test_pauses_grow(sent: int, pause_ms: int) -> None:
    assert FIRST_PAUSE_MS <= pause_ms <= PAUSE_MS_MAX
    waiting = order(sent=sent, sent_ms=S)
    assert ids(waiting, now_ms=S + pause_ms - 1) == []
    assert ids(waiting, now_ms=S + pause_ms) == ["c1"]


def test_a_gate_that_comes_back_is_told_at_once() -> None:
    waiting = order(sent=4, sent_ms=S)
    assert ids(waiting, came_back_ms=S + SETTLE_MS, now_ms=S + SETTLE_MS) == ["c1"]
    # What it says right behind a command may come of obeying it.
    assert ids(waiting, came_back_ms=S + SETTLE_MS - 1, now_ms=S + SETTLE_MS) == []


def test_the_next_command_waits_a_moment_for_the_answer_to_the_one_before() -> None:
    first, second = order("c1", sent=1, sent_ms=S), order("c2")
    assert ids(order("c1"), second, now_ms=S) == ["c1"]
    assert ids(first, second, now_ms=S + SETTLE_MS - 1) == []
    assert ids(first, second, now_ms=S + SETTLE_MS) == ["c2"]
    assert ids(replace(first, answer=ANSWER), second, now_ms=S) == ["c2"]


def test_a_clock_that_was_put_back_keeps_nothing_from_being_sent() -> None:
    waiting, second = order(sent=3, sent_ms=3600 * S), order("c2")
    assert ids(waiting, second, now_ms=50 * S) == ["c1"]
    again = replace(waiting, sent=4, sent_ms=50 * S)
    assert ids(again, second, came_back_ms=3600 * S, now_ms=52 * S) == []


# The courier


@dataclass
class Post:
    """A courier in still time, whose broker takes everything while it is there."""

    store: Store
    clock: StillClock = field(default_factory=lambda: StillClock(NOW_MS))
    connected: bool = True
    sent: list[tuple[int, str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.courier = Courier(
            self.store, self.clock,
            publish=lambda topic, message: self.sent.append((self.clock.ms, topic, message)),
            connected=lambda: self.connected,
        )  # fmt: skip

    def passing(self, seconds: int) -> list[int]:
        """Let time pass; return the seconds (since the beginning) at which something was sent."""
        before = len(self.sent)
        for _ in range(2 * seconds):
            self.clock.ms += S // 2
            self.courier.step()
        return [(at_ms - NOW_MS) // S for at_ms, _, _ in self.sent[before:]]

    def put_back(self, seconds: int) -> None:
        """Have somebody put the centre's clock back."""
        self.clock.ms -= seconds * S

    def alarms(self, *, standing: bool = True) -> list[object]:
        return [
            alarm.about.evidence["command"]
            for alarm in self.store.alarms(standing=standing)
            if alarm.about.code == UNANSWERED
        ]


def test_a_command_is_sent_to_its_gate_until_it_is_answered(store: Store) -> None:
    ledger, post = a_gate(store), Post(store)
    command = made(store)
    assert post.passing(35) == [0, 10, 30]
    assert {sent[1:] for sent in post.sent} == {("hg/1/north/g-1/cmd", command.message)}
    reply(ledger, command)
    deliver(store, ledger, 6)
    assert post.passing(80) == []


def test_one_that_is_void_is_not_sent(store: Store) -> None:
    a_gate(store)
    post = Post(store)
    made(store, want=wanted(expires_s=5))
    post.connected = False
    assert post.passing(20) == []
    post.connected = True
    assert post.passing(60) == []


def test_nothing_counts_as_sent_while_there_is_no_broker(store: Store) -> None:
    a_gate(store)
    post = Post(store, connected=False)
    command = made(store)
    post.passing(30)
    assert found(store, command.id).sent == 0
    post.connected = True
    assert post.passing(5) == [30]


def test_a_gate_that_comes_back_in_time_is_told_and_one_too_late_is_not(store: Store) -> None:
    a_gate(store)
    post = Post(store)
    command = made(store)
    assert post.passing(100) == [0, 10, 30, 70]
    post.courier.came_back("north", "g-1")
    assert post.passing(1) == [100]
    assert post.passing(25) == []
    post.courier.came_back("north", "g-1")
    assert post.passing(60) == []
    assert found(store, command.id).sent == 5


def test_after_a_restart_it_goes_on_where_it_was(store: Store) -> None:
    a_gate(store)
    post = Post(store)
    made(store)
    post.passing(15)
    post.start()
    assert post.passing(10) == []
    assert post.passing(10) == [30]


def test_a_command_is_sent_again_after_the_clock_was_put_back(store: Store) -> None:
    a_gate(store)
    post = Post(store)
    made(store)
    post.courier.came_back("north", "g-1")
    assert post.passing(5) == [0]
    post.put_back(3600)
    assert post.passing(25) == [5 - 3600, 25 - 3600], "at once, then with the usual pauses"


def test_two_couriers_send_each_once(store: Store) -> None:
    a_gate(store)
    post = Post(store)
    other = Post(store, clock=post.clock)
    made(store)
    for _ in range(80):
        post.clock.ms += S // 2
        post.courier.step()
        other.courier.step()
    assert len(post.sent) + len(other.sent) == 3


def test_of_two_couriers_that_see_the_same_only_one_sends(store: Store) -> None:
    a_gate(store)
    post = Post(store)
    other = Post(store, clock=post.clock)
    seen = made(store)
    for courier in (post.courier, other.courier):
        courier._send(seen, NOW_MS)
    assert len(post.sent) + len(other.sent) == 1


def test_several_commands_go_out_in_order(store: Store) -> None:
    ledger, post = a_gate(store), Post(store)
    commands = [made(store, NOW_MS + n) for n in range(3)]
    assert post.passing(2) == [0]
    reply(ledger, commands[0])
    deliver(store, ledger, 6)
    assert post.passing(2) == [2]
    assert post.passing(3) == [5]
    assert [message for _, _, message in post.sent] == [command.message for command in commands]


# Alarms


def test_a_command_without_an_answer_is_an_alarm_when_it_is_void_and_the_grace_is_over(store: Store) -> None:
    a_gate(store)
    post = Post(store)
    command = made(store, want=wanted(expires_s=20))
    post.passing(20 + GRACE_MS // S)
    assert post.alarms() == []
    post.passing(7)
    assert post.alarms() == [command.id]
    post.passing(30)
    assert post.alarms(standing=False) == [command.id]
    (alarm,) = store.alarms()
    assert (alarm.about.kind, alarm.about.site, alarm.about.gate) == ("missed", "north", "g-1")
    assert alarm.about.evidence["by"] == "Li"


def test_the_alarm_is_over_when_the_answer_comes_after_all(store: Store) -> None:
    ledger, post = a_gate(store), Post(store)
    command = made(store, want=wanted(expires_s=20))
    post.passing(90)
    assert post.alarms() == [command.id]
    reply(ledger, command)
    deliver(store, ledger, 6)
    post.passing(6)
    assert post.alarms() == []


def test_the_alarm_is_over_when_a_later_command_is_answered(store: Store) -> None:
    ledger, post = a_gate(store), Post(store)
    made(store, want=wanted(expires_s=20))
    post.passing(90)
    later = made(store, post.clock.ms, wanted(expires_s=5))
    reply(ledger, later)
    deliver(store, ledger, 6)
    assert len(post.alarms()) == 1
    post.passing(72)
    assert post.alarms() == []
    post.start()
    post.passing(6)
    assert len(post.alarms(standing=False)) == 1


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("which", [0, 1])
def test_the_alarm_is_over_however_late_the_gate_answers(store: Store, which: int, restarted: bool) -> None:
    ledger, post = a_gate(store), Post(store)
    commands = [made(store, NOW_MS + n, wanted(expires_s=20)) for n in range(2)]
    post.passing(90)
    assert post.alarms() == [commands[0].id]
    for _ in range(8):
        post.clock.ms += LOOK_BACK_MS // 7
        post.courier.step()
    if restarted:
        post.start()
    reply(ledger, commands[which])
    deliver(store, ledger, 6)
    post.passing(6)
    assert post.alarms() == []


def test_what_became_void_long_before_the_centre_came_back_is_no_new_alarm(store: Store) -> None:
    """Its answer may be retired."""
    old, post = a_gate(store), Post(store)
    command = made(store, want=wanted(expires_s=20))
    post.passing(90)
    new = Ledger("epoch2")
    new.follow(old)
    deliver(store, new)
    assert made(store, post.clock.ms, wanted(expires_s=20)).epoch == "epoch2"
    post.clock.ms += 2 * LOOK_BACK_MS
    post.start()
    post.passing(12)
    assert post.alarms(standing=False) == [command.id]


@pytest.mark.parametrize("evidence", ["[]", "{", '{"command":[],"sent":1}'])
def test_an_alarm_that_was_altered_keeps_nothing_from_being_done(store: Store, evidence: str) -> None:
    a_gate(store)
    post = Post(store)
    made(store, want=wanted(expires_s=20))
    post.passing(90)
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE alarms SET evidence = :evidence"), {"evidence": evidence})
    made(store, post.clock.ms)
    assert len(post.passing(15)) == 2


def test_alarms_go_on_after_the_clock_was_put_back(store: Store) -> None:
    a_gate(store)
    post = Post(store)
    post.passing(5)
    post.put_back(3600)
    command = made(store, post.clock.ms, wanted(expires_s=20))
    post.passing(90)
    assert post.alarms() == [command.id]


def test_an_alarm_that_somebody_has_looked_into_is_not_raised_again(store: Store) -> None:
    a_gate(store)
    post = Post(store)
    made(store, want=wanted(expires_s=20))
    post.passing(90)
    (alarm,) = store.alarms()
    store.clear_alarm(alarm.id, post.clock.ms, by="Li", reason="the gate is being moved")
    post.start()
    post.passing(20)
    assert len(post.alarms(standing=False)) == 1


def test_of_two_unanswered_ones_neither_is_forgotten(store: Store) -> None:
    a_gate(store)
    post = Post(store)
    first, second = made(store, want=wanted(expires_s=20)), made(store, want=wanted(expires_s=30))
    post.passing(120)
    (alarm,) = store.alarms()
    assert post.alarms() == [first.id]
    store.clear_alarm(alarm.id, post.clock.ms, by="Li", reason="seen")
    post.passing(10)
    assert post.alarms() == [second.id]


def test_an_answered_command_is_never_an_alarm(store: Store) -> None:
    ledger, post = a_gate(store), Post(store)
    reply(ledger, made(store), "refused", "clock_unsure")
    deliver(store, ledger, 6)
    post.passing(300)
    assert post.alarms(standing=False) == []


def test_a_forged_answer_is_not_taken_for_one(store: Store) -> None:
    ledger, post = a_gate(store), Post(store)
    command = made(store, want=wanted(expires_s=20))
    post.passing(5)
    reply(ledger, command)
    Centre(store).take(ledger.arrived(6))  # nobody signs for that
    assert found(store, command.id).answer is not None
    post.passing(85)
    assert post.alarms() == [command.id]


# The thread


class Broken:
    """A store that cannot be used for a while."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.failures = 2

    @property
    def engine(self) -> object:
        if self.failures:
            self.failures -= 1
            raise StoreError("the store cannot be used") if self.failures else RuntimeError("a slip")
        return self._store.engine

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


def test_whatever_goes_wrong_it_goes_on(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    a_gate(store)
    made(store)
    post = Post(store)
    broken = Broken(store)
    taken: list[str] = []

    class Clock(StillClock):
        def wait(self, event: object, seconds: float) -> bool:
            self.ms += round(seconds * 1000)
            if taken:
                courier._stopping = True
            return False

    courier = Courier(
        broken,
        Clock(NOW_MS),
        publish=lambda topic, _: taken.append(topic),
        connected=lambda: True,  # type: ignore[arg-type]
    )
    courier._run()
    assert taken == ["hg/1/north/g-1/cmd"]
    assert "commands: the store cannot be used; tried again in 5.0 s" in caplog.text
    assert "an error in the program" in caplog.text
    assert post.sent == []


def test_it_starts_and_stops(store: Store) -> None:
    a_gate(store)
    post = Post(store)
    post.courier.start()
    post.courier.stop()
    assert not post.courier._thread.is_alive()
    assert book.newest(store.engine, 1) == []
