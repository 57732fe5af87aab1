"""What a visitor says of themselves, on its way through the gate: checked, sealed for the centre, forgotten.

The gate learns which fields were taken down (`AttendantNoted.registered`) and holds what it cannot read:

    sealed box (X25519, XSalsa20-Poly1305) for the centre's key of
    {"at_ms":…,"fields":{"name":"…"},"gate":"…","site":"…","v":1} and spaces up to a multiple of 256 bytes

Nothing here puts a value into a message, a log or an error.
"""

import json
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from gate.core.codes.model import REGISTRATION_FIELDS
from gate.core.inputs import AttendantNoted

VALUE_CHARS_MAX: Final = 200
# Length alone tells one name from another. The largest registration stays below what goes beside a record.
PADDED_TO_BYTES: Final = 256

_UNFIT: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, halves of characters, ends of lines
_TURNING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # show text as another

NO_CENTRE: Final = (
    "this gate has no centre that could keep what a visitor says, and nothing was kept; "
    "write it down elsewhere and tell the gate which fields: gate desk note --registered name,phone "
    "(or name the centre's keys in the configuration: [centre] keys_file)"
)
NO_PYNACL: Final = "nothing was kept: values cannot be sealed without PyNaCl (apt install python3-nacl)"
BAD_KEY: Final = "nothing was kept: the key seal in centre.json is none; bring the file from the centre again"


class RegistrationError(ValueError):
    """What was said cannot be taken down; the text says what to put right and holds no value."""


@dataclass(frozen=True, slots=True)
class Registration:
    """What a visitor has said, by field, until it is sealed; `visit` as in `AttendantNoted`."""

    fields: Mapping[str, str] = field(repr=False)
    visit: str | None = None


Seal = Callable[[Mapping[str, str]], bytes]


def no_seal(_fields: Mapping[str, str]) -> bytes:
    """Stand for a centre that is not there. Raises RegistrationError."""
    raise RegistrationError(NO_CENTRE)


class Sealer:
    """Seals for the centre whose public key (X25519, 32 bytes) this is; `now_ms` gives unix milliseconds."""

    def __init__(self, site: str, gate: str, key: bytes, now_ms: Callable[[], int]) -> None:
        self._site = site
        self._gate = gate
        self._key = key
        self._now_ms = now_ms

    def __call__(self, fields: Mapping[str, str]) -> bytes:
        """Return what only the centre can read. Raises RegistrationError where nothing can be sealed."""
        try:
            from nacl.exceptions import CryptoError  # noqa: PLC0415 - most gates take nothing down
            from nacl.public import PublicKey, SealedBox  # noqa: PLC0415
        except ImportError:
            raise RegistrationError(NO_PYNACL) from None
        try:
            return bytes(SealedBox(PublicKey(self._key)).encrypt(self._padded(fields)))
        except CryptoError:
            raise RegistrationError(BAD_KEY) from None

    def _padded(self, fields: Mapping[str, str]) -> bytes:
        origin = {"v": 1, "site": self._site, "gate": self._gate, "at_ms": self._now_ms()}
        said = {**origin, "fields": dict(fields)}
        text = json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
        return text + b" " * (-len(text) % PADDED_TO_BYTES)


def read_registration(said: object) -> Registration:
    """Return the fields of a request. Raises RegistrationError."""
    known = ", ".join(REGISTRATION_FIELDS)
    if not isinstance(said, dict) or not said:
        raise RegistrationError(f'register: must be an object such as {{"name": "..."}}, of {known}')
    if not said.keys() <= set(REGISTRATION_FIELDS):
        raise RegistrationError(f"register: there is a field that is none of {known}")
    return Registration({name: _value(name, value) for name, value in said.items()})


def as_note(registration: Registration, seal: Seal) -> AttendantNoted:
    """Return what the gate is told: which fields, and what only the centre reads. RegistrationError."""
    sealed = seal(registration.fields)
    return AttendantNoted(registered=frozenset(registration.fields), visit=registration.visit, sealed=sealed)


def _value(name: str, value: object) -> str:
    if not isinstance(value, str) or not (text := value.strip()):
        raise RegistrationError(f"{name}: must be a text that says something")
    if len(text) > VALUE_CHARS_MAX:
        raise RegistrationError(f"{name}: has more than {VALUE_CHARS_MAX} characters")
    if any(unicodedata.category(char) in _UNFIT or char in _TURNING for char in text):
        raise RegistrationError(f"{name}: has a character that is no text, such as an end of a line")
    return text
