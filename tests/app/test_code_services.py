"""The verify services as the configuration names them, and the secret that they need."""

from pathlib import Path
from typing import Any

import pytest

from gate.app.code_services import open_services, service_problems
from gate.app.site_key import KEY_BYTES
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


def test_a_gate_without_services_asks_for_no_secret(tmp_path: Path) -> None:
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


def test_every_problem_is_said_at_once(tmp_path: Path) -> None:
    config = configured(tmp_path, services=2)
    (tmp_path / "secret").unlink()
    problems = service_problems(config)
    assert [problem.split(":")[0] for problem in problems] == ["codes.services", "codes.services"]


def test_without_the_key_of_the_site_they_are_not_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_services(configured(tmp_path, site_key_file=str(tmp_path / "missing")), Standing())
