"""Apprise against real servers on loopback: what counts as delivered, and what does not."""

import threading
import time
import tomllib
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import pytest
from sqlalchemy import Engine

from central.alerts.book import Book
from central.alerts.dispatcher import Dispatcher
from central.alerts.messages import Message
from central.alerts.rules import AlertKind, Severity
from central.alerts.send import AppriseChannel, open_addresses
from central.alerts.settings import AlertSettings, Role, Rule, tangles
from central.clock import SystemClock
from gate.checked import build
from tests.brokers import free_port, wait_for
from tests.central.alerts.alerting import fever, record
from tests.central.alerts.listeners import Mailbox, Webhook, a_mailbox, a_webhook

MESSAGE = Message("健康闸机 [警报] 体温异常", "体温异常 (CH-2)\n告警编号 1，请确认 <b>", Severity.ALARM)
TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with a_webhook() as hook:
        yield hook


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with a_mailbox() as box:
        yield box


def test_a_webhook_gets_the_message_as_it_is(webhook: Webhook) -> None:
    channel = AppriseChannel(f"json://127.0.0.1:{webhook.port}/hooks/secret")
    assert channel.send(MESSAGE).delivered
    (posted,) = webhook.posted
    assert (posted["title"], posted["message"], posted["type"]) == (MESSAGE.title, MESSAGE.body, "failure")
    assert webhook.paths == ["/hooks/secret"]


@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
def test_a_webhook_that_refuses_has_not_got_it(webhook: Webhook, status: int) -> None:
    webhook.status = status
    sent = AppriseChannel(f"json://127.0.0.1:{webhook.port}/").send(MESSAGE)
    assert not sent.delivered
    assert str(status) in sent.outcome


def test_nobody_there_is_said(webhook: Webhook) -> None:
    sent = AppriseChannel(f"json://127.0.0.1:{free_port()}/").send(MESSAGE)
    assert not sent.delivered
    assert "onnection" in sent.outcome


def test_a_webhook_that_hangs_is_left_after_its_timeout(webhook: Webhook) -> None:
    webhook.hang = threading.Event()
    sent = AppriseChannel(f"json://127.0.0.1:{webhook.port}/?rto=0.3").send(MESSAGE)
    webhook.hang.set()
    assert not sent.delivered


def test_a_mail_arrives_as_plain_text(mailbox: Mailbox) -> None:
    url = f"mailto://localhost:{mailbox.port}?from=gate@example.org&to=duty@example.org"
    assert AppriseChannel(url).send(MESSAGE).delivered
    (mail,) = mailbox.mails
    assert mail["Subject"] == MESSAGE.title
    assert (mail["To"], mail.get_content_type()) == ("duty@example.org", "text/plain")
    payload = mail.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode().splitlines() == MESSAGE.body.splitlines()


def test_a_mail_server_that_refuses_has_not_got_it(mailbox: Mailbox) -> None:
    mailbox.refuse = "550 no such user"
    sent = AppriseChannel(f"mailto://localhost:{mailbox.port}?from=a@example.org&to=b@example.org").send(
        MESSAGE
    )
    assert not sent.delivered
    assert mailbox.mails == []


ROBOTS = {
    "dingtalk": f"dingtalk://{TOKEN}",
    "wecombot": f"wecombot://{TOKEN}",
}


def robot(url: str, webhook: Webhook) -> AppriseChannel:
    """The channel of a robot whose service is at this webhook; the plug-ins have the address built in."""
    channel = AppriseChannel(url)
    here = f"http://127.0.0.1:{webhook.port}/robot?key="
    if hasattr(channel._service, "api_url"):
        channel._service.api_url = here + TOKEN
    else:
        channel._service.notify_url = here + "{token}"
    return channel


@pytest.mark.parametrize("url", ROBOTS.values(), ids=ROBOTS.keys())
def test_a_robot_gets_title_and_text(webhook: Webhook, url: str) -> None:
    webhook.answer = b'{"errcode":0,"errmsg":"ok"}'
    assert robot(url, webhook).send(MESSAGE).delivered
    (posted,) = webhook.posted
    assert posted["msgtype"] == "text"
    content = posted["text"]["content"]
    assert content.startswith(MESSAGE.title)
    assert content.splitlines()[-2:] == MESSAGE.body.splitlines()


@pytest.mark.parametrize("url", ROBOTS.values(), ids=ROBOTS.keys())
@pytest.mark.parametrize(
    "answer",
    [
        b'{"errcode":310000,"errmsg":"keywords not in content"}',
        b"",
        b"[]",
        b"<html>login</html>",
        b"[" * 50_000,
    ],
    ids=["refusal", "nothing", "list", "html", "nested"],
)
def test_a_robot_that_says_no_with_status_200_has_not_got_it(
    webhook: Webhook, url: str, answer: bytes
) -> None:
    webhook.answer = answer
    sent = robot(url, webhook).send(MESSAGE)
    assert not sent.delivered
    assert ("310000" in sent.outcome) == (b"310000" in answer)


def test_robots_are_reached_at_their_own_services() -> None:
    dingtalk = AppriseChannel(f"dingtalk://secret@{TOKEN}")._service
    assert dingtalk.notify_url.format(token=dingtalk.token) == (
        f"https://oapi.dingtalk.com/robot/send?access_token={TOKEN}"
    )
    wecom = AppriseChannel(f"https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={TOKEN}")._service
    assert wecom.api_url == f"https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={TOKEN}"


def test_an_address_is_shown_without_what_opens_it() -> None:
    urls = (
        f"dingtalk://secretword@{TOKEN}", f"wecombot://{TOKEN}", "json://user:password@127.0.0.1/hooks/secretword",
        "json://user:otherpassword@127.0.0.1/hooks/other", "mailtos://user:password@example.org?to=duty@example.org",
    )  # fmt: skip
    addresses, problems = open_addresses(AlertSettings((Role("duty", urls),)))
    assert problems == []
    assert len(addresses.channels) == len(urls)
    assert not any(
        secret in shown for shown in addresses.channels for secret in ("secretword", TOKEN, "password")
    )
    assert any("duty@example.org" in shown for shown in addresses.channels)


def test_a_url_that_is_none_is_named_without_being_shown() -> None:
    roles = (Role("duty", ("nonsense://secretword", "json://127.0.0.1", "wecom://")),)
    addresses, problems = open_addresses(AlertSettings(roles))
    assert [problem.partition(": this")[0] for problem in problems] == [
        "alerts.role 'duty': urls no. 1", "alerts.role 'duty': urls no. 3",
    ]  # fmt: skip
    assert "secretword" not in "".join(problems)
    assert list(addresses.channels) == ["json://127.0.0.1"]
    assert "secretword" not in repr(roles)


def test_reasons_of_two_threads_are_not_mixed_up(webhook: Webhook) -> None:
    webhook.status, webhook.hang = 503, threading.Event()
    outcomes: list[str] = []
    slow = AppriseChannel(f"json://127.0.0.1:{webhook.port}/")
    thread = threading.Thread(target=lambda: outcomes.append(slow.send(MESSAGE).outcome))
    thread.start()
    wait_for(lambda: webhook.reached, 5, "the slow one to be under way")
    dead = AppriseChannel(f"json://127.0.0.1:{free_port()}/").send(MESSAGE).outcome
    webhook.hang.set()
    thread.join(10)
    assert ("503" in outcomes[0], "onnection" in outcomes[0]) == (True, False)
    assert ("503" in dead, "onnection" in dead) == (False, True)


def test_no_plug_in_sleeps_between_two_messages(webhook: Webhook) -> None:
    webhook.answer = b'{"errcode":0}'
    channel = robot(ROBOTS["dingtalk"], webhook)
    began = time.monotonic()
    assert channel.send(MESSAGE).delivered
    assert channel.send(MESSAGE).delivered
    assert time.monotonic() - began < 5  # Apprise would wait for 5.5 s


SECTION = """
[[role]]
name = "duty"
urls = ["json://127.0.0.1"]
escalate_to = "leader"
after_s = 120

[[role]]
name = "leader"
urls = ["json://localhost"]
lang = "en"

[[rule]]
role = "duty"
kinds = ["fever", "fire"]
sites = ["hall-east"]
at_least = "warning"
"""


def test_the_section_of_the_configuration_is_read() -> None:
    settings, problems = build(AlertSettings, tomllib.loads(SECTION))
    assert problems == {}
    assert settings == AlertSettings(
        (
            Role("duty", ("json://127.0.0.1",), "leader", 120),
            Role("leader", ("json://localhost",), lang="en"),
        ),
        (Rule("duty", (AlertKind.FEVER, AlertKind.FIRE), ("hall-east",), Severity.WARNING),),
    )


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('urls = ["json://localhost"]', 'urls = ["a", "a"]', "an address is named twice"),
        ("after_s = 120", "after_s = 5", "greater than or equal to 60"),
        ('kinds = ["fever", "fire"]', 'kinds = ["feaver"]', "'fever'"),
        ("after_s = 120", "afters = 120", "unknown key"),
    ],
)
def test_what_is_wrong_in_the_section_is_said(old: str, new: str, problem: str) -> None:
    settings, problems = build(AlertSettings, tomllib.loads(SECTION.replace(old, new)))
    assert settings is None
    assert problem in " ".join(problems.values())


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('name = "leader"', 'name = "duty"', "alerts: two roles have the same name: duty"),
        (
            'escalate_to = "leader"', 'escalate_to = "leadr"',
            "alerts.role.0.escalate_to: there is no role 'leadr'; did you mean 'leader'?",
        ),
        ('role = "duty"', 'role = "nobody"', "alerts.rule.0.role: there is no role 'nobody'"),
        (
            'lang = "en"', 'escalate_to = "duty"',
            "alerts: the escalation of duty goes in a circle: duty -> leader -> duty",
        ),
    ],
)  # fmt: skip
def test_what_is_tangled_in_the_section_is_said(old: str, new: str, problem: str) -> None:
    assert list(tangles(tomllib.loads(SECTION))) == []
    assert problem in list(tangles(tomllib.loads(SECTION.replace(old, new))))


def test_each_circle_is_said_once_and_nothing_strange_stops_it() -> None:
    calls = {"a": "b", "b": "a", "c": "a", "d": "d", "e": "", "f": "f"}
    roles = [{"name": name, "escalate_to": call} for name, call in calls.items()]
    assert list(tangles({"role": roles})) == [
        f"alerts: the escalation of {said[0]} goes in a circle: {said}"
        for said in ("a -> b -> a", "d -> d", "f -> f")
    ]
    for strange in (None, 1, [], {"role": 1}, {"role": [1]}, {"role": [{"name": 1}], "rule": [{"role": []}]}):
        assert list(tangles(strange)) == []


def test_from_a_record_to_webhook_and_mail_and_the_log(
    engine: Engine, webhook: Webhook, mailbox: Mailbox
) -> None:
    urls = (
        f"json://127.0.0.1:{webhook.port}/", f"json://127.0.0.1:{free_port()}/",
        f"mailto://localhost:{mailbox.port}?from=gate@example.org&to=duty@example.org",
    )  # fmt: skip
    clock = SystemClock()
    dispatcher = Dispatcher(engine, AlertSettings((Role("duty", urls),), (Rule("duty"),)), clock, UTC)
    dispatcher.start()
    try:
        now_ms = clock.now_ms()
        dispatcher.take([record(fever(), at_ms=now_ms, seen_ms=now_ms)])
        wait_for(lambda: webhook.posted and mailbox.mails, 10, "webhook and mail")
    finally:
        dispatcher.stop()
    (noted,) = Book(engine).open_alerts()
    assert (noted.told, noted.to_tell) == (2, 3)
    assert noted.delay_ms is not None
    assert 0 <= noted.delay_ms < 5000
    assert "CH-3 病人离开后，对测温点和隔离区消毒" in webhook.posted[0]["message"]


def test_the_example_in_the_documentation_is_one() -> None:
    from central.alerts import settings

    example = (
        (settings.__doc__ or "")
        .replace("\n    ", "\n")
        .partition("\n\n")[2]
        .partition("\n\nThe addresses")[0]
    )
    data: dict[str, Any] = tomllib.loads(example)
    read, problems = build(AlertSettings, data["alerts"])
    assert problems == {}
    assert read is not None
    assert [role.name for role in read.role] == ["duty", "leader"]
