"""Alerts and tasks from noting to closing."""

import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, select

from central.alerts.book import Book, UnknownNumberError
from central.alerts.rules import Alert, AlertKind, classify
from central.alerts.tables import alerts, attempts, deliveries, steps, tasks
from central.store.tables import metadata
from tests.central.alerts.alerting import MINUTE, NOON_MS, decided, event, fever

MINE = {table.name for table in (alerts, tasks, steps, deliveries, attempts)}


def found(*seqs: int, gate: str = "gate_1") -> list[Alert]:
    return [alert for seq in seqs for alert in classify(event(fever(gate=gate, visit=f"v-{seq}"), seq=seq))]


def test_the_migration_makes_the_tables_that_the_code_uses(engine: Engine) -> None:
    def is_mine(item: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
        table = name if kind == "table" else getattr(getattr(item, "table", None), "name", None)
        return table in MINE or name == "records_abnormal"

    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_object": is_mine, "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []


def test_what_comes_twice_is_noted_once(engine: Engine) -> None:
    book = Book(engine)
    assert book.note(found(1, 2), NOON_MS) == 2
    assert book.note(found(2, 3, 3), NOON_MS + 1) == 1
    assert [alert.seq for alert in book.open_alerts()] == [1, 2, 3]
    assert book.note([], NOON_MS) == 0


def test_alerts_are_written_in_one_order_wherever_they_come_from(engine: Engine) -> None:
    book = Book(engine)
    book.note(found(3, 1, 2), NOON_MS)
    assert [alert.seq for alert in book.open_alerts()] == [1, 2, 3]


def test_one_record_of_two_kinds_is_two_alerts(engine: Engine) -> None:
    book = Book(engine)
    book.note(classify(event(decided("temperature_fever", "status_red"))), NOON_MS)
    assert {alert.kind for alert in book.open_alerts()} == {AlertKind.FEVER, AlertKind.ABNORMAL_CODE}


def test_centres_side_by_side_note_the_same_once(engine: Engine) -> None:
    new: list[int] = []
    barrier = threading.Barrier(4)

    def centre(seqs: range) -> None:
        barrier.wait(5)
        new.append(Book(engine).note(found(*seqs), NOON_MS))

    # One begins at the other end: whoever locks rows in that order would wait for the others for ever.
    spans = (range(1, 1001), range(1, 1001), range(1000, 0, -1), range(1000, 0, -1))
    centres = [threading.Thread(target=centre, args=(span,)) for span in spans]
    for thread in centres:
        thread.start()
    for thread in centres:
        thread.join(30)
    assert sum(new) == 1000
    assert len(Book(engine).open_alerts()) == 1000
    assert len(Book(engine).open_tasks()) == 2000


def test_an_alert_keeps_what_was_found(engine: Engine) -> None:
    book = Book(engine)
    book.note(found(7), NOON_MS + 800)
    (noted,) = book.open_alerts()
    assert (noted.site, noted.gate, noted.epoch, noted.seq) == ("hall-east", "gate_1", "e1", 7)
    assert (noted.event_ms, noted.noted_ms, noted.clock_trusted) == (NOON_MS, NOON_MS + 800, True)
    assert noted.rules == ("CH-2",)
    assert (noted.roles, noted.told, noted.to_tell, noted.delay_ms) == ((), 0, 0, None)


def test_it_is_closed_when_it_is_taken_on_and_every_task_is_done(engine: Engine) -> None:
    book = Book(engine)
    book.note(found(1), NOON_MS)
    (alert,) = book.open_alerts()
    disinfect, report = book.open_tasks()
    assert (disinfect.rule, report.rule) == ("CH-3", "CH-4")
    assert disinfect.zh == "病人离开后，对测温点和隔离区消毒"
    book.finish(disinfect.id, "Li", NOON_MS + 1)
    book.acknowledge(alert.id, "Wang", NOON_MS + 2)
    assert [open_.acknowledged_by for open_ in book.open_alerts()] == ["Wang"]
    book.finish(report.id, "Li", NOON_MS + 3)
    assert book.open_alerts() == []
    assert book.open_tasks() == []


def test_the_tasks_may_be_done_before_anybody_answers(engine: Engine) -> None:
    book = Book(engine)
    book.note(found(1), NOON_MS)
    (alert,) = book.open_alerts()
    for task in book.open_tasks():
        book.finish(task.id, "Li", NOON_MS + 1)
    assert len(book.open_alerts()) == 1
    book.acknowledge(alert.id, "Wang", NOON_MS + 2)
    assert book.open_alerts() == []


def test_the_last_two_answers_at_once_close_it(engine: Engine) -> None:
    book = Book(engine)
    for round_ in range(20):
        seq = round_ + 1
        book.note(found(seq), NOON_MS)
        (alert,) = book.open_alerts()
        first, last = book.open_tasks()
        book.finish(first.id, "Li", NOON_MS)
        barrier = threading.Barrier(2)

        def ticked(task: int = last.id, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(5)
            book.finish(task, "Li", NOON_MS)

        thread = threading.Thread(target=ticked)
        thread.start()
        barrier.wait(5)
        book.acknowledge(alert.id, "Wang", NOON_MS)
        thread.join(10)
        assert book.open_alerts() == [], round_


def test_of_two_who_answer_the_first_counts_and_the_second_is_told(engine: Engine) -> None:
    book = Book(engine)
    book.note(found(1), NOON_MS)
    first = book.acknowledge(1, "Wang", NOON_MS + 1)
    second = book.acknowledge(1, "Li", NOON_MS + 2)
    assert (first.fresh, first.by) == (True, "Wang")
    assert (second.fresh, second.by, second.at_ms) == (False, "Wang", NOON_MS + 1)


def test_a_number_that_is_none_is_refused(engine: Engine) -> None:
    book = Book(engine)
    for answer in (book.acknowledge, book.finish):
        with pytest.raises(UnknownNumberError):
            answer(99, "Wang", NOON_MS)
    with pytest.raises(UnknownNumberError):
        book.alike(99)


def test_a_visit_with_several_records_has_each_task_once(engine: Engine) -> None:
    book = Book(engine)
    book.note(classify(event(fever(stage="referred"), seq=1)), NOON_MS)
    book.note(classify(event(fever(stage="authorised"), seq=2)), NOON_MS + MINUTE)
    assert len(book.open_alerts()) == 2
    assert [task.rule for task in book.open_tasks()] == ["CH-3", "CH-4"]


def test_records_without_a_visit_have_their_own_tasks(engine: Engine) -> None:
    book = Book(engine)
    for seq in (1, 2):
        book.note(classify(event({"kind": "anomaly", "abnormal": True, "tasks": ["CH-3"]}, seq=seq)), NOON_MS)
    assert [task.visit for task in book.open_tasks()] == ["#1", "#2"]


def test_alike_are_the_unanswered_ones_of_the_same_gate_and_kind(engine: Engine) -> None:
    book = Book(engine)
    book.note([*found(1, 2, 3), *found(4, gate="gate_2")], NOON_MS)
    book.note(classify(event({"kind": "fire.alarm", "abnormal": True}, seq=5)), NOON_MS)
    book.acknowledge(2, "Wang", NOON_MS)
    assert book.alike(1) == [1, 3]


def test_a_plan_that_nobody_here_has_names_its_tasks_by_rule(engine: Engine) -> None:
    book = Book(engine)
    book.note(classify(event(fever(policy="of-our-own"), seq=1)), NOON_MS)
    book.note(classify(event(decided("symptoms", tasks=("XY-9",), policy="of-our-own"), seq=2)), NOON_MS)
    words = {task.rule: task.zh for task in book.open_tasks()}
    assert words["CH-3"] == "病人离开后，对测温点和隔离区消毒"  # as another plan says it
    assert words["XY-9"] == "按预案 XY-9 执行"


def test_nothing_is_lost_by_closing(engine: Engine) -> None:
    book = Book(engine)
    book.note(classify(event({"kind": "fire.alarm", "abnormal": True})), NOON_MS)
    book.acknowledge(1, "Wang", NOON_MS + 1)
    with engine.connect() as connection:
        row = connection.execute(select(alerts)).one()
    assert (row.acked_by, row.acked_ms, row.closed_ms) == ("Wang", NOON_MS + 1, NOON_MS + 1)
