"""Configuration and policies: whatever is wrong is said at once, in words that help, before any start."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate.checked import EX_CONFIG, ConfigError
from gate.config import (
    CameraSection,
    Config,
    PinsSection,
    load_config,
    load_policy,
    parse_config,
    parse_policy,
    policy_names,
)
from gate.core.policy import Disposition, FeverBand, Policy, Task
from gate.trust_files import load_trust

SMALLEST = {
    "gate": {"site": "hall", "id": "g1"},
    "mqtt": {"host": "broker"},
    "camera": {"device": "/dev/v4l/by-id/cam"},
}
DISTANCE = "pins: distance_trigger and distance_echo are wired together or not at all"


def with_changes(changes: dict[str, Any]) -> dict[str, Any]:
    """Lay changes over the smallest configuration; None removes a section."""
    merged: dict[str, Any] = dict(SMALLEST)
    for section, table in changes.items():
        both = isinstance(table, dict) and section in merged
        merged[section] = {**merged[section], **table} if both else table
    return {section: table for section, table in merged.items() if table is not None}


def problems(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        parse_config("gate.toml", data)
    assert raised.value.path == "gate.toml"
    assert str(raised.value) == "\n".join(f"gate.toml: {problem}" for problem in raised.value.problems)
    return list(raised.value.problems)


# --- what is right


def test_the_smallest_configuration() -> None:
    config = parse_config("gate.toml", SMALLEST)
    assert (config.gate.site, config.gate.policy, config.mqtt.port) == ("hall", "township-routine", 8883)
    assert config.pins == PinsSection()
    assert config.camera == CameraSection(device="/dev/v4l/by-id/cam")


def test_a_file_with_everything_in_it(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(
        """
        [gate]
        site = "hall-east"
        id = "g_1"
        policy = "county-hall"
        lang = "en"
        state_dir = "/tmp/state"
        clock = "always_trusted"
        trust_files = ["/etc/gate/a.toml", "/etc/gate/b.toml"]
        [mqtt]
        host = "broker"
        port = 1
        cert_file = "/c"
        key_file = "/k"
        [camera]
        source = "folder"
        path = "/pictures"
        [thermometer]
        address = 0x5B
        offset_cc = -100
        [pins]
        relay = 9
        distance_trigger = 24
        distance_echo = 25
        [presence]
        near_cm = 5
        far_cm = 6
        """,
        "utf-8",
    )
    config = load_config(path)
    assert config.gate.state_dir == Path("/tmp/state")
    assert config.gate.trust_files == (Path("/etc/gate/a.toml"), Path("/etc/gate/b.toml"))
    assert (config.thermometer.address, config.thermometer.offset_cc) == (0x5B, -100)
    assert (config.pins.relay, config.pins.distance_echo, config.pins.beam) == (9, 25, None)


def test_the_exit_status_is_the_one_of_configuration_errors() -> None:
    assert EX_CONFIG == 78


# --- what is wrong


PINS = [field.name for field in fields(PinsSection) if field.name != "factory"]


@pytest.mark.parametrize("name", PINS)
def test_every_pin_is_one_that_is_pulled_down_at_boot(name: str) -> None:
    alone: dict[str, Any] = {"relay": 26, "passage": 10, "fire": 11, "beam": 12}
    if name.startswith("distance"):
        alone |= {"distance_trigger": 13, "distance_echo": 14}
    for pin in (9, 27):
        config = parse_config("gate.toml", with_changes({"pins": {**alone, name: pin}}))
        assert getattr(config.pins, name) == pin
    for pin, limit in ((8, "greater than or equal to 9"), (28, "less than or equal to 27")):
        found = problems(with_changes({"pins": {**alone, name: pin}}))
        assert found == [f"pins.{name}: Input should be {limit} (found {pin})"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"gate": {"id": 3}}, "gate.id: Input should be a valid string (found 3)"),
        ({"gate": {"lang": "fr"}}, "gate.lang: Input should be 'zh' or 'en' (found 'fr')"),
        ({"gate": {"trust_files": ["a", 3]}}, "gate.trust_files.1: Input should be a valid string (found 3)"),
        ({"mqtt": {"port": "8883"}}, "mqtt.port: Input should be a valid integer (found '8883')"),
        ({"mqtt": {"port": 8883.0}}, "mqtt.port: Input should be a valid integer (found 8883.0)"),
        ({"mqtt": {"port": True}}, "mqtt.port: Input should be a valid integer (found True)"),
        ({"mqtt": {"port": float("nan")}}, "mqtt.port: Input should be a valid integer (found nan)"),
        ({"mqtt": {"port": 0}}, "mqtt.port: Input should be greater than or equal to 1 (found 0)"),
        ({"mqtt": {"port": 65536}}, "mqtt.port: Input should be less than or equal to 65535 (found 65536)"),
        ({"mqtt": {"host": ""}}, "mqtt.host: String should have at least 1 character (found '')"),
        (
            {"camera": {"width": 10**30}},
            f"camera.width: Input should be less than or equal to 1920 (found {10**30})",
        ),
        ({"pins": {"relay": [17]}}, "pins.relay: Input should be a valid integer (found [17])"),
        ({"presence": 3}, "presence: Input should be an object (found 3)"),
        ({"mqtt": None}, "mqtt: is required and missing"),
    ],
)
def test_wrong_types_and_values(changes: dict[str, Any], expected: str) -> None:
    assert problems(with_changes(changes)) == [expected]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"gate": {"polcy": "x"}}, "gate.polcy: unknown key; did you mean 'policy'?"),
        ({"pins": {"relais": 17}}, "pins.relais: unknown key; did you mean 'relay'?"),
        ({"cammera": {}}, "cammera: unknown key; did you mean 'camera'?"),
        ({"thermometer": {"xyzzy": 1}}, "thermometer.xyzzy: unknown key"),
        ({"gate": {"": 1}}, "gate.: unknown key"),
    ],
)
def test_unknown_keys_and_what_was_meant(changes: dict[str, Any], expected: str) -> None:
    assert problems(with_changes(changes)) == [expected]


def test_a_secret_in_the_wrong_place_is_not_shown() -> None:
    found = problems(with_changes({"mqtt": {"password": "hunter2"}}))
    assert found == ["mqtt.password: unknown key; did you mean 'password_file'?"]


@pytest.mark.parametrize("name", ["site", "id"])
@pytest.mark.parametrize("value", ["hall east", "hall/east", "+", "#", "大厅", "a.b", "a\n"])
def test_names_that_stand_in_topics(name: str, value: str) -> None:
    found = problems(with_changes({"gate": {name: value}}))
    assert found == [f"gate.{name}: {value!r} may only have letters, digits, '-' and '_'"]


CONTRADICTIONS: list[tuple[dict[str, Any], list[str]]] = [
    ({"pins": {"relay": 27}}, ["pins: BCM 27 is used for relay and passage"]),
    (
        {"pins": {"confirm": 17, "refuse": 17}},
        [
            "pins: BCM 17 is used for relay and confirm",
            "pins: BCM 17 is used for relay and refuse",
            "pins: BCM 17 is used for confirm and refuse",
        ],
    ),
    ({"pins": {"distance_trigger": 24}}, [DISTANCE]),
    ({"pins": {"distance_echo": 24}}, [DISTANCE]),
    ({"presence": {"near_cm": 80}}, ["presence.far_cm: must be more than near_cm"]),
    (
        {"camera": {"device": ""}},
        ["camera.device: is required for v4l2; list them with: ls /dev/v4l/by-id"],
    ),
    ({"camera": {"source": "folder"}}, ["camera.path: is required for the source folder"]),
    ({"camera": {"source": "synthetic"}}, ["camera.path: is required for the source synthetic"]),
    ({"mqtt": {"username": "gate"}}, ["mqtt.password_file: is required with a user name"]),
    ({"mqtt": {"cert_file": "/c"}}, ["mqtt: cert_file and key_file are given together or not at all"]),
    ({"mqtt": {"key_file": "/k"}}, ["mqtt: cert_file and key_file are given together or not at all"]),
]


def test_a_bus_is_a_path_or_simulated() -> None:
    assert problems(with_changes({"thermometer": {"bus": "simulatd"}})) == [
        "thermometer.bus: 'simulatd' is no path such as /dev/i2c-1, nor \"simulated\""
    ]
    parse_config("gate.toml", with_changes({"thermometer": {"bus": "simulated"}}))


@pytest.mark.parametrize(("changes", "expected"), CONTRADICTIONS)
def test_values_that_exclude_each_other(changes: dict[str, Any], expected: list[str]) -> None:
    assert problems(with_changes(changes)) == expected


@pytest.mark.parametrize(("changes", "expected"), CONTRADICTIONS)
@pytest.mark.parametrize("other", [{"thermometer": {"vdd_mv": "3.3"}}, {"nothing": {}}, {"thermometer": 3}])
def test_they_are_said_beside_wrong_types(
    changes: dict[str, Any], expected: list[str], other: dict[str, Any]
) -> None:
    found = problems(with_changes(changes | other))
    assert found[0].startswith(("thermometer", "nothing"))
    assert found[1:] == expected


@pytest.mark.parametrize(
    ("changes", "only"),
    [
        ({"pins": {"relay": "x", "confirm": 17}}, "pins.relay"),  # 17 is the relay's default
        ({"pins": {"distance_trigger": "x", "distance_echo": 24}}, "pins.distance_trigger"),
        ({"presence": {"near_cm": 90, "far_cm": "x"}}, "presence.far_cm"),
        ({"camera": {"source": 3, "device": ""}}, "camera.source"),
        ({"mqtt": {"cert_file": "/c", "key_file": 3}}, "mqtt.key_file"),
        ({"camera": 3}, "camera"),
        ({"gate": 3}, "gate"),
    ],
)
def test_nothing_is_made_up_of_what_could_not_be_read(changes: dict[str, Any], only: str) -> None:
    (found,) = problems(with_changes(changes))
    assert found.startswith(f"{only}: Input should be")


def test_everything_at_once() -> None:
    found = problems(
        {
            "gate": {"id": "g 1", "polcy": "x"},
            "camera": {"source": "folder", "fps": "15"},
            "pins": {"relay": 8, "fire": 27, "confirm": 27},
            "presence": {"near_cm": 100},
        }
    )
    assert found == [
        "gate.site: is required and missing",
        "gate.polcy: unknown key; did you mean 'policy'?",
        "mqtt: is required and missing",
        "camera.fps: Input should be a valid integer (found '15')",
        "pins.relay: Input should be greater than or equal to 9 (found 8)",
        "gate.id: 'g 1' may only have letters, digits, '-' and '_'",
        "pins: BCM 27 is used for passage and fire",
        "pins: BCM 27 is used for passage and confirm",
        "pins: BCM 27 is used for fire and confirm",
        "presence.far_cm: must be more than near_cm",
        "camera.path: is required for the source folder",
    ]


def test_nothing_at_all() -> None:
    assert problems({})[:2] == ["gate: is required and missing", "mqtt: is required and missing"]


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
tables = st.dictionaries(
    st.sampled_from(["site", "id", "host", "port", "relay", "fire", "near_cm", "source", "x"]),
    scalars,
    max_size=4,
)
sections = st.sampled_from(["gate", "mqtt", "camera", "pins", "presence", "thermometer", "x"])


@given(st.dictionaries(sections, scalars | tables | st.lists(scalars, max_size=2), max_size=5))
def test_any_data_gives_a_configuration_or_problems(data: dict[str, Any]) -> None:
    try:
        assert isinstance(parse_config("gate.toml", data), Config)
    except ConfigError as error:
        assert error.problems
        assert all(problem and "\n" not in problem for problem in error.problems)


# --- files


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"[gate\n", "not valid TOML: "),
        (b"a = 1\na = 2\n", "not valid TOML: "),
        (b"site = '\xff'\n", "cannot be read: 'utf-8' codec"),
        ("site = '大厅'".encode("gb18030"), "cannot be read: 'utf-8' codec"),
    ],
)
def test_a_file_that_is_no_text_of_tables(tmp_path: Path, raw: bytes, problem: str) -> None:
    path = tmp_path / "gate.toml"
    path.write_bytes(raw)
    for load in (load_config, lambda path: load_policy(str(path)), lambda path: load_trust([path])):
        with pytest.raises(ConfigError) as raised:
            load(path)
        assert f"{path}: {problem}" in str(raised.value)


@pytest.mark.parametrize("raw", [b"a = " + b"9" * 5000, b"a = " + b"[" * 5000, b'a = "\\u0000"'])
def test_a_file_that_asks_for_too_much(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "gate.toml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError):
        load_config(path)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_bytes(
        b"\xef\xbb\xbf" + b'[gate]\nsite = "s"\nid = "g"\n[mqtt]\nhost = "h"\n[camera]\ndevice = "/d"\n'
    )
    assert load_config(path).gate.site == "s"


def test_a_date_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(
        '[gate]\nsite = 2020-01-01\nid = "g"\n[mqtt]\nhost = "h"\n[camera]\ndevice = "/d"\n', "utf-8"
    )
    with pytest.raises(ConfigError, match=r"gate\.site: Input should be a valid string"):
        load_config(path)


def test_names_that_no_file_can_have() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_policy("\0.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_trust([Path("\0")])


def test_every_bad_trust_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load_trust([tmp_path / "one.toml", tmp_path / "two.toml"])
    assert "one.toml" in str(raised.value)
    assert "two.toml" in str(raised.value)


def test_an_unknown_key_does_not_steer_the_terminal() -> None:
    assert problems({"gate": {"site": "s", "id": "g", "\x1b[2J": 1}, "mqtt": {"host": "h"}})[0].isprintable()


def test_no_file_and_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; name another, or begin with a copy"):
        load_config(tmp_path / "gate.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


def test_trust_files_with_everything_that_is_wrong_in_them(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(
        '[[keys]]\nissuer = "hall"\nissuer_name = "Hall"\npurposes = ["visitor"]\n'
        f'public_key = "{"0a" * 32}"\n'
    )
    assert [key.issuer for key in load_trust([good]).keys] == ["hall"]
    assert load_trust([]).keys == ()
    bad.write_text('[[keys]]\nissuer = "the hall"\nissuer_name = "Hall"\npublic_key = "0a"\npurposes = []\n')
    with pytest.raises(ConfigError) as raised:
        load_trust([good, bad])
    assert len(raised.value.problems) == 3


# --- policies

NAMES = (
    "appointment-hall",
    "bureau",
    "checkpoint",
    "clinic",
    "county-hall",
    "county-office",
    "grid",
    "sealed-area",
    "service-bureau",
    "township-hall",
    "township-routine",
)


def test_the_policies_that_come_with_the_gate_load() -> None:
    assert policy_names() == NAMES
    for name in policy_names():
        policy = load_policy(name)
        assert isinstance(policy, Policy)
        assert policy.name == name


def test_a_plan_that_is_silent_follows_the_one_that_it_extends() -> None:
    county, township = load_policy("county-hall"), load_policy("township-routine")
    assert county.temperature.bands == (
        FeverBand("CH-1", Disposition.OBSERVE_AT_HOME, 3750, symptom_free=True),
        FeverBand("CH-2", Disposition.ISOLATE_AND_CALL_120),
    )
    assert township.temperature.bands == (FeverBand("TR-2", Disposition.FEVER_CLINIC),)
    assert (county.mask, county.registration, county.timing) == (
        township.mask,
        township.registration,
        township.timing,
    )


def test_tasks_come_beside_those_of_the_plan_that_is_extended(tmp_path: Path) -> None:
    own = 'rule = "AL-1"\nzh = "广播"\nen = "Announce"\n'
    path = write_policy(tmp_path, f'extends = "township-routine"\nname = "own"\n[[tasks]]\n{own}')
    followed = [task for task in load_policy("township-routine").tasks if task.rule != "AL-1"]
    assert load_policy(path).tasks == (*followed, Task("AL-1", "广播", "Announce"))


@pytest.mark.parametrize("tasks", ["tasks = 1", "tasks = [1]", 'tasks = "x"'])
def test_tasks_that_are_no_tasks(tmp_path: Path, tasks: str) -> None:
    found = policy_problems(write_policy(tmp_path, f'extends = "township-routine"\n{tasks}\n'))
    assert found[0].startswith("tasks")


def test_opening_hours_that_never_are(tmp_path: Path) -> None:
    text = 'extends = "township-hall"\n[hours]\ncloses_min = 510\n'
    assert policy_problems(write_policy(tmp_path, text)) == ["hours: closes_min must be later than opens_min"]


def write_policy(folder: Path, text: str, name: str = "own") -> str:
    path = folder / f"{name}.toml"
    path.write_text(text, "utf-8")
    return str(path)


def test_a_plan_of_ones_own(tmp_path: Path) -> None:
    path = write_policy(
        tmp_path, 'extends = "county-hall"\nname = "own"\non_ledger_failure = "open"\n[timing]\npass_s = 9\n'
    )
    policy = load_policy(path)
    assert (policy.name, policy.on_ledger_failure, policy.timing.pass_s) == ("own", "open", 9)
    assert policy.temperature == load_policy("county-hall").temperature
    second = write_policy(tmp_path, f'extends = "{path}"\nname = "second"\n', "second")
    assert load_policy(second).timing.pass_s == 9


def policy_problems(name: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load_policy(name)
    return list(raised.value.problems)


@pytest.mark.parametrize(
    ("name", "hint"), [("county-hal", "; did you mean 'county-hall'?"), ("x", ""), ("../policies/x", "")]
)
def test_no_such_plan(name: str, hint: str) -> None:
    assert policy_problems(name) == [f"no such plan{hint} (there are {', '.join(NAMES)})"]


def test_no_such_file_of_a_plan(tmp_path: Path) -> None:
    """The example of a configuration is no beginning for a plan."""
    advice = "no such file; see the plans that come with the gate: gate policy list"
    assert policy_problems(str(tmp_path / "none.toml")) == [advice]
    path = write_policy(tmp_path, f'extends = "{tmp_path / "none.toml"}"\n')
    assert policy_problems(path) == [advice]
    with pytest.raises(ConfigError, match=r"begin with a copy of deploy/gate\.example\.toml"):
        load_config(tmp_path / "none.toml")


def test_no_such_plan_to_extend(tmp_path: Path) -> None:
    path = write_policy(tmp_path, 'extends = "townshp-routine"\n')
    assert policy_problems(path)[0].startswith("no such plan; did you mean 'township-routine'?")


def test_plans_that_extend_each_other(tmp_path: Path) -> None:
    one, other = (str(tmp_path / f"{name}.toml") for name in ("one", "other"))
    write_policy(tmp_path, f'extends = "{other}"\n', "one")
    write_policy(tmp_path, f'extends = "{one}"\n', "other")
    assert policy_problems(one) == [f"extends itself: {one} -> {other} -> {one}"]


def test_everything_wrong_with_a_plan_at_once(tmp_path: Path) -> None:
    path = write_policy(
        tmp_path,
        """
        extends = "township-routine"
        version = 0
        on_ledger_failure = "opne"
        [mask]
        required = "yes"
        [registration]
        fields = ["nam"]
        [timing]
        colect_s = 3
        unlock_ms = 99
        """,
    )
    assert [problem.partition(":")[0] for problem in policy_problems(path)] == [
        "version",
        "mask.required",
        "registration.fields.0",
        "on_ledger_failure",
        "timing.unlock_ms",
        "timing.colect_s",
    ]


BAND = '[[temperature.bands]]\nrule = "X-1"\ndisposition = "fever_clinic"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"{BAND}up_to_cc = 3800\n",
            "temperature: every band but the last needs up_to_cc, and the last must take everything",
        ),
        (
            f"{BAND}{BAND}",
            "temperature: every band but the last needs up_to_cc, and the last must take everything",
        ),
        (
            f"{BAND}up_to_cc = 3800\n{BAND}up_to_cc = 3750\n{BAND}",
            "temperature: up_to_cc must rise from band to band, from abnormal_cc upwards",
        ),
        (
            f"{BAND}up_to_cc = 3700\n{BAND}",
            "temperature: up_to_cc must rise from band to band, from abnormal_cc upwards",
        ),
        (f"{BAND}upto_cc = 3700\n", "temperature.bands.0.upto_cc: unknown key; did you mean 'up_to_cc'?"),
        ("[temperature]\nbands = []\n", "temperature.bands: Tuple should have at least 1 item"),
        (
            "[temperature]\nabnormal_cc = 37.3\n",
            "temperature.abnormal_cc: Input should be a valid integer (found 37.3)",
        ),
        (
            "[temperature]\nabnormal_cc = 4001\n",
            "temperature.abnormal_cc: Input should be less than or equal",
        ),
        ("[timing]\ncollect_s = 20\n", "timing: evidence_age_max_s must be more than collect_s and cure_s"),
    ],
)
def test_limits_that_leave_a_question_open(tmp_path: Path, text: str, expected: str) -> None:
    found = policy_problems(write_policy(tmp_path, f'extends = "township-routine"\n{text}'))
    assert found[0].startswith(expected)


SERVICE = """
[gate]
site = "hall"
id = "g1"
[mqtt]
host = "broker.example"
[camera]
device = "/dev/video0"
"""


def test_the_service_in_the_documentation_can_be_used(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "docs/codes.md").read_text("utf-8")
    example = text.split("```toml")[1].split("```")[0]
    file = tmp_path / "gate.toml"
    file.write_text(SERVICE + example, "utf-8")
    (service,) = load_config(file).codes.services
    assert (service.region, service.timeout_s) == ("CN-31", 5)
    file.write_text(SERVICE + example + example, "utf-8")
    with pytest.raises(ConfigError, match=r"codes\.services: there are 2 for CN-31; keep one"):
        load_config(file)


def test_families_of_tokens_that_are_not_built_in(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    family = '[[codes.token_families]]\nregion = "CN-42"\nname = "hubei"\nhosts = ["codes.example"]\n'
    file.write_text(SERVICE + family, "utf-8")
    (found,) = load_config(file).codes.token_families
    assert (found.region, found.hosts) == ("CN-42", ("codes.example",))
    file.write_text(SERVICE + family.replace("CN-42", "hubei"), "utf-8")
    with pytest.raises(ConfigError, match=r"codes\.token_families\.0"):
        load_config(file)


def test_a_gate_is_not_called_as_the_topic_of_documents() -> None:
    assert problems(with_changes({"gate": {"id": "doc"}})) == [
        "gate.id: 'doc' is the topic of the site's documents; take another name"
    ]


def test_a_key_of_very_many_parts_is_refused_before_it_takes_gigabytes() -> None:
    with pytest.raises(ConfigError, match="more than 100 dots in a line"):
        parse_policy("sent", "a" + ".a" * 16_000 + " = 1\n")
    assert parse_policy("sent", f'extends = "county-hall" # {"." * 99}\n').name == "county-hall"
