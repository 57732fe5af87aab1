"""The secret of a site: made once, whole, for nobody else to read; and the services that need it."""

import errno
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from gate.app import code_services
from gate.app.code_services import KEY_BYTES, KEY_BYTES_MIN, open_services, own_key, service_problems
from gate.config import Config, parse_config
from gate.core.moment import Moment

SERVICE = {
    "region": "CN-32",
    "url": "https://health.example/verify",
    "request": {"fields": {"code": "{token}"}, "signed": ["code"]},
    "answer": {"outcome": "code", "outcome_words": {"0": "answered"}, "status": "s", "status_words": {}},
}


def configured(tmp_path: Path, *, services: int = 1, **gate: object) -> Config:
    (tmp_path / "secret").write_text("a secret of the test")
    config: dict[str, Any] = {
        "gate": {"site": "hall", "id": "g1", "state_dir": str(tmp_path), **gate},
        "mqtt": {"host": "broker"},
        "camera": {"source": "synthetic", "path": "scene.json"},
        "thermometer": {"bus": "simulated"},
        "codes": {
            "services": [
                {**SERVICE, "region": f"CN-3{number}", "secret_file": str(tmp_path / "secret")}
                for number in range(services)
            ]
        },
    }
    return parse_config("gate.toml", config)


class Standing:
    def now(self) -> Moment:
        return Moment(1, 1, clock_trusted=True)


# --- the services


def test_a_gate_without_services_has_no_secret(tmp_path: Path) -> None:
    config = configured(tmp_path, services=0, site_key_file=str(tmp_path / "missing"))
    assert open_services(config, Standing()).regions == frozenset()
    assert service_problems(config) == []
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


def test_a_gate_makes_a_key_of_its_own_when_it_opens_its_services(tmp_path: Path) -> None:
    config = configured(tmp_path, services=2)
    assert service_problems(config) == []
    assert not (tmp_path / "site.key").exists()  # who only looks makes nothing
    assert open_services(config, Standing()).regions == {"CN-30", "CN-31"}
    assert len((tmp_path / "site.key").read_bytes()) == KEY_BYTES
    assert service_problems(config) == []


def test_the_key_of_the_site_is_used_and_never_made(tmp_path: Path) -> None:
    """A wrong path must not give each gate another key, and one person as many pseudonyms."""
    shared = tmp_path / "shared.key"
    config = configured(tmp_path, site_key_file=str(shared))
    with pytest.raises(FileNotFoundError):
        open_services(config, Standing())
    (problem,) = service_problems(config)
    assert problem.startswith(
        f"gate.site_key_file: {shared} cannot be used (No such file or directory); copy"
    )
    shared.write_bytes(bytes(16))
    assert service_problems(config) == []
    open_services(config, Standing())
    assert not (tmp_path / "site.key").exists()


@pytest.mark.parametrize("given", [False, True])
def test_a_short_key_is_a_problem_before_anything_starts(tmp_path: Path, given: bool) -> None:
    key = tmp_path / "site.key"
    key.write_bytes(bytes(15))
    config = configured(tmp_path, **({"site_key_file": str(key)} if given else {}))
    (problem,) = service_problems(config)
    assert problem.startswith(
        f"gate.site_key_file: {key} cannot be used (15 bytes, and a secret has 16 or more); copy"
    )
    with pytest.raises(OSError, match="a secret has 16 or more"):
        open_services(config, Standing())


def test_every_problem_is_said_at_once(tmp_path: Path) -> None:
    config = configured(tmp_path, services=2, site_key_file=str(tmp_path / "missing"))
    (tmp_path / "secret").unlink()
    problems = service_problems(config)
    assert [problem.split(":")[0] for problem in problems] == [
        "gate.site_key_file",
        "codes.services",
        "codes.services",
    ]


# --- the secret


def test_it_is_made_on_first_use_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    key = own_key(path)
    assert (len(key), path.read_bytes(), own_key(path)) == (KEY_BYTES, key, key)
    assert [file.name for file in tmp_path.iterdir()] == ["site.key"]
    assert own_key(tmp_path / "other.key") != key


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_nobody_else_may_read_it(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "site.key"
    before = os.umask(umask)
    try:
        own_key(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_that_was_given_is_used_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    given = bytes(range(KEY_BYTES_MIN))
    path.write_bytes(given)
    path.chmod(0o640)
    assert own_key(path) == given
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("short", [b"", bytes(KEY_BYTES_MIN - 1)])
def test_a_key_that_is_too_short_is_refused_and_left(tmp_path: Path, short: bytes) -> None:
    path = tmp_path / "site.key"
    path.write_bytes(short)
    with pytest.raises(OSError, match="a secret has 16 or more") as refused:
        own_key(path)
    assert (refused.value.errno, refused.value.filename) == (errno.EINVAL, str(path))
    assert path.read_bytes() == short


def test_a_key_that_cannot_be_read_or_made_is_an_operating_fault(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "site.key", tmp_path / "file" / "site.key"):
        (tmp_path / "file").touch()
        with pytest.raises(OSError):  # which one is the system's to say
            own_key(path)


def test_several_at_once_have_one_key(tmp_path: Path) -> None:
    """Whoever comes while it is being made waits for nothing, and nobody sees a half of it."""
    for round_ in range(20):
        path, keys = tmp_path / f"{round_}.key", list[bytes | Exception]()
        start = threading.Barrier(8)

        def make(
            path: Path = path, keys: list[bytes | Exception] = keys, start: threading.Barrier = start
        ) -> None:
            start.wait()
            try:
                keys.append(own_key(path))
            except Exception as error:  # noqa: BLE001 - told to the test
                keys.append(error)

        threads = [threading.Thread(target=make) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert keys == [path.read_bytes()] * 8
    assert len(list(tmp_path.iterdir())) == 20


def test_who_comes_second_takes_the_first_ones_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looking and making, another one has made it."""
    path = tmp_path / "site.key"
    make = code_services._make_key

    def late(path: Path) -> None:
        path.write_bytes(b"first" * 8)
        make(path)

    monkeypatch.setattr(code_services, "_make_key", late)
    assert own_key(path) == b"first" * 8
    assert [file.name for file in tmp_path.iterdir()] == ["site.key"]


def test_a_power_cut_while_it_is_made_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "site.key"

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", cut)
        with pytest.raises(KeyboardInterrupt):
            own_key(path)
    assert not path.exists()
    assert len(own_key(path)) == KEY_BYTES
