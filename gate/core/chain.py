"""The hash chain over the records of one ledger.

Record n has the hash SHA-256(tag, hash of record n-1, exact bytes of record n); before the first record
stands a hash made of the ledger's epoch alone. Whoever knows the newest hash can tell whether any byte of
any record was changed, and whether a record was removed, inserted or moved.
"""

import hashlib
from typing import Final

HASH_SIZE: Final = 32
_GENESIS_TAG: Final = b"health-gate ledger 1 genesis\0"
_RECORD_TAG: Final = b"health-gate ledger 1 record\0"


def genesis(epoch: str) -> bytes:
    """Return the 32 bytes that stand before the first record of an epoch."""
    return hashlib.sha256(_GENESIS_TAG + epoch.encode()).digest()


def link(previous: bytes, body: bytes) -> bytes:
    """Return the hash of the record `body` that follows the record with the hash `previous`."""
    return hashlib.sha256(_RECORD_TAG + previous + body).digest()
