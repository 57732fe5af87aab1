"""The verify services of a gate, opened, and the secret of which their pseudonyms are made."""

import errno
import os
import secrets
from pathlib import Path
from typing import Final

from gate.config import Config
from gate.ports import Clock
from gate.services.health_code import HealthCodeService

KEY_BYTES: Final = 32
KEY_BYTES_MIN: Final = 16


def open_services(config: Config, clock: Clock) -> HealthCodeService:
    """Open the services. Raises ServiceSetupError with every problem, OSError when there is no site key."""
    if not config.codes.services:
        return HealthCodeService((), site_key=bytes(KEY_BYTES), now_ms=lambda: 0)
    key = site_key(site_key_path(config))
    return HealthCodeService(config.codes.services, site_key=key, now_ms=lambda: clock.now().wall_ms)


def site_key_path(config: Config) -> Path:
    """Return where this gate has its secret."""
    return config.gate.site_key_file or config.gate.state_dir / "site.key"


def site_key(path: Path) -> bytes:
    """Return the secret in this file, made on first use where there is none.

    Raises OSError, also (EINVAL) for a file of fewer than `KEY_BYTES_MIN` bytes.
    """
    if not path.exists():
        _make_key(path)
    key = path.read_bytes()
    if len(key) < KEY_BYTES_MIN:
        told = f"fewer than {KEY_BYTES_MIN} bytes are no secret; copy the key of the site's other gates there"
        raise OSError(errno.EINVAL, told, str(path))
    return key


def _make_key(path: Path) -> None:
    """Make the file whole or not at all; of several who do so at once, one is the first."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(secrets.token_bytes(KEY_BYTES))
        opened.flush()
        os.fsync(opened.fileno())
    try:
        path.hardlink_to(part)
    except FileExistsError:
        pass
    finally:
        part.unlink()
