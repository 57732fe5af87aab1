"""Passes for the demo's visitors, signed by an issuer that exists only for this run."""

import random
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gate.core.codes import Credential, Status, Travel, Trust
from gate.core.codes.home import PassClaims, issue

ISSUER: Final = "demo-counter"
HOUR_S: Final = 3600


class Issuer:
    """A counter that issues passes for one site; `now_s` is the wall time in unix seconds.

    Without a `key` the first draw makes one.
    """

    def __init__(
        self, site: str, rng: random.Random, now_s: int, key: Ed25519PrivateKey | None = None
    ) -> None:
        self._site = site
        self._rng = rng
        self._now_s = now_s
        self._key = key or Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))

    def trust(self) -> Trust:
        """Return what a gate needs to believe this issuer."""
        key = {
            "issuer": ISSUER,
            "issuer_name": "Demo counter",
            "public_key": self._key.public_key().public_bytes_raw().hex(),
            "purposes": ["visitor", "staff"],
        }
        return Trust.from_documents([("demo", {"keys": [key]})])

    def issue(self, credential: Credential = Credential.VISITOR, *, expired: bool = False) -> str:
        """Return a green pass of somebody new whose name and phone have been registered."""
        began_s = self._now_s - (30 * HOUR_S if expired else HOUR_S)
        claims = PassClaims(
            issuer=ISSUER,
            subject=self._rng.randbytes(8),
            site=self._site,
            valid_from=began_s,
            valid_until=began_s + 24 * HOUR_S,
            issued_at=began_s,
            pass_id=self._rng.randbytes(4),
            credential=credential,
            status=Status.GREEN,
            registered=frozenset({"name", "phone"}),
            travel=Travel.CLEAR,
        )
        return issue(self._key, claims)

    def forge(self) -> str:
        """Return a pass that names this issuer and was signed by somebody else."""
        text = self.issue()
        middle = len(text) - 20  # inside the signature
        return text[:middle] + ("A" if text[middle] != "A" else "B") + text[middle + 1 :]
