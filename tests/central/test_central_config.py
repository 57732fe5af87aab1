"""The centre's configuration: whatever is wrong is said at once, in words that help, before any start."""

from pathlib import Path
from typing import Any

import pytest

from central.config import Config, broker_settings, load_config, misplaced, parse_config
from central.setup import example
from gate.checked import ConfigError

SMALLEST: dict[str, dict[str, Any]] = {
    "centre": {"keys_dir": "/k", "store": "sqlite:////k/c.db"},
    "mqtt": {"host": "broker"},
}
POSTGRES = "postgresql+psycopg://centre@db/centre"


def changed(**sections: dict[str, Any]) -> dict[str, Any]:
    return SMALLEST | {name: SMALLEST.get(name, {}) | table for name, table in sections.items()}


def problems(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        parse_config("central.toml", data)
    return list(raised.value.problems)


def test_the_examples_are_good(tmp_path: Path) -> None:
    assert load_config(Path("deploy/central.example.toml")).mqtt.host == "broker.example"
    path = tmp_path / 'a "quoted" folder' / "central.toml"
    path.parent.mkdir()
    path.write_bytes(example(path.parent))
    config = load_config(path)
    assert config.centre.keys_dir == path.parent
    assert config.centre.store == f"sqlite:///{path.parent}/central.db"


def test_every_default_in_the_example_is_the_default() -> None:
    text = Path("deploy/central.example.toml").read_text()
    shown = {
        section: dict(
            line.removeprefix("# ").split("#")[0].strip().split(" = ", 1)
            for line in block.splitlines()[1:]
            if line.startswith("# ") and " = " in line
        )
        for section, block in (
            (name, text.split(f"[{name}]", 1)[1].split("\n\n", 1)[0]) for name in ("mqtt", "watch")
        )
    }
    defaults = parse_config("x", SMALLEST)
    for section, entries in shown.items():
        for name, value in entries.items():
            default = getattr(getattr(defaults, section), name)
            if default is not None:  # the others are examples, as the file says
                assert value.strip('"') == str(default).lower().removesuffix(".0"), (section, name)


def test_all_is_said_at_once() -> None:
    found = problems(
        {
            "centre": {"keys_dir": "/k", "store": "mysql://x"},
            "mqtt": {"host": "", "username": "u", "cert_file": "/c", "keepalive": 5, "group": "a/b"},
            "watch": {"late_s": 1},
            "metrics": {"port": 0},
            "alarms": {},
        }
    )
    text = "\n".join(found)
    for words in (
        "centre.store: begins with neither",
        "mqtt.host",
        "mqtt.password_file: is required",
        "cert_file and key_file",
        "mqtt.keepalive: unknown key; did you mean 'keepalive_s'?",
        "'/' cannot be part",
        "watch.late_s",
        "metrics.port",
        "alarms: unknown key; did you mean 'alerts'?",
    ):
        assert words in text
    assert len(found) == 9


def test_entries_of_a_list_are_named_or_counted_from_one() -> None:
    role = {"name": "duty", "urls": ["json://host"]}
    found = problems(SMALLEST | {"alerts": {"role": [role | {"urls": [""]}, {"urls": ["json://host"]}]}})
    assert found[0].startswith("alerts.role 'duty': urls no. 1: String should have")
    assert found[-1] == "alerts.role no. 2: name: is required and missing"
    (found,) = problems(SMALLEST | {"site": [{"name": "north"}]})
    assert found == "site 'north': key_file: is required and missing"


def test_misspelled_roles_and_kinds_have_a_hint() -> None:
    role = {"name": "duty", "urls": ["json://host"]}
    (found,) = problems(SMALLEST | {"alerts": {"role": [role], "rule": [{"role": "dutty"}]}})
    assert "there is no role 'dutty'; did you mean 'duty'?" in found
    rule = {"role": "duty", "kinds": ["feverr"]}
    (found,) = problems(SMALLEST | {"alerts": {"role": [role], "rule": [rule]}})
    assert found.startswith("alerts.rule no. 1: kinds no. 1: ")
    assert "(found 'feverr'; did you mean 'fever'?)" in found


def test_everything_that_is_wrong_with_the_alerts_is_said_at_once() -> None:
    url = {"urls": ["json://host"]}
    roles = [
        {"name": "duty", "escalate_to": "leadr", "per_minute": 0} | url,
        {"name": "leader", "escalate_to": "leader"} | url,
        {"name": "leader"} | url,
    ]
    found = problems(SMALLEST | {"alerts": {"role": roles, "rule": [{"role": "dutty"}, {"role": "nobody"}]}})
    assert [line.partition(" (found")[0] for line in found] == [
        "alerts.role 'duty': per_minute: Input should be greater than or equal to 1",
        "alerts: two roles have the same name: leader",
        "alerts.role 'duty': escalate_to: there is no role 'leadr'; did you mean 'leader'?",
        "alerts.rule no. 1: role: there is no role 'dutty'; did you mean 'duty'?",
        "alerts.rule no. 2: role: there is no role 'nobody'",
    ]
    del roles[2]
    (per_minute, *_, circle) = problems(SMALLEST | {"alerts": {"role": roles}, "reports": {"lang": "de"}})
    assert "per_minute" in per_minute
    assert circle == "alerts: the escalation of leader goes in a circle: leader -> leader"


def test_alerts_speak_like_the_reports_unless_they_say_otherwise() -> None:
    def spoken(**alerts: Any) -> str:
        return parse_config("x", SMALLEST | {"reports": {"lang": "en"}, "alerts": alerts}).alerts.spoken

    assert (spoken(), spoken(lang="zh")) == ("en", "zh")
    assert parse_config("x", SMALLEST).alerts.spoken == "zh"


def test_places_that_can_be_written_are_good(tmp_path: Path) -> None:
    tables = {"centre": {"store": f"sqlite:///{tmp_path}/c.db"}, "reports": {"folder": f"{tmp_path}/a/b"}}
    assert list(misplaced(parse_config("x", changed(**tables)))) == []


def test_what_is_required_is_named() -> None:
    assert problems({}) == ["centre: is required and missing", "mqtt: is required and missing"]
    assert problems({"centre": {}, "mqtt": {"host": "b"}}) == [
        "centre.keys_dir: is required and missing",
        "centre.store: is required and missing",
    ]


@pytest.mark.parametrize(
    ("mqtt", "store", "words"),
    [
        ({"shared": True, "client_id": "a", "protocol": "3.1.1"}, POSTGRES, "needs MQTT 5"),
        ({"shared": True}, POSTGRES, "each centre needs its own"),
        ({"shared": True, "client_id": "a"}, "sqlite:///x", "SQLite is for one by itself"),
    ],
)
def test_what_sharing_needs(mqtt: dict[str, Any], store: str, words: str) -> None:
    [found] = problems(changed(mqtt=mqtt, centre={"store": store}))
    assert words in found


def config(**mqtt: Any) -> Config:
    return parse_config("x", changed(mqtt=mqtt, centre={"store": POSTGRES}))


def test_a_centre_among_several_speaks_mqtt_5_and_leaves_no_session_behind() -> None:
    shared = broker_settings(config(shared=True, client_id="a").mqtt)
    assert (shared.protocol, shared.session_s) == ("5", 0)
    alone = broker_settings(config().mqtt)
    assert (alone.protocol, alone.session_s > 86_400) == ("auto", True)


def test_tls_follows_the_port_and_the_files(tmp_path: Path) -> None:
    assert broker_settings(config().mqtt).tls is not None
    assert broker_settings(config(port=1883).mqtt).tls is None
    assert broker_settings(config(port=1883, ca_file="/ca").mqtt).tls is not None
    secret = tmp_path / "password"
    secret.write_text("pass word\n")
    settings = broker_settings(config(username="u", password_file=str(secret)).mqtt)
    assert settings.password == "pass word"
    assert "pass word" not in repr(settings)
    secret.unlink()
    with pytest.raises(ConfigError, match="password cannot be read"):
        broker_settings(config(username="u", password_file=str(secret)).mqtt)
