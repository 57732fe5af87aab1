"""Commands: obeyed by the gate and in the time they are meant for, once, or refused with a reason."""

import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gate.core.codes.model import Circumstances
from gate.core.commands import (
    COUNTER_MAX,
    LIFE_S_MAX,
    TEXT_MAX,
    Address,
    Command,
    CommandRefusedError,
    Name,
    Refusal,
    open_command,
)
from gate.core.signed import MESSAGE_BYTES_MAX, read_unproved, sign

CENTRE = Ed25519PrivateKey.from_private_bytes(b"\x0c" * 32)
STRANGER = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
KEYS = (CENTRE.public_key().public_bytes_raw(),)
TO = Address("hall-east", "g1", "00112233aabbccdd")
FROM_S, UNTIL_S = 1_700_000_000, 1_700_000_600
COMMAND = Command("a1", TO, 5, FROM_S, UNTIL_S, Name.SUSPEND, {"reason": "水管爆裂 (burst pipe)"})
ARGUMENTS: dict[Name, dict[str, Any]] = {
    Name.SUSPEND: {"reason": "flood"},
    Name.RESUME: {},
    Name.OPEN_ONCE: {"reason": "stretcher"},
    Name.DOCUMENT: {"text": "HGD1:abc"},
    Name.POLICY: {"text": 'extends = "bureau"\n'},
    Name.RESEND: {"after": 0},
    Name.CHECKPOINT: {},
    Name.UPDATE: {"version": "0.2.0~rc1-1"},
}

# Nothing of this may come near a command line or the name of a file.
NO_VERSIONS = (
    "-y",
    "latest",
    "1:2.0",
    "2.0 -o Dir=/x",
    "2.0/../x",
    "2.0\n",
    "2.0;id",
    "２.０",
    "2.0\x00",
    ".",
    "=1",
)


def schema() -> Draft202012Validator:
    return Draft202012Validator(
        json.loads(files("gate.schemas").joinpath("command-1.json").read_text("utf-8"))
    )


def opened(
    message: bytes,
    *,
    to: Address = TO,
    now_ms: int = FROM_S * 1000,
    trusted: bool = True,
    counter: int = 4,
    retained: bool = False,
    keys: tuple[bytes, ...] = KEYS,
) -> Command:
    at = Circumstances(to.site, now_ms, trusted)
    return open_command(message, keys=keys, to=to, at=at, counter=counter, retained=retained)


def refused(message: bytes, **how: Any) -> CommandRefusedError:
    with pytest.raises(CommandRefusedError) as caught:
        opened(message, **how)
    assert str(caught.value) == caught.value.reason
    return caught.value


def stated(**changes: Any) -> bytes:
    """Sign a command with other fields, whether or not they make one."""
    return sign(CENTRE, "command", {**read_unproved(COMMAND.signed(CENTRE)), **changes})


def test_what_it_says() -> None:
    assert read_unproved(COMMAND.signed(CENTRE)) == {
        "v": 1,
        "id": "a1",
        "site": "hall-east",
        "gate": "g1",
        "epoch": "00112233aabbccdd",
        "counter": 5,
        "not_before": FROM_S,
        "expires": UNTIL_S,
        "command": "suspend",
        "args": {"reason": "水管爆裂 (burst pipe)"},
    }


@pytest.mark.parametrize("name", Name)
def test_every_command_goes_round(name: Name) -> None:
    command = replace(COMMAND, name=name, args=ARGUMENTS[name])
    message = command.signed(CENTRE)
    assert opened(message) == command
    schema().validate(read_unproved(message))


def test_the_schema_asks_for_the_arguments_of_each_command() -> None:
    Draft202012Validator.check_schema(schema().schema)
    for name, args in ARGUMENTS.items():
        for other in ARGUMENTS.values():
            fields = {**read_unproved(COMMAND.signed(CENTRE)), "command": str(name), "args": other}
            assert schema().is_valid(fields) == (args.keys() == other.keys())


# --- who, whom, when, how often


def test_nobody_known_has_said_it() -> None:
    for message, reason in (
        (b"", Refusal.MALFORMED),
        (b"suspend\n", Refusal.MALFORMED),
        (b" " * (MESSAGE_BYTES_MAX + 1), Refusal.TOO_LARGE),
        (COMMAND.signed(STRANGER), Refusal.UNKNOWN_KEY),
        (COMMAND.signed(CENTRE).replace(b'"counter":5', b'"counter":6'), Refusal.BAD_SIGNATURE),
        (sign(CENTRE, "receipt", read_unproved(COMMAND.signed(CENTRE))), Refusal.BAD_SIGNATURE),
        (sign(CENTRE, "checkpoint", read_unproved(COMMAND.signed(CENTRE))), Refusal.BAD_SIGNATURE),
    ):
        refusal = refused(message)
        assert (refusal.reason, refusal.command) == (reason, None)


def test_without_keys_there_is_nobody_to_obey() -> None:
    assert refused(COMMAND.signed(CENTRE), keys=()).reason is Refusal.UNKNOWN_KEY


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"retained": True}, Refusal.RETAINED),
        ({"to": replace(TO, site="hall-west")}, Refusal.MISADDRESSED),
        ({"to": replace(TO, gate="g2")}, Refusal.MISADDRESSED),
        ({"to": replace(TO, epoch="44556677ccddeeff")}, Refusal.MISADDRESSED),
        ({"counter": 5}, Refusal.REPLAYED),
        ({"counter": 6}, Refusal.REPLAYED),
        ({"counter": COUNTER_MAX}, Refusal.REPLAYED),
        ({"trusted": False}, Refusal.CLOCK_UNSURE),
        ({"now_ms": FROM_S * 1000 - 1}, Refusal.NOT_YET),
        ({"now_ms": (UNTIL_S + 1) * 1000}, Refusal.EXPIRED),
    ],
)
def test_the_centre_has_said_it_and_it_does_not_count(how: dict[str, Any], reason: Refusal) -> None:
    refusal = refused(COMMAND.signed(CENTRE), **how)
    assert (refusal.reason, refusal.command) == (reason, COMMAND)


def test_it_counts_from_the_first_to_the_last_millisecond_of_its_time() -> None:
    for now_ms in (FROM_S * 1000, UNTIL_S * 1000, UNTIL_S * 1000 + 999):
        assert opened(COMMAND.signed(CENTRE), now_ms=now_ms) == COMMAND


def test_a_counter_may_jump_and_may_not_repeat() -> None:
    for counter in (0, 4):
        assert opened(COMMAND.signed(CENTRE), counter=counter) == COMMAND
    newest = replace(COMMAND, counter=COUNTER_MAX)
    assert opened(newest.signed(CENTRE), counter=COUNTER_MAX - 1) == newest


# --- what is no command


def test_a_life_lasts_a_day_at_most_and_ends_after_it_begins() -> None:
    for life_s in (0, LIFE_S_MAX):
        assert replace(COMMAND, expires=FROM_S + life_s).expires == FROM_S + life_s
    for life_s in (-1, LIFE_S_MAX + 1):
        with pytest.raises(ValueError, match="lives for at most 86400 s"):
            replace(COMMAND, expires=FROM_S + life_s)


@pytest.mark.parametrize(
    ("name", "args", "problem"),
    [
        (Name.SUSPEND, {}, "takes reason"),
        (Name.RESUME, {"reason": "x"}, "takes no arguments"),
        (Name.SUSPEND, {"reason": "x", "after": 1}, "takes reason"),
        (Name.SUSPEND, {"reason": ""}, "1 to 100 characters"),
        (Name.SUSPEND, {"reason": "x" * 101}, "1 to 100 characters"),
        (Name.OPEN_ONCE, {"reason": "two\nlines"}, "one line"),
        (Name.OPEN_ONCE, {"reason": "\x1b[2J"}, "one line"),
        (Name.OPEN_ONCE, {"reason": "\u202eright to left"}, "one line"),
        (Name.OPEN_ONCE, {"reason": 7}, "must be text"),
        (Name.POLICY, {"text": "x" * (TEXT_MAX + 1)}, f"1 to {TEXT_MAX} characters"),
        (Name.RESEND, {"after": "7"}, "must be a number"),
        (Name.RESEND, {"after": True}, "must be a number"),
        (Name.RESEND, {"after": -1}, "0 to"),
        (Name.RESEND, {"after": COUNTER_MAX + 1}, "0 to"),
        (Name.UPDATE, {}, "takes version"),
        (Name.UPDATE, {"version": "1" * 41}, "1 to 40 characters"),
        *((Name.UPDATE, {"version": text}, "a version of the package") for text in NO_VERSIONS),
    ],
)
def test_arguments_that_a_command_does_not_take(name: Name, args: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        replace(COMMAND, name=name, args=args)
    assert refused(stated(command=str(name), args=args)).reason is Refusal.MALFORMED


def test_arguments_at_their_limits() -> None:
    for name, args in (
        (Name.SUSPEND, {"reason": "长" * 100}),
        (Name.RESEND, {"after": COUNTER_MAX}),
        (Name.UPDATE, {"version": "0." + "1" * 38}),
        (Name.POLICY, {"text": "x" * TEXT_MAX}),
    ):
        command = replace(COMMAND, name=name, args=args)
        assert opened(command.signed(CENTRE)) == command


def test_a_text_that_makes_the_message_too_long_is_not_signed() -> None:
    with pytest.raises(ValueError, match="bytes"):
        replace(COMMAND, name=Name.POLICY, args={"text": "长" * TEXT_MAX}).signed(CENTRE)


WRONG: dict[str, list[Any]] = {
    "v": [2, None, "1"],
    "id": ["", "a" * 33, "a b", "ä", 1, None],
    "site": [1, None],
    "gate": [1, None],
    "epoch": [1, None],
    "counter": [0, -1, COUNTER_MAX + 1, 5.0, "5", True, None],
    "not_before": ["now", 1.5, None, True],
    "expires": ["never", 1.5, None],
    "command": ["reboot", "", 1, None],
    "args": [[], None, "reason"],
}


@pytest.mark.parametrize(("field", "value"), [(f, value) for f, values in WRONG.items() for value in values])
def test_a_wrong_field_is_malformed_and_nothing_of_it_is_passed_on(field: str, value: object) -> None:
    refusal = refused(stated(**{field: value}))
    assert (refusal.reason, refusal.command) == (Refusal.MALFORMED, None)


def test_a_field_that_is_missing_is_missed() -> None:
    whole = read_unproved(COMMAND.signed(CENTRE))
    for field in whole:
        message = sign(CENTRE, "command", {name: value for name, value in whole.items() if name != field})
        assert refused(message).reason is Refusal.MALFORMED


anything = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just({}) | st.just([])


@given(
    st.dictionaries(st.sampled_from(sorted(WRONG)), anything, max_size=3)
    | st.dictionaries(st.just("args"), st.dictionaries(st.text(max_size=8), anything, max_size=2))
)
def test_whatever_is_signed_is_a_command_or_refused(changes: dict[str, Any]) -> None:
    try:
        message = stated(**changes)
    except UnicodeEncodeError:
        return
    try:
        command = opened(message)
    except CommandRefusedError as refusal:
        assert (refusal.command is None) == (refusal.reason is Refusal.MALFORMED)
    else:
        assert command.signed(CENTRE) == message


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_a_reason(message: bytes) -> None:
    assert refused(message).reason in {Refusal.MALFORMED, Refusal.UNKNOWN_KEY, Refusal.BAD_SIGNATURE}
