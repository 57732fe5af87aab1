"""What goes into one message, and in what words."""

from dataclasses import replace
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.alerts.messages import LINES_MAX, word
from central.alerts.packing import MINUTE_MS, Due, Plan, Recent, plan, ranges, retry_ms
from central.alerts.rules import AlertKind, Severity
from tests.central.alerts.alerting import NOON_MS

SHANGHAI = ZoneInfo("Asia/Shanghai")
FEVER = Due(
    delivery=1, alert=1, role="duty", site="hall-east", gate="gate_1", kind=AlertKind.FEVER,
    severity=Severity.ALARM, zh="体温异常，送发热门诊", en="fever, measured twice, to the fever clinic",
    rules=("CH-2",), event_ms=NOON_MS, clock_trusted=True, noted_ms=NOON_MS + 500, acknowledged_by=None,
    escalated=False, tries=0,
)  # fmt: skip


def due(number: int, *, gate: str = "gate_1", kind: AlertKind = AlertKind.FEVER, tries: int = 0) -> Due:
    severity = Severity.ALARM if kind is AlertKind.FEVER else Severity.WARNING
    return replace(FEVER, delivery=number, alert=number, gate=gate, kind=kind, severity=severity, tries=tries)


def sent(at_ms: int, *, gate: str = "gate_1", kind: AlertKind = AlertKind.FEVER) -> Recent:
    return Recent(at_ms, "duty", f"hall-east/{gate}/{kind}")


def test_equal_alerts_that_are_due_together_go_as_one() -> None:
    assert plan([due(2), due(1)], [], NOON_MS, 20).send == (due(1), due(2))


def test_the_gravest_goes_first() -> None:
    mild, grave = due(1, kind=AlertKind.SENSOR_FAULT), due(2)
    assert plan([mild, grave], [], NOON_MS, 20) == Plan((grave,))


def test_an_equal_one_within_a_minute_waits_for_its_end() -> None:
    recent = [sent(NOON_MS - 20_000)]
    assert plan([due(2)], recent, NOON_MS, 20) == Plan((), ((NOON_MS + 40_000, (due(2),)),))
    assert plan([due(2)], recent, NOON_MS + 40_000, 20) == Plan((due(2),))


def test_another_kind_or_another_gate_does_not_wait() -> None:
    recent = [sent(NOON_MS - 1, gate="gate_2"), sent(NOON_MS - 1, kind=AlertKind.FIRE)]
    assert plan([due(1)], recent, NOON_MS, 20) == Plan((due(1),))


def test_what_has_failed_does_not_wait_for_its_own_attempt_and_takes_others_along() -> None:
    failed, fresh = due(1, tries=1), due(2)
    assert plan([failed, fresh], [sent(NOON_MS - 5000)], NOON_MS, 20) == Plan((failed, fresh))


def test_the_last_message_of_a_minute_speaks_for_all_that_is_left() -> None:
    many = [due(number, gate=f"gate_{number}") for number in range(1, 6)]
    recent = [sent(NOON_MS - 1000, gate="x"), sent(NOON_MS - 900, gate="y")]
    assert len(plan(many, recent, NOON_MS, 4).send) == 1
    assert plan(many, recent, NOON_MS, 3).send == tuple(many)
    assert plan(many, recent, NOON_MS, 2) == Plan((), ((NOON_MS - 1000 + MINUTE_MS, tuple(many)),))


@given(
    numbers=st.lists(st.integers(1, 30), unique=True),
    ages=st.lists(st.integers(0, 2 * MINUTE_MS), max_size=8),
    per_minute=st.integers(1, 8),
)
def test_no_alert_is_lost_or_doubled_by_planning(
    numbers: list[int], ages: list[int], per_minute: int
) -> None:
    dues = [due(number, gate=f"gate_{number % 4}", tries=number % 3) for number in numbers]
    recent = [sent(NOON_MS - age, gate=f"gate_{age % 4}") for age in ages if age < MINUTE_MS]
    planned = plan(dues, recent, NOON_MS, per_minute)
    held = [one for until_ms, group in planned.hold for one in group if until_ms > NOON_MS]
    left = set(dues) - set(planned.send) - set(held)
    assert len(planned.send) + len(held) + len(left) == len(dues)
    assert not left or planned.send  # whoever is left has its turn next, and there is one
    assert not planned.send or len(recent) < per_minute


def test_the_wait_after_a_failure_doubles_up_to_two_minutes() -> None:
    assert [retry_ms(tries) for tries in (0, 1, 2, 4, 5, 500)] == [
        5000,
        10_000,
        20_000,
        80_000,
        120_000,
        120_000,
    ]


def failed(*at_ms: int) -> list[Recent]:
    return [replace(sent(at, gate="gate_9"), delivered=False) for at in at_ms]


def test_an_address_that_has_failed_is_left_alone_for_a_while() -> None:
    recent = failed(NOON_MS - 20_000, NOON_MS - 15_000, NOON_MS - 5000)
    assert plan([due(1)], recent, NOON_MS, 20) == Plan((), ((NOON_MS + 15_000, (due(1),)),))
    assert plan([due(1)], recent, NOON_MS + 15_000, 20) == Plan((due(1),))
    assert plan([], recent, NOON_MS, 20) == Plan()
    many = failed(*range(NOON_MS - 30_000, NOON_MS, 1000))
    assert plan([due(1)], many, NOON_MS, 60).hold[0][0] == NOON_MS - 1000 + MINUTE_MS


def test_a_success_ends_the_rest_of_an_address() -> None:
    recent = [*failed(NOON_MS - 20_000, NOON_MS - 15_000), sent(NOON_MS - 10, gate="gate_9")]
    assert plan([due(1)], recent, NOON_MS, 20) == Plan((due(1),))


def test_what_an_address_does_not_take_holds_up_nothing_else() -> None:
    refused, mild = due(1, gate="gate_7", tries=1), due(2, kind=AlertKind.SENSOR_FAULT)
    assert plan([refused, mild], [], NOON_MS, 20) == Plan((mild,))


def test_rising_numbers_in_few_words() -> None:
    assert ranges([3, 7, 8, 9, 12]) == "3,7-9,12"
    assert ranges([]) == ""


def test_one_alert_in_each_language() -> None:
    duties = [("CH-3", "对测温点消毒", "Disinfect the measuring point")]
    zh = word([FEVER], duties, lang="zh", zone=SHANGHAI)
    assert zh.title == "健康闸机 [警报] 体温异常 hall-east/gate_1"
    assert zh.body.splitlines() == [
        "体温异常，送发热门诊 (CH-2)", "时间 2026-11-22 12:00:00+08:00", "后续工作：", "CH-3 对测温点消毒",
        "告警编号 1，请确认",
    ]  # fmt: skip
    en = word([FEVER], duties, lang="en", zone=UTC)
    assert en.title == "Health gate [ALARM] fever hall-east/gate_1"
    assert en.body.splitlines() == [
        "fever, measured twice, to the fever clinic (CH-2)", "at 2026-11-22 04:00:00+00:00", "To be done:",
        "CH-3 Disinfect the measuring point", "Alert 1: please acknowledge",
    ]  # fmt: skip


def test_a_storm_is_one_message_with_a_count() -> None:
    storm = [replace(due(number), event_ms=NOON_MS + number * 1000) for number in range(1, 1001)]
    message = word(storm, [], lang="en", zone=SHANGHAI)
    assert message.title == "Health gate [ALARM] fever hall-east/gate_1 ×1000"
    assert message.body.splitlines() == [
        "1000 in all", "fever, measured twice, to the fever clinic (CH-2)",
        "2026-11-22 12:00:01+08:00 to 2026-11-22 12:16:40+08:00", "Alert 1-1000: please acknowledge",
    ]  # fmt: skip


def test_several_groups_in_one_message_are_counted_each() -> None:
    fault = due(3, gate="gate_2", kind=AlertKind.SENSOR_FAULT)
    message = word([due(1), due(2), fault], [], lang="zh", zone=SHANGHAI)
    assert message.title == "健康闸机 [警报] 3 条告警"
    assert message.body.splitlines()[:2] == ["体温异常 hall-east/gate_1 ×2", "设备故障 hall-east/gate_2"]


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_no_message_is_longer_than_a_robot_takes(lang: str) -> None:
    long = [
        replace(
            due(number * 2, gate=f"gate_{number:027}"),
            site="s" * 32,
            zh="字" * 60,
            en="w" * 120,
            rules=("R" * 16,) * 16,
        )
        for number in range(500)
    ]
    one_gate = [replace(one, gate="g", zh=f"{one.alert}{one.zh}", en=f"{one.alert}{one.en}") for one in long]
    for dues in (long, one_gate):
        message = word(dues, [("CH-3", "字" * 40, "w" * 90)] * 16, lang=lang, zone=SHANGHAI)
        assert len(message.title.encode()) < 200
        assert len(message.body.splitlines()) < 3 * LINES_MAX
        assert len(message.body.encode()) < 2048


def test_who_is_called_in_is_told_why_and_who_comes_late_that_it_is_taken() -> None:
    body = word([replace(FEVER, escalated=True)], [], lang="zh", zone=SHANGHAI).body
    assert "无人确认，升级通知" in body
    body = word([replace(FEVER, acknowledged_by="Wang")], [], lang="zh", zone=SHANGHAI).body
    assert "已由 Wang 确认" in body


@pytest.mark.parametrize("at_ms", [None, NOON_MS, 10**17, -(10**17)])
def test_a_clock_that_is_not_sure_is_said_to_be_so(at_ms: int | None) -> None:
    unsure = replace(FEVER, event_ms=at_ms, clock_trusted=False)
    assert "（闸机时钟未校准）" in word([unsure], [], lang="zh", zone=SHANGHAI).body
