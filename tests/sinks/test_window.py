from hypothesis import given
from hypothesis import strategies as st
from pytest import approx, mark, raises

from gate.sinks.window import Backlog, Fold, Intake, Window, retry_delay_s

# One step: send a record (perhaps after a gap in the numbers), send a state, or acknowledge one under way.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("record"), st.integers(1, 3)),
        st.tuples(st.just("state"), st.just(0)),
        st.tuples(st.just("ack"), st.integers(0, 30)),
    ),
    max_size=80,
)


@given(steps=STEPS, size=st.integers(1, 20), after=st.integers(0, 5))
def test_the_mark_is_the_longest_acknowledged_run(
    steps: list[tuple[str, int]], size: int, after: int
) -> None:
    window: Window[int | None] = Window(size)
    fold = Fold(after)
    seq, mid, mark_before = after, 0, after
    sent: list[int] = []
    open_mids: list[tuple[int, int | None]] = []
    for kind, number in steps:
        if kind == "ack":
            if open_mids:
                acknowledged, record = open_mids.pop(number % len(open_mids))
                assert window.under_way(acknowledged) == record
                for _ in range(2):  # a repeated one changes nothing
                    window.acknowledged(acknowledged)
                    if record is not None:
                        fold.acknowledged(record)
            window.acknowledged(60000)  # nor does an unknown one
            fold.acknowledged(60000)
        elif window.room():
            mid += 1
            if kind == "record":
                seq += number
                sent.append(seq)
            record = seq if kind == "record" else None
            window.sent(mid, record, float(mid))
            if record is not None:
                fold.sent(record)
            open_mids.append((mid, record))
        still_open = {record for _, record in open_mids if record is not None}
        mark_now = fold.upto()
        assert all(record not in still_open for record in sent if record <= mark_now)
        assert all(record > mark_now for record in still_open)
        assert not still_open or mark_now == min(still_open) - 1
        assert still_open or mark_now == (sent[-1] if sent else after)
        assert mark_now >= mark_before
        mark_before = mark_now
        assert len(open_mids) <= size
        assert window.room() == (len(open_mids) < size)
        assert window.empty() == (not open_mids)
        assert list(window.all_under_way()) == [record for _, record in open_mids]
        assert window.oldest_at() == (float(open_mids[0][0]) if open_mids else None)


def test_a_full_window_takes_no_more() -> None:
    window: Window[str] = Window(1)
    window.sent(1, "one", 0.0)
    with raises(ValueError, match="does not fit"):
        window.sent(2, "two", 0.0)


def test_records_go_out_in_order_only() -> None:
    with raises(ValueError, match="out of order"):
        Fold(10).sent(10)


def test_a_window_of_nothing_is_refused() -> None:
    with raises(ValueError, match="lets nothing through"):
        Window(0)


def test_the_backlog_is_as_old_as_its_oldest_record() -> None:
    backlog = Backlog()
    assert backlog.waiting_since() is None
    backlog.grown(3, 10.0)
    backlog.grown(3, 11.0)
    backlog.grown(5, 20.0)
    assert backlog.waiting_since() == 10.0
    backlog.done(2)
    assert backlog.waiting_since() == 10.0
    backlog.done(3)
    assert backlog.waiting_since() == 20.0
    backlog.done(5)
    assert backlog.waiting_since() is None
    backlog.grown(5, 30.0)
    assert backlog.waiting_since() is None


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 50)), min_size=1, max_size=60))
def test_the_backlog_never_calls_a_record_younger_than_it_is(steps: list[tuple[bool, int]]) -> None:
    backlog, seen, head, upto = Backlog(), {}, 0, 0
    for now, (grows, number) in enumerate(steps):
        if grows:
            seen.update(dict.fromkeys(range(head + 1, head + number + 1), float(now)))
            head += number
            backlog.grown(head, float(now))
        else:
            upto = min(head, upto + number)
            backlog.done(upto)
        assert backlog.waiting_since() == (seen[upto + 1] if upto < head else None)


def test_the_backlog_stays_small_in_a_month_offline_and_errs_towards_the_alarm() -> None:
    backlog = Backlog()
    for n in range(1, 5001):
        backlog.grown(n, float(n))
    assert backlog.waiting_since() == 1.0
    backlog.done(4999)
    since = backlog.waiting_since()
    assert since is not None
    assert since <= 5000.0
    backlog.done(5000)
    assert backlog.waiting_since() is None


@mark.parametrize(("failures", "longest"), [(0, 2.0), (1, 4.0), (3, 16.0), (5, 60.0), (10**6, 60.0)])
def test_pauses_grow_to_a_minute_and_are_spread_over_their_whole_length(
    failures: int, longest: float
) -> None:
    assert retry_delay_s(failures, lasting=False, uniform=lambda _, high: high) == approx(longest)
    assert retry_delay_s(failures, lasting=False, uniform=lambda low, _: low) == 0.0


def test_a_fault_that_waits_for_a_person_is_tried_at_the_long_interval_at_once() -> None:
    assert retry_delay_s(0, lasting=True, uniform=lambda low, _: low) == 30.0
    assert retry_delay_s(0, lasting=True, uniform=lambda _, high: high) == 60.0


def test_documents_are_asked_for_once_per_connection() -> None:
    intake = Intake(100, 2)
    assert intake.due(0.0)
    assert not intake.open
    intake.asked(0.0)
    assert intake.open
    assert not intake.due(1000.0)
    assert not intake.ended(1000.0)
    assert not intake.open
    assert intake.due(1000.0)


def test_documents_that_are_paused_are_asked_for_again_at_that_moment_also_on_another_connection() -> None:
    intake = Intake(100, 2)
    intake.asked(0.0)
    intake.pause(60.0)
    assert not intake.open
    assert not intake.ended(1.0)
    assert not intake.due(59.9)
    assert intake.due(60.0)


def test_a_hundred_documents_are_taken_in_ten_seconds() -> None:
    intake = Intake(100, 2)
    assert [intake.takes(5.0 + n / 20) for n in range(101)] == [True] * 100 + [False]
    assert not intake.takes(14.9)
    assert [intake.takes(15.0) for _ in range(101)] == [True] * 100 + [False]


@mark.parametrize(
    ("lasted_s", "suspected"),
    [
        ([4.9, 4.9], [False, True]),
        ([5.0, 5.0], [False, False]),
        ([4.9, 5.0, 4.9, 4.9], [False, False, False, True]),
        ([0.0, 0.0, 0.0], [False, True, True]),
    ],
)
def test_documents_are_suspected_at_the_second_connection_in_a_row_that_ends_early(
    lasted_s: list[float], suspected: list[bool]
) -> None:
    intake, now, found = Intake(100, 2), 100.0, []
    for length_s in lasted_s:
        intake.asked(now)
        now += length_s
        found.append(intake.ended(now))
    assert found == suspected


def test_what_has_come_may_acquit_its_subscription() -> None:
    for acquitted, suspected in ((True, [False, False, False, True]), (False, [False, True, True, True])):
        intake, found = Intake(100, 2, acquitted=acquitted), []
        for came in (True, True, False, False):
            intake.asked(100.0)
            assert not came or intake.takes(100.5)
            found.append(intake.ended(101.0))
        assert found == suspected


def test_a_connection_that_ends_before_documents_are_asked_for_says_nothing_about_them() -> None:
    intake = Intake(100, 2)
    assert [intake.ended(float(n)) for n in range(5)] == [False] * 5
