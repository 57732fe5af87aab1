"""The verify services of a gate, opened, and the secret of which their pseudonyms are made."""

import os
import secrets
from pathlib import Path
from typing import Final

from gate.config import Config
from gate.ports import Clock
from gate.services.health_code import HealthCodeService

KEY_BYTES: Final = 32


def open_services(config: Config, clock: Clock) -> HealthCodeService:
    """Open the services. Raises ServiceSetupError with every problem, OSError when there is no site key."""
    if not config.codes.services:
        return HealthCodeService((), site_key=bytes(KEY_BYTES), now_ms=lambda: 0)
    key = site_key(config.gate.site_key_file or config.gate.state_dir / "site.key")
    return HealthCodeService(config.codes.services, site_key=key, now_ms=lambda: clock.now().wall_ms)


def site_key(path: Path) -> bytes:
    """Return the secret in this file, made on first use where there is none. Raises OSError."""
    try:
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(made, "wb") as opened:
        opened.write(secrets.token_bytes(KEY_BYTES))
    return path.read_bytes()
