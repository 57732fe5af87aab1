"""`centre.json` and the `[centre]` section: everything that is wrong at once, with what to do."""

import json
import os
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from pytest import mark, raises

from gate.app.centre import CentreKeys, load_centre_keys
from gate.checked import ConfigError
from gate.cli import main
from gate.config import load_config
from tests.app.bounded import in_time
from tests.app.test_doctor import write_config

SIGN, SEAL = "ab" * 32, "cd" * 32
GOOD: dict[str, Any] = {"sign": [SIGN], "seal": SEAL}


def problems(folder: Path, content: object) -> tuple[str, ...]:
    path = folder / "centre.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with raises(ConfigError) as raised:
        load_centre_keys(path)
    return raised.value.problems


def test_good_keys(tmp_path: Path) -> None:
    path = tmp_path / "centre.json"
    path.write_text(json.dumps({**GOOD, "sign": [SIGN, SEAL]}))
    assert load_centre_keys(path) == CentreKeys((b"\xab" * 32, b"\xcd" * 32), b"\xcd" * 32)


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    wrong = {"sing": [], "sign": [SIGN, SIGN[:-1], 7, SIGN.upper()], "seal": None}
    assert problems(tmp_path, wrong) == (
        "sing: unknown key; did you mean 'sign'?",
        "sign.1: is no public key: 64 hexadecimal digits, in small letters",
        "sign.2: is no public key: 64 hexadecimal digits, in small letters",
        "sign.3: is no public key: 64 hexadecimal digits, in small letters",
        "seal: is no public key: 64 hexadecimal digits, in small letters",
    )


@mark.parametrize(
    ("content", "words"),
    [
        ({}, "sign: is required and missing"),
        ({"sign": [SIGN]}, "seal: is required and missing"),
        ({**GOOD, "sign": []}, "sign: must be a list of 1 to 8 keys"),
        ({**GOOD, "sign": [SIGN] * 9}, "sign: must be a list of 1 to 8 keys"),
        ({**GOOD, "sign": SIGN}, "sign: must be a list of 1 to 8 keys"),
        ([], "must be an object"),
        ("no json", "not valid JSON; bring centre.json from the centre"),
        ("[" * 50_000, "not valid JSON"),
    ],
)
def test_each_thing_that_can_be_wrong(tmp_path: Path, content: object, words: str) -> None:
    assert problems(tmp_path, content)[0].startswith(words)


def test_a_file_that_is_missing_or_cannot_be_read(tmp_path: Path) -> None:
    with raises(ConfigError, match=r"no such file; bring centre.json from the centre"):
        load_centre_keys(tmp_path / "none.json")
    with raises(ConfigError, match="cannot be read"):
        load_centre_keys(tmp_path)


def test_neither_a_pipe_nor_what_has_no_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "centre.json"
    os.mkfifo(path)
    with raises(ConfigError, match=r"centre\.json"):
        in_time(lambda: load_centre_keys(path))
    path.unlink()
    path.symlink_to("/dev/zero")
    with raises(ConfigError, match=r"centre\.json"):
        in_time(lambda: load_centre_keys(path))


def test_a_link_to_the_keys_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").write_text(json.dumps(GOOD))
    (tmp_path / "link").symlink_to("there")
    assert load_centre_keys(tmp_path / "link").seal


def test_the_section(tmp_path: Path) -> None:
    extra = '[centre]\nkeys_file = "/etc/gate/centre.json"'
    section = load_config(write_config(tmp_path, extra=extra)).centre
    assert section is not None
    assert (section.keys_file, section.keep_days) == (Path("/etc/gate/centre.json"), 30)
    assert load_config(write_config(tmp_path)).centre is None


@mark.parametrize(
    ("extra", "words"),
    [
        ("[centre]", "centre.keys_file: is required and missing"),
        ('[centre]\nkeys_file = "k"\nkeep_days = 0', "centre.keep_days"),
        ('[centre]\nkeys_file = "k"\nkeep_days = 3651', "centre.keep_days"),
        ('[centre]\nkey_file = "k"', "did you mean 'keys_file'?"),
    ],
)
def test_the_section_is_checked(tmp_path: Path, extra: str, words: str) -> None:
    with raises(ConfigError) as raised:
        load_config(write_config(tmp_path, extra=extra))
    assert words in str(raised.value)


def test_check_config_names_what_is_wrong_with_the_keys_beside_all_else(tmp_path: Path) -> None:
    extra = f'[centre]\nkeys_file = "{tmp_path / "centre.json"}"'
    config = write_config(tmp_path, extra=extra, gate='policy = "county-hal"')
    result = CliRunner().invoke(main, ["check-config", "--config", str(config)])
    assert result.exit_code == 78
    assert "did you mean 'county-hall'?" in result.output
    assert "centre.json: no such file; bring centre.json from the centre" in result.output
    (tmp_path / "centre.json").write_text(json.dumps(GOOD))
    config = write_config(tmp_path, extra=extra)
    assert CliRunner().invoke(main, ["check-config", "--config", str(config)]).exit_code == 0
