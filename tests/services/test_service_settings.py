"""What a configuration may say of a verify service."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from gate.core.codes.model import Status
from gate.core.codes.service import Outcome
from gate.core.codes.token_families import TokenFamily
from gate.demo.health_service import ANSWER, QUESTION
from gate.services.settings import ServiceSettings

SETTINGS = ServiceSettings("CN-32", "https://code.example.cn/verify", Path("secret"), QUESTION, ANSWER)

DATA: dict[str, Any] = {
    "region": "CN-32",
    "url": "https://code.example.cn/verify",
    "secret_file": "/etc/gate/secret",
    "timeout_s": 3,
    "connect_timeout_s": 1.5,
    "request": {"fields": {"appKey": "1", "qrCode": "{token}"}, "signed": ["qrCode", "appKey"]},
    "answer": {
        "outcome": "code",
        "outcome_words": {"0": "answered", "5": "not_found"},
        "status": "data.level",
        "status_words": {"00": "green"},
        "test": {"time": "t", "result": "r", "words": {"0": "negative"}},
    },
}


def build(kind: Any, data: object) -> Any:
    """Check as the configuration is checked: strictly, from JSON."""
    return TypeAdapter(kind).validate_json(json.dumps(data), strict=True)


def test_the_configurations_check_builds_settings() -> None:
    settings = build(ServiceSettings, DATA)
    assert settings.answer.outcome_words == {"0": Outcome.ANSWERED, "5": Outcome.NOT_FOUND}
    assert settings.answer.status_words == {"00": Status.GREEN}
    assert settings.request.signed == ("qrCode", "appKey")
    assert (settings.timeout_s, settings.connect_timeout_s) == (3, 1.5)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"timeout_s": 15.1}, "timeout_s"),
        ({"timeout_s": 0.9}, "timeout_s"),
        ({"connect_timeout_s": 0.4}, "connect_timeout_s"),
        ({"failures_max": 0}, "failures_max"),
        ({"pause_s": 0}, "pause_s"),
        ({"answer": {**DATA["answer"], "status_words": {"00": "verde"}}}, "answer"),
        ({"answer": {**DATA["answer"], "outcome_words": {"00": "fine"}}}, "answer"),
    ],
)
def test_values_out_of_bounds_are_refused(change: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError) as caught:
        build(ServiceSettings, DATA | change)
    assert caught.value.errors()[0]["loc"][0] == place


def test_a_token_family_is_built_and_refused_by_the_same_check() -> None:
    data: dict[str, Any] = {"region": "CN-34", "name": "a", "hosts": ["a.cn"], "path": "/{unix_ms}"}
    family = build(TokenFamily, {**data, "age_s_max": 60})
    assert family == TokenFamily("CN-34", "a", ("a.cn",), "/{unix_ms}", 60)
    with pytest.raises(ValidationError, match="hosts must be"):
        build(TokenFamily, {**data, "hosts": ["A.cn"]})


@pytest.mark.parametrize(
    "url",
    [
        "http://code.example.cn/verify",
        "https://code.example.cn",
        "https://user@code.example.cn/verify",
        "https://Code.example.cn/verify",
        "https://code.example.cn:0/verify",
        "https://code.example.cn:65536/verify",
        "https://code..example.cn/verify",
        "https://" + "a" * 64 + ".cn/verify",
        "https://code.example.cn/ver ify",
        "https://code.example.cn/verify\n",
        "https://code.example.cn\\/verify",
        "https:///verify",
    ],
)
def test_only_plain_https_addresses_are_taken(url: str) -> None:
    with pytest.raises(ValueError, match="url must be"):
        replace(SETTINGS, url=url)


@pytest.mark.parametrize("host", ["127.0.0.1:65535", "[::1]", "[::1]:8443", "code.example.cn:8443"])
def test_ports_and_addresses_are_taken(host: str) -> None:
    assert replace(SETTINGS, url=f"https://{host}/").url == f"https://{host}/"


def test_connecting_takes_less_than_all() -> None:
    with pytest.raises(ValueError, match=r"region must .*connect_timeout_s must"):
        replace(SETTINGS, region="cn", timeout_s=2, connect_timeout_s=2)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"fields": {"a": "b"}, "signed": ()}, "one must be"),
        ({"signed": ("appKey",)}, "must have the path of"),
        ({"signed": ("bizData.qrCode", "nonce")}, "not among the fields: nonce"),
        ({"fields": {"a": "b", "a.b": "{token}"}, "signed": ("a.b",)}, "cannot both"),
        ({"signature": "bizData"}, "cannot both"),
        ({"signature": "appKey"}, "cannot both"),
        ({"signature": "appKey.sign"}, "cannot both"),
    ],
)
def test_a_question_that_could_not_be_written_is_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        replace(QUESTION, **change)


def test_an_answer_needs_a_value_for_answered() -> None:
    with pytest.raises(ValueError, match="answered"):
        replace(ANSWER, outcome_words={"0": Outcome.ERROR})
