"""Who is told, when, how often, and who is called in when nobody answers."""

import threading

from sqlalchemy import Engine

from central.alerts.book import Book
from central.alerts.outbox import GIVE_UP_MS, LEASE_MS, Outbox
from central.alerts.routing import Routing
from central.alerts.rules import AlertKind, Severity, classify
from central.alerts.settings import AlertSettings, Role, Rule
from central.alerts.tables import attempts, deliveries
from tests.central.alerts.alerting import MINUTE, NOON_MS, Office, S, decided, event, fever, record, rows

DUTY, LEADER, BUREAU = (
    Role("duty", ("mail:duty", "ding:duty"), escalate_to="leader", after_s=300),
    Role("leader", ("mail:leader",), escalate_to="bureau", after_s=600),
    Role("bureau", ("mail:bureau",)),
)
SETTINGS = AlertSettings((DUTY, LEADER, BUREAU), (Rule("duty"),))


def office(engine: Engine, settings: AlertSettings = SETTINGS) -> Office:
    office = Office(engine, settings)
    office.after()
    return office


def test_every_address_of_the_role_is_told_at_once_and_the_delay_is_measured(engine: Engine) -> None:
    at = office(engine)
    at.clock.ms += 700
    at.dispatcher.take([record(fever())])
    at.after()
    assert at.counts() == {"mail:duty": 1, "ding:duty": 1, "mail:leader": 0, "mail:bureau": 0}
    assert [row.delay_ms for row in rows(engine, deliveries)] == [700, 700]
    (noted,) = Book(engine).open_alerts()
    assert (noted.roles, noted.told, noted.to_tell, noted.delay_ms) == (("duty",), 2, 2, 700)


def test_a_delay_by_a_clock_that_is_not_trusted_is_none(engine: Engine) -> None:
    at = office(engine)
    at.dispatcher.take([record(fever(), trusted=False)])
    at.after()
    assert [row.delay_ms for row in rows(engine, deliveries)] == [None, None]
    assert [row.delivered_ms for row in rows(engine, deliveries)] == [NOON_MS, NOON_MS]


def test_rules_choose_by_kind_site_and_severity(engine: Engine) -> None:
    rules = (
        Rule("duty", kinds=(AlertKind.FEVER,)),
        Rule("leader", sites=("elsewhere",)),
        Rule("bureau", at_least=Severity.ALARM),
        Rule("bureau"),
    )
    settings = AlertSettings(SETTINGS.role, rules)
    assert [role.name for role in settings.told(classify(event(fever()))[0])] == ["duty", "bureau"]
    assert [role.name for role in settings.told(classify(event(decided("symptoms")))[0])] == ["bureau"]


def test_nobody_by_rule_means_that_it_waits_in_the_list(engine: Engine) -> None:
    at = office(engine, AlertSettings())
    at.dispatcher.take([record(fever())])
    at.after()
    (noted,) = Book(engine).open_alerts()
    assert noted.roles == ()


def test_nobody_answers_and_the_next_is_called_in_and_the_next(engine: Engine) -> None:
    at = office(engine)
    at.dispatcher.take([record(fever())])
    at.after()
    at.after(299 * S)
    assert at.counts()["mail:leader"] == 0
    at.after(1 * S)
    assert at.counts() == {"mail:duty": 1, "ding:duty": 1, "mail:leader": 1, "mail:bureau": 0}
    assert "无人确认，升级通知" in at.channels["mail:leader"].sent[0].body
    at.after(600 * S)
    assert at.counts()["mail:bureau"] == 1
    at.after(86_400 * S)
    assert sum(at.counts().values()) == 4


def test_whoever_answers_ends_the_escalation(engine: Engine) -> None:
    at = office(engine)
    at.dispatcher.take([record(fever())])
    at.after()
    Book(engine).acknowledge(1, "Wang", at.clock.ms + 1)
    at.after(86_400 * S)
    assert sum(at.counts().values()) == 2


def test_an_answer_ends_what_an_escalation_has_not_delivered_but_not_the_first_telling(
    engine: Engine,
) -> None:
    at = office(engine)
    at.channels["mail:leader"].broken = at.channels["ding:duty"].broken = "connection refused"
    at.dispatcher.take([record(fever())])
    at.after()
    at.after(300 * S)
    Book(engine).acknowledge(1, "Wang", at.clock.ms)
    at.channels["mail:leader"].broken = at.channels["ding:duty"].broken = ""
    at.after(3600 * S)
    assert at.counts() == {"mail:duty": 1, "ding:duty": 1, "mail:leader": 0, "mail:bureau": 0}
    assert "已由 Wang 确认" in at.channels["ding:duty"].sent[0].body


def test_what_was_answered_while_it_was_on_its_way_is_not_tried_again(engine: Engine) -> None:
    routing = Routing(SETTINGS, {url: url for role in SETTINGS.role for url in role.urls})
    book, outbox = Book(engine, routing), Outbox(engine, routing)
    book.note(classify(event(fever())), NOON_MS)
    now_ms = NOON_MS + 300 * S
    assert outbox.escalate(now_ms) == 1
    claimed = outbox.claim("mail:leader", 20, now_ms)
    assert claimed is not None
    book.acknowledge(1, "Wang", now_ms)
    outbox.settle(claimed, delivered=False, outcome="connection refused", took_ms=10, now_ms=now_ms)
    assert "mail:leader" not in outbox.addresses_due(now_ms + GIVE_UP_MS - MINUTE)
    outbox.settle(claimed, delivered=True, outcome="delivered", took_ms=10, now_ms=now_ms)
    assert [row.state for row in rows(engine, deliveries) if row.address == "mail:leader"] == ["delivered"]


def test_a_dead_address_is_escalated_as_well(engine: Engine) -> None:
    at = office(engine)
    at.channels["mail:duty"].broken = at.channels["ding:duty"].broken = "connection refused"
    at.dispatcher.take([record(fever())])
    at.after()
    at.after(300 * S)
    assert at.counts()["mail:leader"] == 1


def test_a_failure_is_tried_again_with_growing_waits_and_each_attempt_is_logged(engine: Engine) -> None:
    at = office(engine, AlertSettings((BUREAU,), (Rule("bureau"),)))
    at.channels["mail:bureau"].broken = "connection refused"
    at.dispatcher.take([record(fever())])
    at.after()
    for wait_s in (5, 10, 20, 40):
        at.after(wait_s * S - 1)
        before = len(rows(engine, attempts))
        at.after(1)
        assert len(rows(engine, attempts)) == before + 1
    at.channels["mail:bureau"].broken = ""
    at.after(80 * S)
    log = rows(engine, attempts)
    assert [row.delivered for row in log] == [False] * 5 + [True]
    assert {row.outcome for row in log} == {"connection refused", "delivered"}
    assert [row.alerts for row in log] == ["1"] * 6
    (row,) = rows(engine, deliveries)
    assert (row.state, row.tries, row.delay_ms) == ("delivered", 5, 155 * S)


def test_a_dead_address_costs_next_to_nothing_and_gets_it_all_when_it_is_back(engine: Engine) -> None:
    role = Role("duty", ("dead", "alive"), per_minute=600)
    at = office(engine, AlertSettings((role,), (Rule("duty"),)))
    at.channels["dead"].broken = "connection refused"
    for number in range(60):
        at.dispatcher.take([record(fever(gate=f"gate_{number}"), at_ms=at.clock.ms)])
        at.after(1 * S)
    assert at.counts() == {"alive": 60, "dead": 0}
    assert sum(row.address == "dead" for row in rows(engine, attempts)) <= 5
    at.channels["dead"].broken = ""
    for _ in range(15):
        at.after(10 * S)
    assert {row.state for row in rows(engine, deliveries)} == {"delivered"}


def test_an_address_that_is_dead_for_three_days_is_given_up(engine: Engine) -> None:
    at = office(engine, AlertSettings((BUREAU,), (Rule("bureau"),)))
    at.channels["mail:bureau"].broken = "connection refused"
    at.dispatcher.take([record(fever())])
    at.after()
    at.after(GIVE_UP_MS)
    at.channels["mail:bureau"].broken = ""
    at.after(GIVE_UP_MS)
    assert [row.state for row in rows(engine, deliveries)] == ["dropped"]
    assert len(Book(engine).open_alerts()) == 1


def test_a_storm_is_told_once_and_again_with_the_count_of_the_rest(engine: Engine) -> None:
    at = office(engine, AlertSettings((BUREAU,), (Rule("bureau"),)))
    for seq in range(1, 1001):
        at.dispatcher.take([record({"kind": "device.failed", "abnormal": True, "device": "camera"}, seq=seq)])
        if seq % 100 == 0:
            at.after(1 * S)
    at.after(MINUTE)
    assert at.titles("mail:bureau") == [
        "健康闸机 [警告] 设备故障 hall-east/gate_1 ×100", "健康闸机 [警告] 设备故障 hall-east/gate_1 ×900",
    ]  # fmt: skip
    states = [row.state for row in rows(engine, deliveries)]
    assert states == ["delivered"] * 1000
    assert [row.alerts for row in rows(engine, attempts)] == ["1-100", "101-1000"]


def test_many_gates_at_once_do_not_exceed_what_an_address_takes_in_a_minute(engine: Engine) -> None:
    at = office(engine, AlertSettings((Role("bureau", ("ding",), per_minute=5),), (Rule("bureau"),)))
    at.dispatcher.take([record(fever(gate=f"gate_{number}"), seq=1) for number in range(30)])
    at.after()
    assert len(at.titles("ding")) == 5
    assert at.titles("ding")[-1] == "健康闸机 [警报] 26 条告警"
    at.dispatcher.take([record(fever(gate="gate_99"), seq=1)])
    at.after(59 * S)
    assert len(at.titles("ding")) == 5
    at.after(1 * S)
    assert at.titles("ding")[-1] == "健康闸机 [警报] 体温异常 hall-east/gate_99"
    assert {row.state for row in rows(engine, deliveries)} == {"delivered"}


def test_what_is_due_outlives_the_centre(engine: Engine) -> None:
    first = office(engine)
    first.channels["ding:duty"].broken = "connection refused"
    first.dispatcher.take([record(fever())])
    first.after()
    second = Office(engine, SETTINGS)
    second.after(5 * S)
    assert second.counts() == {"mail:duty": 0, "ding:duty": 1, "mail:leader": 0, "mail:bureau": 0}
    second.after(300 * S)
    assert second.counts()["mail:leader"] == 1


def test_a_centre_that_died_while_sending_leaves_the_message_to_the_next_one(engine: Engine) -> None:
    routing = Routing(AlertSettings((BUREAU,), (Rule("bureau"),)), {"mail:bureau": "mail:bureau"})
    Book(engine, routing).note(classify(event(fever())), NOON_MS)
    dying, next_one = Outbox(engine, routing), Outbox(engine, routing)
    assert dying.claim("mail:bureau", 20, NOON_MS) is not None
    assert next_one.addresses_due(NOON_MS + LEASE_MS - 1) == []
    assert next_one.claim("mail:bureau", 20, NOON_MS + LEASE_MS - 1) is None
    assert next_one.claim("mail:bureau", 20, NOON_MS + LEASE_MS) is not None


def test_of_centres_side_by_side_one_sends(engine: Engine) -> None:
    routing = Routing(AlertSettings((BUREAU,), (Rule("bureau"),)), {"mail:bureau": "mail:bureau"})
    found = [alert for seq in range(1, 21) for alert in classify(event(fever(gate=f"gate_{seq}"), seq=seq))]
    Book(engine, routing).note(found, NOON_MS)
    claimed: list[int] = []
    barrier = threading.Barrier(4)

    def centre() -> None:
        outbox = Outbox(engine, routing)
        barrier.wait(5)
        for _ in range(30):
            message = outbox.claim("mail:bureau", 100, NOON_MS)
            if message is not None:
                claimed.extend(one.alert for one in message.dues)

    centres = [threading.Thread(target=centre) for _ in range(4)]
    for thread in centres:
        thread.start()
    for thread in centres:
        thread.join(30)
    assert sorted(claimed) == list(range(1, 21))


def test_what_waits_for_an_address_that_is_gone_goes_where_the_role_is_now(engine: Engine) -> None:
    before = office(engine, AlertSettings((Role("bureau", ("old",)),), (Rule("bureau"),)))
    before.channels["old"].broken = "connection refused"
    before.dispatcher.take([record(fever())])
    before.after()
    nobody = office(engine, AlertSettings())  # a configuration without addresses loses nothing
    nobody.after(5 * S)
    after = office(engine, AlertSettings((Role("bureau", ("new",)),), (Rule("bureau"),)))
    after.after(5 * S)
    assert after.counts() == {"new": 1}
    assert [(row.address, row.state) for row in rows(engine, deliveries)] == [
        ("old", "dropped"), ("new", "delivered"),
    ]  # fmt: skip
    assert "this address is no longer configured" in [row.outcome for row in rows(engine, attempts)]


def test_what_waits_for_a_role_that_is_gone_goes_by_the_rules_of_today(engine: Engine) -> None:
    before = office(engine, AlertSettings((Role("bureau", ("old",)),), (Rule("bureau"),)))
    before.channels["old"].broken = "connection refused"
    before.dispatcher.take([record(fever())])
    before.after()
    after = office(engine, AlertSettings((Role("duty", ("new",)),), (Rule("duty"),)))
    after.after(5 * S)
    assert after.counts() == {"new": 1}


def test_nobody_further_is_called_in_for_what_was_answered_before_the_roles_changed(engine: Engine) -> None:
    before = office(engine, AlertSettings((Role("former", ("old",)),), (Rule("former"),)))
    before.channels["old"].broken = "connection refused"
    before.dispatcher.take([record(fever())])
    before.after()
    Book(engine).acknowledge(1, "Wang", NOON_MS)
    after = office(engine)
    after.after(86_400 * S)
    assert after.counts() == {"mail:duty": 1, "ding:duty": 1, "mail:leader": 0, "mail:bureau": 0}
