"""Which ledger follows which, derived again from their first records: the part of `verify` about that."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from central.store.proving import whole_lines
from central.store.reading import Name, is_name
from central.store.streams import Stream

Said = Mapping[str, tuple[str, int, bytes]]
"""By epoch: which ledger its first record says that it follows, how many records that had, and its hash."""


def check_lineage(family: Sequence[Stream], said: Said, differs: Callable[[Stream, str], None]) -> None:
    """Hold the rows of one gate's ledgers against what those that are proved have said."""
    by_epoch = {one.epoch: one for one in family}
    for old in family:
        if old.ended is not None:
            if said.get(old.successor) != (old.epoch, old.ended, old.ended_hash):
                differs(old, f"{old.successor or 'nobody'} does not say that this ledger ended like this")
            continue
        for epoch, (followed, _, _) in said.items():
            if followed == old.epoch and not _leads_to(by_epoch, by_epoch[epoch], old):
                differs(old, f"{epoch} says that it follows this ledger, whose row knows nothing of it")
    _check_arrival(family, differs)


def follows(stream: Stream, word: tuple[str, int, bytes] | None) -> bool:
    """Return whether this ledger's first record names a ledger that it may follow."""
    return stream.proved > 0 and word is not None and is_name(Name(stream.site, stream.gate, word[0]))


def _leads_to(by_epoch: Mapping[str, Stream], start: Stream, end: Stream) -> bool:
    """Return whether `end` is this ledger, or follows it by its own word; then it was not ended: a circle."""
    at: Stream | None = start
    for _ in by_epoch:
        if at is None or at is end:
            break
        at = None if at.ended is None else by_epoch.get(at.successor)
    return at is end


def _check_arrival(family: Sequence[Stream], differs: Callable[[Stream, str], None]) -> None:
    """Where ledgers do not say whom they follow, the order of arrival stands in their rows."""
    lines = sorted(whole_lines(family), key=lambda line: line.root.id)
    expected = {old.newest.epoch: new.speaker.epoch for old, new in pairwise(lines)}
    expected |= {line.newest.epoch: "" for line in lines[-1:]}
    expected |= {one.epoch: "" for one in family if one.ended is None and not one.proved}
    for one in family:
        successor = expected.get(one.epoch, one.successor)
        if one.successor != successor:
            differs(one, f"{successor or 'nothing'} follows this ledger, not {one.successor or 'nothing'}")
