"""What a gate knows of its centre: the public keys in `centre.json`, as `central init` makes it.

    {"sign": ["<64 hex>", ...], "seal": "<64 hex>"}

`sign`: Ed25519, whose signature makes a receipt or a command; several while the centre changes its key.
`seal`: X25519, to which values are sealed that nobody else may read.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gate.checked import ConfigError, did_you_mean
from gate.durable import read_plain

SIGNERS_MAX: Final = 8
_BYTES_MAX: Final = 64 * 1024
_KEY: Final = re.compile(r"[0-9a-f]{64}")
_FIELDS: Final = ("sign", "seal")


@dataclass(frozen=True, slots=True)
class CentreKeys:
    """The centre's public keys, 32 bytes each."""

    sign: tuple[bytes, ...]
    seal: bytes


def load_centre_keys(path: Path) -> CentreKeys:
    """Read the file of the centre's keys. Raises ConfigError with every problem at once."""
    stated = _read(path)
    problems = list(_problems(stated))
    if problems:
        raise ConfigError(str(path), problems)
    return CentreKeys(tuple(map(bytes.fromhex, stated["sign"])), bytes.fromhex(stated["seal"]))


def _read(path: Path) -> dict[str, Any]:
    try:
        stated = json.loads(read_plain(path, _BYTES_MAX, links=True))
    except FileNotFoundError:
        advice = "bring centre.json from the centre (central init makes it), or name it in centre.keys_file"
        raise ConfigError(str(path), [f"no such file; {advice}"]) from None
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(str(path), ["not valid JSON; bring centre.json from the centre"]) from error
    if not isinstance(stated, dict):
        raise ConfigError(str(path), ['must be an object such as {"sign": ["<64 hex>"], "seal": "<64 hex>"}'])
    return stated


def _problems(stated: dict[str, Any]) -> Iterator[str]:
    for name in stated.keys() - set(_FIELDS):
        yield f"{name}: unknown key{did_you_mean(name, _FIELDS)}"
    for name in _FIELDS:
        if name not in stated:
            yield f"{name}: is required and missing"
    sign = stated.get("sign", [])
    if not isinstance(sign, list) or len(sign) > SIGNERS_MAX or ("sign" in stated and not sign):
        yield f"sign: must be a list of 1 to {SIGNERS_MAX} keys"
        sign = []
    named = [(f"sign.{number}", key) for number, key in enumerate(sign)]
    if "seal" in stated:
        named.append(("seal", stated["seal"]))
    for place, key in named:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            yield f"{place}: is no public key: 64 hexadecimal digits, in small letters"
