"""What the centre orders at one gate: heard, put on record, and only then obeyed.

A command takes two inputs. The first is answered by its record alone, with the centre's word as it is from
then on (`Orders.hear`); the command waits. Whatever comes next, be it only time, finds the record durable and
has the command obeyed first (`Orders.due`), unless the ledger has failed (`Orders.not_recorded`). So nothing
of a command has to be undone, and none is obeyed without its record.

A counter that was heard is used up, whatever becomes of the command: what was reported as failed must not
happen later because a broker repeats itself.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from gate.core import events
from gate.core.codes.model import Circumstances
from gate.core.commands import (
    NOTHING_SAID,
    Address,
    CentreWord,
    Command,
    CommandRefusedError,
    Name,
    open_command,
)
from gate.core.effects import Effect, Record
from gate.core.events import Event, Outcome
from gate.core.inputs import CommandReceived
from gate.core.moment import NS_PER_S, Moment

# Messages that nobody known has signed are recorded once a minute, those of the centre that are refused (a
# replay, say) so often: whoever may write to the topic could fill the disk otherwise. The rest is counted.
STRANGERS_PER_MINUTE: Final = 1
REFUSED_PER_MINUTE: Final = 30
_MINUTE_NS: Final = 60 * NS_PER_S

Hindrance = Callable[[Command], str]


class Quota:
    """So many records a minute; what comes beyond is counted, and told when the minute is over."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._ends_ns = 0
        self._taken = 0
        self._left_out = 0

    @property
    def due_ns(self) -> int | None:
        """The monotonic instant (ns) at which `left_out` has something to tell, None for never."""
        return self._ends_ns if self._left_out else None

    def allows(self, now_ns: int) -> bool:
        """Take one place, or count what finds none."""
        if now_ns >= self._ends_ns:
            self._ends_ns, self._taken = now_ns + _MINUTE_NS, 0
        if self._taken < self._per_minute:
            self._taken += 1
            return True
        self._left_out += 1
        return False

    def left_out(self, now_ns: int) -> int:
        """Return how many were left out in a minute that is over; telling takes a place in the next."""
        if not self._left_out or now_ns < self._ends_ns:
            return 0
        left_out, self._left_out = self._left_out, 0
        self.allows(now_ns)
        return left_out


@dataclass(frozen=True, slots=True)
class Order:
    """A command whose record has been asked for. `visit` names the passage that it allows, "" for none."""

    command: Command
    visit: str
    record: Event
    word: CentreWord


class Orders:
    """The commands of one gate. `keys` are those of the centre (32 bytes each): without one, none is known.

    `hindrance` says in a word why a command cannot be obeyed now, "" if it can; `name_visit` gives a name to
    the passage that one allows.
    """

    def __init__(
        self,
        site: str,
        gate: str,
        keys: tuple[bytes, ...],
        hindrance: Hindrance,
        name_visit: Callable[[], str],
    ) -> None:
        self._to = Address(site, gate, epoch="")
        self._keys = keys
        self._hindrance = hindrance
        self._name_visit = name_visit
        self._waiting: Order | None = None
        self._strangers = Quota(STRANGERS_PER_MINUTE)
        self._refused = Quota(REFUSED_PER_MINUTE)
        self.word = NOTHING_SAID

    @property
    def suspended(self) -> bool:
        """Whether the centre has told the gate not to serve visitors."""
        return self.word.suspended != ""

    @property
    def due_ns(self) -> int | None:
        """The monotonic instant (ns) at which there is something to do, 0 for at once, None for never."""
        if self._waiting is not None:
            return 0
        return min((ns for quota in self._quotas if (ns := quota.due_ns) is not None), default=None)

    def opened(self, epoch: str, word: CentreWord) -> None:
        """Take note of the ledger and of what it says; what was heard since it was opened first is newer."""
        if not self._to.epoch:
            self.word = word
        self._to = replace(self._to, epoch=epoch)

    def renewed(self, epoch: str) -> None:
        """Take note of a new epoch: commands for the one before are for another ledger now."""
        self._to = replace(self._to, epoch=epoch)

    def hear(self, happened: CommandReceived, now: Moment) -> Iterator[Record]:
        """Judge a message and put on record what becomes of it."""
        at = Circumstances(self._to.site, now.wall_ms, now.clock_trusted)
        try:
            command = open_command(
                happened.message,
                keys=self._keys,
                to=self._to,
                at=at,
                counter=self.word.counter,
                retained=happened.retained,
            )
        except CommandRefusedError as refusal:
            yield from self._refuse(refusal, now)
            return
        yield self._take(command)

    def _refuse(self, refusal: CommandRefusedError, now: Moment) -> Iterator[Record]:
        quota = self._strangers if refusal.command is None else self._refused
        if quota.allows(now.mono_ns):
            yield Record(events.command(refusal.command, Outcome.REFUSED, str(refusal.reason)))

    def _take(self, command: Command) -> Record:
        self.word = replace(self.word, counter=command.counter)
        problem = self._hindrance(command)
        if problem:
            return Record(events.command(command, Outcome.FAILED, problem), word=self.word)
        visit = self._name_visit() if command.name is Name.OPEN_ONCE else ""
        record = events.command(command, Outcome.DONE, visit=visit)
        self._waiting = Order(command, visit, record, _word_after(command, self.word))
        return Record(record, word=self._waiting.word)

    def due(self) -> Order | None:
        """Return the order that is on record now and to be obeyed, once."""
        order, self._waiting = self._waiting, None
        if order is not None:
            self.word = order.word
        return order

    def not_recorded(self, undone: Iterable[Effect]) -> tuple[Effect, ...]:
        """Return effects that were not performed as they are to be kept: a command among them has failed."""
        order = self._waiting
        if order is None or all(effect.event is not order.record for effect in _records(undone)):
            return tuple(undone)
        self._waiting = None
        failed = Record(events.command(order.command, Outcome.FAILED, "not_recorded"), word=self.word)
        return tuple(
            failed if isinstance(effect, Record) and effect.event is order.record else effect
            for effect in undone
        )

    def left_out(self, now: Moment) -> Iterator[Record]:
        """Tell how many messages of the last minute have no record of their own."""
        for quota in self._quotas:
            if count := quota.left_out(now.mono_ns):
                yield Record(events.command(None, Outcome.REFUSED, "too_many", left_out=count))

    @property
    def _quotas(self) -> tuple[Quota, Quota]:
        return self._strangers, self._refused


def _records(effects: Iterable[Effect]) -> Iterator[Record]:
    return (effect for effect in effects if isinstance(effect, Record))


def _word_after(command: Command, word: CentreWord) -> CentreWord:
    match command.name:
        case Name.SUSPEND:
            return replace(word, suspended=str(command.args["reason"]))
        case Name.RESUME:
            return replace(word, suspended="")
    return word
