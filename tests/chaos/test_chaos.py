"""A small storm: what `make chaos` does with twenty thousand visitors, with some hundreds."""

import random
from pathlib import Path

import pytest

from tests.brokers import require
from tests.chaos.run import Settings, run

SMALL = {"visits": 500, "gates": 3, "visitors_per_minute": 1200, "storm_s": 40.0, "quiet_s": 60.0}


@pytest.fixture
def seed() -> int:
    require("mosquitto", "mosquitto")
    return random.randrange(1_000_000)


@pytest.mark.soak
@pytest.mark.timeout(200)
def test_nothing_is_lost_in_a_small_storm(seed: int, tmp_path: Path) -> None:
    said: list[str] = []
    assert run(Settings(seed, **SMALL), tmp_path, said.append), "\n".join(said)  # type: ignore[arg-type]
    assert said[-1] == "lost 0 doubled 0 undetected 0 passes-without-record 0"
