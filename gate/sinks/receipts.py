"""What a receipt of the centre means to this gate.

A receipt is believed for its signature, and counts for its hash: only where the ledger has the very same hash
in that place does it say anything about this ledger's records. Of two receipts the one that the centre made
later counts, also when it reaches less far: a centre that was restored from a backup has lost what it had
signed for, and gets it again.
"""

from enum import Enum

from gate.core.delivery import Receipt
from gate.core.signed import SignedError
from gate.ports import Head, Held


class Meaning(Enum):
    """What follows from a receipt."""

    FOREIGN = "it is about another epoch, and means nothing here"
    OUTDATED = "one that was made later is known"
    NEWS = "everything up to there is done"
    REPEATED = "it says what is known"
    WENT_BACK = "the centre has less than it had"
    BEYOND = "the centre holds more records than this ledger has"
    DIFFERS = "the centre holds another record in that place"

    @property
    def disagrees(self) -> bool:
        """Whether this ledger is not the one that the centre knows: rolled back, or one of two."""
        return self in {Meaning.BEYOND, Meaning.DIFFERS}


def opened(message: bytes, keys: tuple[bytes, ...], site: str, gate: str) -> Receipt:
    """Return a receipt that the centre has signed for this gate.

    Raises SignedError; its reason is "misaddressed" for a receipt of another gate.
    """
    receipt = Receipt.opened(message, keys)
    if (receipt.site, receipt.gate) != (site, gate):
        raise SignedError("misaddressed")
    return receipt


def meaning(receipt: Receipt, *, head: Head, held: Held | None, own_hash: bytes | None) -> Meaning:
    """Tell what a receipt means; `held` is the newest one, `own_hash` what the ledger has at `receipt.upto`.

    `own_hash` is None beyond the head, and for what the ledger has deleted after it was receipted.
    """
    if receipt.epoch != head.epoch:
        return Meaning.FOREIGN
    # Of these two the age does not matter: a ledger does not lose what it had, nor turn into another.
    if receipt.upto > head.seq:
        return Meaning.BEYOND
    if own_hash is not None and receipt.hash != own_hash:
        return Meaning.DIFFERS
    if held is None:
        return Meaning.NEWS
    if receipt.upto == held.upto:
        return Meaning.REPEATED if receipt.at_ms >= held.at_ms else Meaning.OUTDATED
    if receipt.upto > held.upto:
        return Meaning.NEWS if receipt.at_ms >= held.at_ms else Meaning.OUTDATED
    return Meaning.WENT_BACK if receipt.at_ms > held.at_ms else Meaning.OUTDATED
