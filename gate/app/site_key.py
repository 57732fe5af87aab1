"""The secret of which pseudonyms are made: one of the whole site, or of this gate alone.

    gate.site_key_file     the same at every gate of a site, and at the centre where it is to find a person
    <state_dir>/site.key   made at the first start of a gate that names no file: its pseudonyms are its own

32 bytes, or 64 hexadecimal digits for them; only the gate's user may read it.
"""

import errno
import secrets
from pathlib import Path
from typing import Final

from gate.config import Config
from gate.core import pseudonyms
from gate.durable import read_plain, write_new

KEY_NAME: Final = "site.key"
KEY_BYTES: Final = pseudonyms.SITE_KEY_BYTES
KEY_BYTES_MIN: Final = pseudonyms.SITE_KEY_BYTES_MIN
_BYTES_MAX: Final = 4096


def site_key(config: Config) -> bytes:
    """Return the key of the site, or this gate's own, made where there is none. Raises OSError."""
    path = config.gate.site_key_file
    if path is None:
        return own_key(config.gate.state_dir / KEY_NAME)
    return read_key(path)  # never made, or each gate would have another one


def site_key_problems(config: Config) -> list[str]:
    """Return what would keep the key from being used, a sentence each; nothing is made or changed."""
    own = config.gate.state_dir / KEY_NAME
    path = config.gate.site_key_file or own
    try:
        if path != own or own.exists():
            read_key(path)
    except OSError as error:
        remedy = "copy the key of the site's other gates there, readable for the user of the service"
        return [f"gate.site_key_file: {error.filename} cannot be used ({error.strerror}); {remedy}"]
    return []


def read_key(path: Path) -> bytes:
    """Return the secret in a file. Raises OSError, also (EINVAL) for fewer than `KEY_BYTES_MIN` bytes."""
    try:
        # An administrator may name a link to the file.
        return pseudonyms.site_key(read_plain(path, _BYTES_MAX, links=True))
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), str(path)) from None


def own_key(path: Path) -> bytes:
    """Return the secret in this file, made on first use where there is none. Raises OSError."""
    if not path.exists():
        write_new(path, secrets.token_bytes(KEY_BYTES), owned_as_folder=True)
    return read_key(path)
