"""Many records in one message, for a backlog: their exact bytes, one per line, compressed (zlib, RFC 1950).

A record is JSON without a line break in it, so that lines need no further framing. Alike as records are, a
batch takes a fifth of the room. Topic: `hg/1/<site>/<gate>/ev/batch`; whoever subscribes to `.../ev/#` gets
single records and batches.
"""

import zlib
from collections.abc import Sequence
from typing import Final

from gate.core.events import BODY_BYTES_MAX

BATCH_RECORDS_MAX: Final = 100
BATCH_BYTES_MAX: Final = BATCH_RECORDS_MAX * (BODY_BYTES_MAX + 1)
"""Of the records in a batch together, each with a line break; what unpacks to more is no batch."""

_LEVEL: Final = 1


class BatchError(ValueError):
    """Bytes that are no batch."""


def pack(bodies: Sequence[bytes]) -> bytes:
    """Return the message that holds these records, 1 to BATCH_RECORDS_MAX, in this order."""
    if not 1 <= len(bodies) <= BATCH_RECORDS_MAX:
        raise ValueError(f"a batch holds 1 to {BATCH_RECORDS_MAX} records")
    return zlib.compress(b"\n".join(bodies), _LEVEL)


def unpack(message: bytes) -> list[bytes]:
    """Return the records of a batch; time and memory are bounded. Raises BatchError."""
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(message, BATCH_BYTES_MAX + 1)
    except zlib.error as error:
        raise BatchError("no zlib stream") from error
    if not inflater.eof or inflater.unused_data or len(text) > BATCH_BYTES_MAX:
        raise BatchError("not one whole stream of the size that is allowed")
    bodies = text.split(b"\n", BATCH_RECORDS_MAX)
    if len(bodies) > BATCH_RECORDS_MAX:
        raise BatchError(f"more than {BATCH_RECORDS_MAX} records")
    return bodies
