"""What people hold up to the camera: passes on paper, rotating ones, pictures of them, tokens, addresses."""

import random
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gate.core.codes import Trust, TrustedKey, base45
from gate.core.codes.home import PREFIX, PassClaims, issue
from gate.core.codes.rotating import STEP_S, present
from gate.core.codes.trust import DOCUMENTS, PASSES
from gate.core.documents import Document, sign_document

SITE: Final = "simulated-hall"
ISSUER: Final = "simulated-hall"
_TEXTS_KEPT: Final = 20


class Said(StrEnum):
    """How a verify service deals with the question about one token."""

    GREEN = "green"
    RED = "red"
    SLOW = "slow"
    NEVER = "never"
    UNREACHED = "unreached"


@dataclass(slots=True, eq=False)
class Card:
    """One thing to hold up. `subject` is the pseudonym (hexadecimal) that it names, None for nobody's.

    `claims` are those of a genuine pass. `slot` names the appointment that it stands for, `said` what a
    verify service makes of it. `copied`: not this person's to show; with a `step` it is an old screen.
    `texts` are the last ones that it has shown.
    """

    payload: bytes
    subject: str | None = None
    claims: PassClaims | None = None
    slot: str | None = None
    said: Said | None = None
    copied: bool = False
    step: int | None = None
    texts: deque[bytes] = field(default_factory=lambda: deque(maxlen=_TEXTS_KEPT))

    def show(self, now_s: int) -> bytes:
        """Return what the camera reads at `now_s` (true unix seconds)."""
        text = self._text(now_s)
        if not self.texts or self.texts[-1] != text:
            self.texts.append(text)
        return text

    def _text(self, _now_s: int) -> bytes:
        return self.payload


@dataclass(slots=True, eq=False)
class RotatingCard(Card):
    """A pass on its holder's phone: another text every 30 s."""

    phone: Ed25519PrivateKey | None = None
    issued: str = ""

    def _text(self, now_s: int) -> bytes:
        step = now_s // STEP_S
        if step != self.step:
            self.step = step
            self.payload = self.screen(now_s)
        return self.payload

    def screen(self, now_s: int) -> bytes:
        """Return what the phone shows at an instant."""
        assert self.phone is not None
        return present(self.phone, self.issued, now_s).encode()


@dataclass(slots=True, eq=False)
class Picture(Card):
    """A picture of what somebody else's phone has shown last, taken a moment ago."""

    original: Card | None = None

    def _text(self, now_s: int) -> bytes:
        assert self.original is not None
        if not self.payload:
            shown = self.original.texts
            self.payload = shown[-1] if shown else self.original.show(now_s)
            self.step = self.original.step
        return self.payload


class Issuer:
    """Signs the passes and documents of a run; `trust` is what the gate knows of it."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._key = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
        public = self._key.public_key().public_bytes_raw()
        self.trust = Trust((TrustedKey(ISSUER, "Simulated hall", public, frozenset({*PASSES, DOCUMENTS})),))

    def card(self, claims: PassClaims, *, slot: str | None = None) -> Card:
        """Issue a pass on paper."""
        return Card(issue(self._key, claims).encode(), claims.subject.hex(), claims, slot)

    def phone_key(self) -> Ed25519PrivateKey:
        """Make the key of somebody's phone."""
        return Ed25519PrivateKey.from_private_bytes(self._rng.randbytes(32))

    def rotating(self, claims: PassClaims, phone: Ed25519PrivateKey) -> RotatingCard:
        """Issue a pass that is bound to a phone, whose key the claims name."""
        return RotatingCard(b"", claims.subject.hex(), claims, phone=phone, issued=issue(self._key, claims))

    def document(self, document: Document) -> bytes:
        """Sign a document of the day."""
        return sign_document(self._key, document).encode()


def subject_of(person: int) -> bytes:
    """Return the pseudonym under which a person's passes are issued."""
    return person.to_bytes(8, "big")


def forged(genuine: bytes) -> bytes:
    """Return a pass whose signature is wrong by one bit."""
    raw = bytearray(base45.decode(genuine.removeprefix(PREFIX)))
    raw[-1] ^= 1
    return PREFIX + base45.encode(bytes(raw)).encode()


def copy_of_pass(card: RotatingCard) -> Card:
    """Return the paper of a bound pass, in somebody else's hands."""
    return Card(card.issued.encode(), card.subject, card.claims, copied=True)


def old_screen(card: RotatingCard, then_s: int) -> Card:
    """Return a picture of what a phone has shown at `then_s`, in somebody else's hands."""
    return Card(card.screen(then_s), card.subject, card.claims, copied=True, step=then_s // STEP_S)


def picture_of(card: Card) -> Card:
    """Return a picture, to be taken of what somebody has just shown."""
    return Picture(b"", card.subject, card.claims, copied=True, original=card)


_TOKENS: Final = {
    "CN-31": "https://s.sh.gov.cn/{number:032x}{ms:013d}",
    "CN-32": "https://jsstm.jszwfw.gov.cn/jkmIndex.html?token={number}",
    "CN-33": "https://h5.dingtalk.com/healthAct/{number}",
}
SERVICES: Final = frozenset(_TOKENS)
"""The regions whose tokens the gate can ask about."""


def token(region: str, number: int, now_s: int, said: Said) -> Card:
    """Return a national token that its service answers in this way."""
    text = _TOKENS[region].format(number=number, ms=now_s * 1000)
    return Card(text.encode(), subject_of(number).hex(), said=said)
