"""The verify services of a gate, opened, and the secret of which their pseudonyms are made."""

import errno
import os
import secrets
from pathlib import Path
from typing import Final

from gate.config import Config
from gate.ports import Clock
from gate.services.health_code import HealthCodeService, ServiceSetupError

KEY_BYTES: Final = 32
KEY_BYTES_MIN: Final = 16


def open_services(config: Config, clock: Clock) -> HealthCodeService:
    """Open the services. Raises ServiceSetupError with every problem, OSError when there is no site key."""
    if not config.codes.services:
        return HealthCodeService((), site_key=bytes(KEY_BYTES), now_ms=lambda: 0)
    key = _given_key(config) or own_key(_own_key_path(config))
    return HealthCodeService(config.codes.services, site_key=key, now_ms=lambda: clock.now().wall_ms)


def service_problems(config: Config) -> list[str]:
    """Return what would keep the services from being opened, a sentence each; nothing is made or changed."""
    if not config.codes.services:
        return []
    problems: list[str] = []
    try:
        if _given_key(config) is None and _own_key_path(config).exists():
            read_key(_own_key_path(config))
    except OSError as error:
        problems.append(
            f"gate.site_key_file: {error.filename} cannot be used ({error.strerror}); "
            "copy the key of the site's other gates there, readable for the user of the service"
        )
    try:
        HealthCodeService(config.codes.services, site_key=bytes(KEY_BYTES), now_ms=lambda: 0)
    except ServiceSetupError as error:
        problems += [f"codes.services: {problem}" for problem in error.problems]
    return problems


def read_key(path: Path) -> bytes:
    """Return the secret in a file. Raises OSError, also (EINVAL) for fewer than `KEY_BYTES_MIN` bytes."""
    key = path.read_bytes()
    if len(key) < KEY_BYTES_MIN:
        raise OSError(errno.EINVAL, f"{len(key)} bytes, and a secret has {KEY_BYTES_MIN} or more", str(path))
    return key


def own_key(path: Path) -> bytes:
    """Return the secret in this file, made on first use where there is none. Raises OSError."""
    if not path.exists():
        _make_key(path)
    return read_key(path)


def _given_key(config: Config) -> bytes | None:
    """Return the key that the configuration names: it is never made, or each gate would have another one."""
    path = config.gate.site_key_file
    return None if path is None else read_key(path)


def _own_key_path(config: Config) -> Path:
    return config.gate.state_dir / "site.key"


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
