"""The oracles on the centre's word: what it commands, and what it signs for.

16. Every message that reaches the gate as a command is on record exactly once, unless nobody known has signed
    it and one was recorded within the minute. It is on record as obeyed (or as impossible) if and only if the
    centre has signed it for this gate and epoch, within its time by the gate's clock, unretained, and with a
    counter above all before.
17. What was obeyed happens once, and nothing happens that was not: arms freed by the centre, records sent
    again, checkpoints made, policies read. (That suspended means suspended is for number 12.)
18. What the gate calls done has come to the centre byte for byte; when all is quiet the centre holds every
    record of the ledger, and has proved it.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from gate.core.commands import Command, Name
from gate.core.effects import AdoptPolicy, Effect, MakeCheckpoint, RequestUpdate, SendAgain, Show
from gate.core.inputs import CommandReceived
from gate.core.moment import Moment
from gate.core.texts import Key
from gate.sim.cards import SITE
from gate.sim.centre import GATE

_MINUTE_NS: Final = 60_000_000_000
_TAKEN: Final = frozenset({"done", "failed"})


class Obedience:
    """Watches how the gate takes commands. `clock` tells the time as the gate's computer does."""

    def __init__(
        self,
        told: dict[bytes, Command | None],
        clock: Callable[[], Moment],
        add: Callable[[int, str | None, str], None],
    ) -> None:
        self._told = told
        self._clock = clock
        self._add = add
        self._epoch = ""
        self._counter = self._recorded_counter = 0
        self._passages: set[str] = set()
        self._owed: Counter[tuple[str, str]] = Counter()
        self._stranger_ns = -_MINUTE_NS
        self._allowed: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()

    def powered(self, epoch: str) -> None:
        """Take note of a start, or of a new epoch."""
        self._epoch = epoch

    def power_lost(self) -> None:
        """What had been heard and was not on disk is gone with the process, and so is what was to be done."""
        self._owed.clear()
        self._allowed.clear()
        self._stranger_ns = -_MINUTE_NS
        self._counter = self._recorded_counter

    # --- 16

    def happened(self, happened: CommandReceived) -> None:
        """Take note of a message before the gate sees it."""
        command, now = self._told[happened.message], self._clock()
        if command is None:
            if now.mono_ns - self._stranger_ns >= _MINUTE_NS:
                self._owed["", "refused"] += 1
        elif self._counts(command, happened, now):
            self._counter = command.counter
            self._owed[command.id, "taken"] += 1
        else:
            self._owed[command.id, "refused"] += 1

    def _counts(self, command: Command, happened: CommandReceived, now: Moment) -> bool:
        ours = (command.to.site, command.to.gate, command.to.epoch) == (SITE, GATE, self._epoch)
        in_time = command.not_before <= now.wall_s <= command.expires and now.clock_trusted
        return ours and in_time and command.counter > self._counter and not happened.retained

    def recorded(self, data: dict[str, Any]) -> None:
        """Look at an answer on record."""
        passage = data.get("visit")
        if passage in self._passages:
            return  # told again in a new epoch, because the passage ends there
        self.outcomes[data["outcome"]] += 1
        if data["id"] is None:
            self._stranger_ns = self._clock().mono_ns
            self._owed.pop(("", "refused"), None)
            return
        place = data["id"], "taken" if data["outcome"] in _TAKEN else "refused"
        if not self._owed[place]:
            self._add(16, None, f"command {data['id']} on record as {data['outcome']}, which it is not")
        self._owed[place] -= 1
        if data["outcome"] in _TAKEN:
            self._recorded_counter = max(self._recorded_counter, data["counter"])
        if data["outcome"] == "done":
            self._allowed[data["command"]] += 1
        if passage is not None:
            self._passages.add(passage)

    def demand_answers(self) -> None:
        """Say what has no record, now that nothing waits to be written."""
        for (name, kind), times in self._owed.items():
            if times > 0:
                self._add(16, None, f"command {name or 'of a stranger'} ({kind}) has no record")
        self._owed.clear()

    # --- 17

    def performed(self, effect: Effect) -> None:
        """Look at what is done."""
        name = _of(effect)
        if name is None:
            return
        self._allowed[name] -= 1
        if self._allowed[name] < 0:
            self._add(17, None, f"{name} although no command was obeyed that says so")
            self._allowed[name] = 0


def _of(effect: Effect) -> Name | None:
    """Name the command that an effect follows from, if from any."""
    match effect:
        case Show(Key.OPENED_BY_CENTRE):
            return Name.OPEN_ONCE
        case SendAgain():
            return Name.RESEND
        case MakeCheckpoint():
            return Name.CHECKPOINT
        case AdoptPolicy():
            return Name.POLICY
        case RequestUpdate():
            return Name.UPDATE
    return None
