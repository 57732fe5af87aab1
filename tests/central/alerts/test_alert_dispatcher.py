"""The thread behind the alerts: what it finds again, what it survives, and that nobody waits for it."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC
from typing import Self

import pytest
from sqlalchemy import Engine

from central.alerts import dispatcher as module
from central.alerts.book import Book
from central.alerts.dispatcher import LOOK_BACK_MS, LOOK_EVERY_MS, Dispatcher
from central.alerts.messages import Message
from central.alerts.rules import AlertKind
from central.alerts.send import ATTEMPT_S_MAX, Addresses, Sent
from central.alerts.settings import AlertSettings, Role, Rule
from central.alerts.tables import attempts
from central.clock import SystemClock
from central.store import AlarmKind, Arrived, Store, StoreError, Suspicion
from tests.brokers import wait_for
from tests.central.alerts.alerting import MINUTE, NOON_MS, Office, S, SpyChannel, decided, fever, record, rows

ONE = AlertSettings((Role("duty", ("desk",)),), (Rule("duty"),))
FEVERS = AlertSettings((Role("duty", ("desk",)),), (Rule("duty", kinds=(AlertKind.FEVER,)),))
TWO = AlertSettings((Role("duty", ("dead", "alive")),), (Rule("duty"),))


def arrived(data: dict[str, object], *, seq: int = 1) -> Arrived:
    return Arrived("hall-east", "gate_1", record(data, seq=seq).body)


def test_what_was_stored_but_never_noted_is_found_at_the_start(store: Store) -> None:
    store.ingest([arrived(fever(visit=f"v-{seq}"), seq=seq) for seq in (1, 2)], NOON_MS)
    at = Office(store.engine, FEVERS)
    at.after(10 * S)
    assert at.titles("desk") == ["健康闸机 [警报] 体温异常 hall-east/gate_1 ×2"]
    assert len(Book(store.engine).open_tasks()) == 4
    Office(store.engine, ONE).after()
    assert len(Book(store.engine).open_alerts()) == 2 + len(store.alarms())


def test_what_another_centre_has_left_behind_is_found_within_a_minute(store: Store) -> None:
    at = Office(store.engine, FEVERS)
    at.after()
    store.ingest([arrived(fever())], NOON_MS)
    at.after(LOOK_EVERY_MS)
    assert len(at.titles("desk")) == 1


def test_what_is_days_old_is_no_immediate_alert_any_more(store: Store) -> None:
    store.ingest([arrived(fever())], NOON_MS - LOOK_BACK_MS - 1)
    at = Office(store.engine, FEVERS)
    at.after()
    assert at.titles("desk") == []


def test_a_full_queue_loses_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_MAX", 3)
    at = Office(store.engine, ONE)
    at.after()
    for seq in range(1, 11):
        done = store.ingest([arrived(fever(visit=f"v-{seq}"), seq=seq)], at.clock.ms)
        at.dispatcher.stored(done)
    at.after()
    fevers = [alert for alert in Book(store.engine).open_alerts() if alert.kind == "fever"]
    assert [alert.seq for alert in fevers] == list(range(1, 11))


def test_alarms_of_the_store_are_told_without_being_handed_over(store: Store) -> None:
    store.raise_alarm(Suspicion(AlarmKind.LATE, "hall-east", "gate_1", "e1", "late", 3, 9), NOON_MS - 1)
    at = Office(store.engine, ONE)
    at.after()
    store.raise_alarm(Suspicion(AlarmKind.CONCEALED, "hall-east", "gate_1", "e1", "went_back"), NOON_MS)
    at.after(1 * S)
    at.after(1 * S)
    assert at.titles("desk") == [
        "健康闸机 [警告] 迟报 hall-east/gate_1", "健康闸机 [警报] 瞒报 hall-east/gate_1",
    ]  # fmt: skip
    Office(store.engine, ONE).after()
    assert len(Book(store.engine).open_alerts()) == 2


def test_more_than_one_batch_at_once_is_noted_whole(engine: Engine) -> None:
    at = Office(engine, ONE)
    at.after()
    count = 2 * module.BATCH + 1
    at.dispatcher.take([record(fever(visit=f"v-{seq}"), seq=seq) for seq in range(1, count + 1)])
    at.after()
    assert [alert.seq for alert in Book(engine).open_alerts()] == list(range(1, count + 1))


def test_only_what_calls_for_something_is_taken(engine: Engine) -> None:
    at = Office(engine, ONE)
    at.after()
    at.dispatcher.take([
        record(decided(abnormal=False), seq=1),
        record({"kind": "gate.mode", "abnormal": False}, seq=2),
        record(decided("not_resident", abnormal=False, tasks=("SA-2",)), seq=3),
    ])  # fmt: skip
    at.after()
    assert [(alert.seq, str(alert.kind)) for alert in Book(engine).open_alerts()] == [(3, "follow_up")]


def test_a_database_that_is_away_for_a_while_costs_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = Office(engine, ONE)
    at.after()

    def away(*_: object, **__: object) -> None:
        raise StoreError("the store cannot be used: away")

    for part, method in ((Book, "note"), (module.Outbox, "settle")):
        at.dispatcher.take([record(fever(gate=f"gate_{method}"))])
        with monkeypatch.context() as broken:
            broken.setattr(part, method, away)
            for _ in range(3):
                with pytest.raises(StoreError):
                    at.after(1 * S)
        at.after(1 * S)
    assert len(at.titles("desk")) == 2
    assert [(alert.told, alert.to_tell) for alert in Book(engine).open_alerts()] == [(1, 1), (1, 1)]


def test_a_role_is_told_in_its_own_language_or_in_that_of_the_section(engine: Engine) -> None:
    roles = Role("duty", ("desk",)), Role("leader", ("boss",), lang="zh")
    at = Office(engine, AlertSettings(roles, (Rule("duty"), Rule("leader")), lang="en"))
    at.after()
    at.dispatcher.take([record(fever())])
    at.after()
    assert [title.split(" [")[0] for title in (*at.titles("desk"), *at.titles("boss"))] == [
        "Health gate", "健康闸机",
    ]  # fmt: skip


class Threads:
    """A real dispatcher at work, ended with the test."""

    def __init__(self, engine: Engine, settings: AlertSettings, channels: dict[str, object]) -> None:
        shown = {url: url for role in settings.role for url in role.urls}
        self.clock = SystemClock()
        addresses = Addresses(channels, shown)  # type: ignore[arg-type]
        self.dispatcher = Dispatcher(engine, settings, self.clock, UTC, addresses=addresses)

    def __enter__(self) -> Self:
        self.dispatcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.dispatcher.stop()

    def take(self, data: dict[str, object], *, seq: int = 1) -> None:
        now_ms = self.clock.now_ms()
        self.dispatcher.take([record(data, seq=seq, at_ms=now_ms, seen_ms=now_ms)])


class HangingChannel:
    """An address that takes the connection and never answers."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.release = threading.Event()
        self.at_once = 0
        self.most_at_once = 0

    def send(self, _message: Message) -> Sent:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.reached.set()
        self.release.wait(20)
        self.at_once -= 1
        return Sent(delivered=False, outcome="never answered")


def test_an_address_that_hangs_holds_up_neither_ingest_nor_other_addresses(engine: Engine) -> None:
    dead, alive = HangingChannel(), SpyChannel()
    with Threads(engine, TWO, {"dead": dead, "alive": alive}) as at:
        at.take(fever(gate="gate_0"))
        assert dead.reached.wait(5)
        for number in range(1, 11):
            at.take(fever(gate=f"gate_{number}"))
        wait_for(lambda: sum("×" not in message.title for message in alive.sent) >= 1, 5, "the first message")
        wait_for(lambda: told(engine) == 11, 10, "all eleven alerts at the living address")
        assert dead.most_at_once == 1  # however much is due, one thread hangs and not eleven
        dead.release.set()


def told(engine: Engine) -> int:
    return sum(alert.told for alert in Book(engine).open_alerts())


def test_an_attempt_without_end_is_counted_as_a_failure_and_not_repeated_beside_itself(
    engine: Engine,
) -> None:
    started: list[Callable[[], None]] = []
    at = Office(engine, ONE)
    at.dispatcher._send_in = started.append
    at.dispatcher.take([record(fever())])
    at.dispatcher.step()
    assert len(started) == 1
    at.clock.ms += (ATTEMPT_S_MAX + 1) * S
    at.dispatcher.step()
    (attempt,) = rows(engine, attempts)
    assert (attempt.delivered, attempt.outcome) == (False, "no answer within 30 s")
    at.clock.ms += 10 * MINUTE
    at.dispatcher.step()
    assert (len(started), len(rows(engine, attempts))) == (1, 1)
    started[0]()  # it gets through after all
    at.after()
    (noted,) = Book(engine).open_alerts()
    assert (noted.told, len(started)) == (1, 1)


def test_an_error_in_the_program_does_not_end_the_alerts(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "TROUBLE_S", 0.01)
    spy, real = SpyChannel(), Book.note
    failed = threading.Event()

    def fails_once(*arguments: object) -> int:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("an error in the program")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Book, "note", fails_once)
    with caplog.at_level(logging.CRITICAL + 1, "central.worker"), Threads(engine, ONE, {"desk": spy}) as at:
        at.take(fever())
        wait_for(lambda: spy.sent, 5, "the alert that came after the error")
    assert failed.is_set()


def test_stopping_waits_for_what_is_on_its_way(engine: Engine) -> None:
    channel = HangingChannel()
    at = Threads(engine, ONE, {"desk": channel})
    with at:
        at.take(fever())
        assert channel.reached.wait(5)
        threading.Timer(0.2, channel.release.set).start()
    (noted,) = Book(engine).open_alerts()
    assert (noted.told, noted.to_tell) == (0, 1)
    assert channel.at_once == 0
