"""The verify services of a gate, opened."""

from gate.app.site_key import KEY_BYTES, site_key
from gate.config import Config
from gate.ports import Clock
from gate.services.health_code import HealthCodeService, ServiceSetupError


def open_services(config: Config, clock: Clock) -> HealthCodeService:
    """Open the services. Raises ServiceSetupError with every problem, OSError when there is no site key."""
    if not config.codes.services:
        return HealthCodeService((), site_key=bytes(KEY_BYTES), now_ms=lambda: 0)
    key = site_key(config)
    return HealthCodeService(config.codes.services, site_key=key, now_ms=lambda: clock.now().wall_ms)


def service_problems(config: Config) -> list[str]:
    """Return what would keep the services from being opened, a sentence each; nothing is made or changed."""
    try:
        HealthCodeService(config.codes.services, site_key=bytes(KEY_BYTES), now_ms=lambda: 0)
    except ServiceSetupError as error:
        return [f"codes.services: {problem}" for problem in error.problems]
    return []
