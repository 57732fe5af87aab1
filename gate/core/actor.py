"""The actor: everything that happens goes in, everything to be done comes out, and time is an argument.

It holds the state of the gate (conditions, mode) and of at most one visit (`session.Visit`). `handle` is
the only way in; it never blocks, never reads a clock and raises only for programming errors. The order of
the effects is part of the contract:

* for a pass: `Record`, then `Unlock`, then `Show`. No pass without a record;
* for a fire: `HoldOpen` comes before every record, because nobody waits for a disk in a fire;
* `RecordFailed` is answered without another `Record`: what could not be written, and the records that were
  to follow it, wait in `_unwritten` and are written, marked late, as soon as the ledger works again.

The caller performs the effects, posts `RecordFailed` when a record is not durable, and calls again with
`TimePassed` at `next_wakeup`.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import ClassVar, Final, assert_never

from gate.core import events
from gate.core.claims import Knowledge, completed, used_code
from gate.core.codes import Circumstances, Format, Reason, Trust, judge_code
from gate.core.codes.model import CodeResult
from gate.core.codes.service import Outcome, answered, service_token
from gate.core.collecting import confirmed, measured_twice, with_measurement, with_notes, with_token_id
from gate.core.commands import Command, Name
from gate.core.day import Day
from gate.core.delivery import PreviousEpoch
from gate.core.effects import (
    AdoptPolicy,
    AskService,
    Effect,
    HoldOpen,
    LightSignal,
    Lock,
    MakeCheckpoint,
    Record,
    RenewLedger,
    RequestUpdate,
    SendAgain,
    Show,
    TakeReading,
    Unlock,
)
from gate.core.events import Result, Stage
from gate.core.evidence import (
    THERMOMETER_FAULTS,
    AttendantWord,
    Direction,
    Evidence,
    Measurement,
    Reading,
    Unmeasured,
)
from gate.core.inputs import (
    NOBODY,
    ArmTurned,
    AttendantConfirmed,
    AttendantNoted,
    AttendantRefused,
    CodesRead,
    CommandReceived,
    Device,
    DeviceFailed,
    DeviceRecovered,
    DocumentReceived,
    FireAlarmChanged,
    InboxOverflowed,
    Input,
    LedgerOpened,
    LedgerRenewed,
    MaskSeen,
    PersonArrived,
    PersonLeft,
    PolicyReceived,
    PolicyRejected,
    ReadingTaken,
    ReceiptDisagreed,
    ReceiptWentBack,
    RecordFailed,
    SensorChecked,
    ServiceAnswered,
    Started,
    Stopped,
    TimePassed,
    UpdateReported,
)
from gate.core.mode import SERVES, Conditions, Mode, mode_of
from gate.core.moment import NS_PER_S, Moment
from gate.core.orders import Order, Orders
from gate.core.policy import Decision, Policy, Verdict, policy_hash
from gate.core.prospects import awaits_code, may_improve, to_be_cured
from gate.core.rounds import Rounds
from gate.core.rules import decide
from gate.core.screens import curing_screen, idle_screen, referral_screen, refusal_screen
from gate.core.session import JUDGED_STATES, OPEN_STATES, Asked, Happening, State, Visit, advance
from gate.core.telling import record_again, record_decision, record_end
from gate.core.texts import Key
from gate.core.turns import Turns
from gate.core.unwritten import Unwritten, undone_by
from gate.core.uses import Uses

# The thermometer is asked this often before "could not be measured" is believed.
MEASURE_TRIES_MAX: Final = 3
LEDGER_RETRY_NS: Final = 10 * NS_PER_S
# How many different codes are looked at for one visitor: each costs a signature.
CODES_MAX: Final = 20
# What a verify service says wrongly is recorded once for each kind, and no more than this in all.
PROBLEMS_TOLD_MAX: Final = 20

# What is answered before anybody looks at the clock: nothing may come before the doors in a fire.
UNDELAYED: Final = (FireAlarmChanged, RecordFailed, Stopped)


class GateActor:
    """One gate. `run` names this run of the service and makes its visit names unique.

    `services` are the regions whose tokens a verify service can be asked about. `centre_keys` (32 bytes each)
    sign the commands for this gate: without one, nobody commands it.
    """

    def __init__(
        self,
        policy: Policy,
        trust: Trust,
        site: str,
        run: str,
        direction: Direction = Direction.IN,
        services: frozenset[str] = frozenset(),
        gate: str = "",
        centre_keys: tuple[bytes, ...] = (),
    ) -> None:
        self._policy = policy
        self._policy_hash = policy_hash(policy)
        self._day = Day(policy, trust, site)
        self._site = site
        self._run = run
        self._direction = direction
        self._services = services
        self._orders = Orders(site, gate, centre_keys, self._hindrance, self._name_visit)
        self._next_policy: PolicyReceived | None = None
        self._uses = Uses()
        self._rounds = Rounds()
        self._problems_told: set[str] = set()
        self._conditions = Conditions()
        self._mode = Mode.SERVING
        self._visit: Visit | None = None
        self._visits = 0
        self._next_waits = False
        self._present: bool | None = None  # unknown until a presence sensor has spoken
        self._turns = Turns()
        self._asked: tuple[Effect, ...] = ()
        # Nobody is kept inside because a disk is full.
        self._serves_on = policy.on_ledger_failure == "open" or direction is Direction.OUT
        self._unwritten = Unwritten(serves_on=self._serves_on)
        self._retry_ns: int | None = None
        self._renewal: str | None = None  # why the ledger is to begin a new epoch, until it has
        self._renew_ns: int | None = None
        self._evacuated = 0

    @property
    def mode(self) -> Mode:
        """What the gate as a whole is doing."""
        return self._mode

    @property
    def policy(self) -> Policy:
        """The plan that is followed."""
        return self._policy

    @property
    def visit(self) -> Visit | None:
        """The visit that is under way; for display and tests, not to be changed."""
        return self._visit

    @property
    def failed_devices(self) -> frozenset[Device]:
        """The parts that are known not to work."""
        return frozenset(self._conditions.failed)

    @property
    def stale_documents(self) -> frozenset[str]:
        """The kinds of documents that have come and are out of their time."""
        return frozenset(map(str, self._day.stale))

    @property
    def unwritten(self) -> int:
        """How many events wait for the ledger to work again."""
        return len(self._unwritten)

    def handle(self, happened: Input, now: Moment) -> list[Effect]:
        """Take in what happened at `now` and return what to do, in order."""
        noticed = () if isinstance(happened, UNDELAYED) else self._notice_time(now)
        answer = self._HANDLERS[type(happened)](self, happened, now)
        # The start is the first record of a run.
        self._asked = (*answer, *noticed) if isinstance(happened, Started) else (*noticed, *answer)
        return list(self._asked)

    def next_wakeup(self) -> int | None:
        """Return the monotonic instant (ns) at which `TimePassed` is due, or None."""
        visit = self._visit
        due_ns = (self._retry_ns, self._renew_ns, self._day.next_look_ns, self._orders.due_ns)
        instants = [ns for ns in due_ns if ns is not None]
        if visit is None and self._next_policy is not None:
            instants.append(0)
        if visit is not None and visit.left_ns is not None:
            instants.append(visit.left_ns + self._policy.timing.leave_grace_s * NS_PER_S)
        elif visit is not None:
            instants.append(visit.deadline_ns)
        return min(instants, default=None)

    # --- the service itself

    def _started(self, happened: Started, _now: Moment) -> Iterator[Effect]:
        self._uses = Uses(happened.uses)
        self._orders.opened(happened.epoch, happened.word)
        yield from self._begin_epoch(happened.new_epoch)
        yield Record(events.gate_started(happened.version, self._run, self._policy.name, self._policy_hash))
        for visit in happened.open_visits:
            yield Record(events.visit_closed(visit, Result.INTERRUPTED, None))
        yield self._idle()

    def _stopped(self, _happened: Stopped, now: Moment) -> Iterator[Effect]:
        if not self._conditions.fire:
            yield Lock()
        while self._unwritten:  # the last chance to write them
            yield self._late(self._unwritten.next())
        yield from self._break_off(now)
        yield Record(events.gate_stopped())
        yield self._idle() if self._conditions.fire else Show(Key.CLOSED, LightSignal.OFF)

    def _inbox_overflowed(self, happened: InboxOverflowed, now: Moment) -> Iterator[Effect]:
        yield Record(events.anomaly("inbox_overflowed", f"{happened.lost} inputs lost"))
        yield from self._lose_sight(now)

    def _lose_sight(self, now: Moment) -> Iterator[Effect]:
        """End a visit on which nothing is decided: nothing tells whether it is still the same person."""
        if self._visit is not None and self._visit.state in JUDGED_STATES:
            yield from self._break_off(now)
            yield self._idle()

    def _device_failed(self, happened: DeviceFailed, now: Moment) -> Iterator[Effect]:
        if happened.device in self._conditions.failed:
            return
        self._conditions.failed.add(happened.device)
        yield Record(events.device_failed(happened.device, happened.problem))
        visit = self._visit
        if happened.device is Device.TURNSTILE and visit is not None and visit.state is not State.AUTHORISED:
            yield from self._end(visit, Result.INTERRUPTED, now)  # nobody is admitted to a locked arm
        if happened.device is Device.PRESENCE:
            yield from self._lose_sight(now)
        yield from self._settle_mode()

    def _device_recovered(self, happened: DeviceRecovered, _now: Moment) -> Iterator[Effect]:
        if happened.device not in self._conditions.failed:
            return
        self._conditions.failed.discard(happened.device)
        yield Record(events.device_recovered(happened.device))
        yield from self._settle_mode()

    def _sensor_checked(self, happened: SensorChecked, _now: Moment) -> Iterator[Effect]:
        yield Record(events.device_checked(happened.device, dict(happened.facts)))

    def _fire_alarm_changed(self, happened: FireAlarmChanged, now: Moment) -> Iterator[Effect]:
        if happened.active == self._conditions.fire:
            return
        self._conditions.fire = happened.active
        yield HoldOpen() if happened.active else Lock()
        if happened.active:
            self._evacuated = 0
            yield self._idle(Mode.EVACUATING)
            yield from self._break_off(now)
        yield Record(events.fire_alarm(active=happened.active, passages=self._evacuated))
        yield from self._settle_mode()

    def _settle_mode(self) -> Iterator[Effect]:
        mode, previous = mode_of(self._conditions), self._mode
        if mode is previous:
            return
        self._mode = mode
        yield Record(events.gate_mode(mode, previous))
        if self._visit is None:
            yield self._idle()

    def _idle(self, mode: Mode | None = None) -> Show:
        return idle_screen(mode or self._mode)

    # --- the day: opening hours and documents

    def _notice_time(self, now: Moment) -> Iterator[Effect]:
        order = self._orders.due()
        if order is not None:
            yield from self._obey(order, now)
        yield from self._orders.left_out(now)
        if self._visit is None:
            yield from self._adopt_policy(now)
        yield from self._day.look(now)
        yield from self._follow_day()

    def _document_received(self, happened: DocumentReceived, now: Moment) -> Iterator[Effect]:
        yield from self._day.receive(happened.text, now)
        yield from self._follow_day()

    def _follow_day(self) -> Iterator[Effect]:
        day = self._day
        self._conditions.closed, self._conditions.stale = day.closed, day.stale
        self._conditions.suspended = day.suspended or self._orders.suspended
        yield from self._settle_mode()

    def _at(self, now: Moment) -> Circumstances:
        return Circumstances(self._site, now.wall_ms, now.clock_trusted)

    # --- the centre

    def _command_received(self, happened: CommandReceived, now: Moment) -> Iterator[Effect]:
        yield from self._orders.hear(happened, now)

    def _hindrance(self, command: Command) -> str:
        """Say in a word why a command cannot be obeyed as things stand."""
        if command.name is Name.DOCUMENT:
            return self._day.objection(str(command.args["text"]).encode())
        if command.name is not Name.OPEN_ONCE:
            return ""
        if self._mode not in SERVES:
            return str(self._mode)
        return "busy" if self._visit is not None and self._visit.state is State.AUTHORISED else ""

    def _obey(self, order: Order, now: Moment) -> Iterator[Effect]:
        """Do what is on record; a suspension is in force by its word."""
        args = order.command.args
        match order.command.name:
            case Name.SUSPEND | Name.RESUME:
                yield from self._follow_day()
            case Name.OPEN_ONCE:
                yield from self._open_once(order, now)
            case Name.DOCUMENT:
                yield from self._document_received(DocumentReceived(str(args["text"]).encode()), now)
            case Name.POLICY:
                yield AdoptPolicy(str(args["text"]), order.command.id)
            case Name.RESEND:
                yield SendAgain(int(args["after"]))
            case Name.CHECKPOINT:
                yield MakeCheckpoint()
            case Name.UPDATE:
                yield RequestUpdate(str(args["version"]), order.command.id)
            case _:
                assert_never(order.command.name)

    def _open_once(self, order: Order, now: Moment) -> Iterator[Effect]:
        """Let one person pass on the centre's word; whatever was known of a visitor counts no more."""
        if self._mode not in SERVES:  # a fire has come between
            return
        yield from self._break_off(now)
        self._visit = visit = self._new_visit(order.visit, now)
        visit.recorded, visit.told = True, order.record
        self._move(visit, Happening.ADMITTED, now, self._policy.timing.pass_s)
        yield Unlock(self._policy.timing.unlock_ms)
        yield Show(Key.OPENED_BY_CENTRE, LightSignal.GO)

    def _policy_received(self, happened: PolicyReceived, now: Moment) -> Iterator[Effect]:
        self._next_policy = happened
        if self._visit is None:
            yield from self._adopt_policy(now)

    def _policy_rejected(self, happened: PolicyRejected, _now: Moment) -> Iterator[Effect]:
        yield Record(events.anomaly("policy_rejected", f"{happened.command_id}: {happened.problem}"))

    def _update_reported(self, happened: UpdateReported, _now: Moment) -> Iterator[Effect]:
        yield Record(events.update(happened.result))

    def _adopt_policy(self, now: Moment) -> Iterator[Effect]:
        """Follow the policy that the centre has sent; never asked for in the middle of a visit."""
        if self._next_policy is None:
            return
        received, self._next_policy = self._next_policy, None
        self._policy, self._policy_hash = received.policy, policy_hash(received.policy)
        self._serves_on = received.policy.on_ledger_failure == "open" or self._direction is Direction.OUT
        self._unwritten.serves_on = self._serves_on
        self._day.follow(received.policy)
        yield Record(events.policy_adopted(self._policy.name, self._policy_hash, received.command_id))
        yield from self._day.look(now)
        yield from self._follow_day()

    def _receipt_went_back(self, happened: ReceiptWentBack, _now: Moment) -> Iterator[Effect]:
        detail = f"from record {happened.had} to record {happened.now}"
        yield Record(events.anomaly("receipt_went_back", detail))

    def _receipt_disagreed(self, happened: ReceiptDisagreed, now: Moment) -> Iterator[Effect]:
        if self._renewal is None:
            detail = f"record {happened.upto}: {happened.reason}"
            yield Record(events.anomaly("receipt_disagreed", detail))
        self._renewal = happened.reason
        yield self._renew(self._renewal, now)

    def _renew(self, reason: str, now: Moment) -> RenewLedger:
        self._renew_ns = now.mono_ns + LEDGER_RETRY_NS
        return RenewLedger(reason)

    def _ledger_renewed(self, happened: LedgerRenewed, _now: Moment) -> Iterator[Effect]:
        self._renewal = self._renew_ns = None
        self._orders.renewed(happened.epoch)
        yield from self._begin_epoch(happened.previous)
        if self._visit is not None and (again := record_again(self._visit)) is not None:
            yield again

    def _begin_epoch(self, previous: PreviousEpoch | None) -> Iterator[Record]:
        if previous is not None:
            yield Record(events.epoch_started(previous), word=self._orders.word)

    # --- the ledger fails and recovers

    def _record_failed(self, happened: RecordFailed, now: Moment) -> Iterator[Effect]:
        self._retry_ns = now.mono_ns + LEDGER_RETRY_NS
        self._conditions.ledger_failed = True
        undone = self._orders.not_recorded(undone_by(happened.event, self._asked))
        self._unwritten.keep(effect for effect in undone if isinstance(effect, Record))
        if self._serves_on:
            yield from (effect for effect in undone if not isinstance(effect, Record | RenewLedger))
        else:
            yield from self._give_up(now)
        self._note_fault()
        if self._visit is None:
            yield self._idle()

    def _give_up(self, now: Moment) -> Iterator[Effect]:
        if not self._conditions.fire:
            yield Lock()
        for record in self._break_off(now):
            self._unwritten.hold(record)

    def _note_fault(self) -> None:
        mode, previous = mode_of(self._conditions), self._mode
        if mode is not previous:
            self._mode = mode
            self._unwritten.hold(Record(events.gate_mode(mode, previous)))

    def _write_late(self) -> Iterator[Effect]:
        """Write one event; the next wake-up is at once, for one more or, behind the last, to recover."""
        if self._unwritten:
            yield self._late(self._unwritten.next())
            return
        self._retry_ns = None
        self._conditions.ledger_failed = False
        if lost := self._unwritten.lost():
            yield Record(lost)
        yield from self._settle_mode()

    def _late(self, record: Record) -> Record:
        """What is known of a pass and of the centre's word by now, not then: it may be written before."""
        return replace(
            record,
            use=record.use and self._uses.latest(record.use),
            word=record.word and self._orders.word,
        )

    def _ledger_opened(self, happened: LedgerOpened, _now: Moment) -> Iterator[Effect]:
        self._uses.learn(happened.uses)
        self._orders.opened(happened.epoch, happened.word)
        yield from self._begin_epoch(happened.new_epoch)
        for visit in happened.open_visits:
            yield Record(events.visit_closed(visit, Result.INTERRUPTED, None))
        yield from self._follow_day()

    # --- a visit begins and ends

    def _person_arrived(self, _happened: PersonArrived, now: Moment) -> Iterator[Effect]:
        self._present = True
        visit = self._visit
        if visit is not None and visit.left_ns is not None:
            # Nothing tells whether the same person has come back, and evidence is for one person only.
            yield from self._end(visit, Result.LEFT, now)
        elif visit is not None:
            self._next_waits = visit.state is State.AUTHORISED  # whoever is authorised has left the spot
        if self._visit is None:
            yield from self._begin(now)

    def _person_left(self, _happened: PersonLeft, now: Moment) -> Iterator[Effect]:
        self._present = False
        self._next_waits = False
        # Who is authorised leaves by walking through.
        if self._visit is not None and self._visit.state is not State.AUTHORISED:
            self._visit.left_ns = now.mono_ns
        yield from ()

    def _serves(self) -> bool:
        if self._mode in SERVES:
            return True
        spare = self._conditions.ledger_failed and self._serves_on
        return self._mode is Mode.FAULT and spare and Device.TURNSTILE not in self._conditions.failed

    def _begin(self, now: Moment) -> Iterator[Effect]:
        yield from self._adopt_policy(now)
        if not self._serves():
            return
        self._visit = visit = self._new_visit(self._name_visit(), now)
        decision = self._decide(visit, now)
        if decision.verdict is Verdict.ADMIT and self._present and not self._measures_who_leaves():
            yield from self._authorise(visit, decision, now)  # nothing is asked of who leaves
            return
        yield Show(Key.WELCOME, LightSignal.WAIT)
        yield self._measure(visit)

    def _name_visit(self) -> str:
        self._visits += 1
        return f"{self._run}-{self._visits:06d}"

    def _new_visit(self, name: str, now: Moment) -> Visit:
        return Visit(
            name=name,
            began_ns=now.mono_ns,
            deadline_ns=now.mono_ns + self._policy.timing.collect_s * NS_PER_S,
            state=advance(State.IDLE, Happening.BEGAN),
            judged=Evidence(direction=self._direction),
        )

    def _measures_who_leaves(self) -> bool:
        """Staff are to show their pass and be measured (CO-1); whoever is not staff goes after a reading."""
        staff = self._policy.staff
        return staff is not None and self._direction in staff.directions

    def _measure(self, visit: Visit) -> TakeReading:
        visit.measuring = True
        visit.tries += 1
        return TakeReading(visit.name)

    def _move(self, visit: Visit, happening: Happening, now: Moment, limit_s: int) -> None:
        visit.state = advance(visit.state, happening)
        visit.deadline_ns = now.mono_ns + limit_s * NS_PER_S

    def _forget(self, visit: Visit, now: Moment) -> None:
        self._turns.had((visit.payload, visit.held_up), now.mono_ns)
        self._visit = None

    def _end(self, visit: Visit, result: Result, now: Moment) -> Iterator[Record]:
        """End the visit from any state; whoever showed or measured anything leaves a record."""
        if not visit.recorded and visit.worth_telling:
            decision = self._decide(visit, now)
            stage = Stage.REFUSED if decision.verdict is Verdict.REFUSE else Stage.UNDECIDED
            yield record_decision(visit, stage, decision, now)
        if visit.recorded and not visit.closed:
            yield self._close(visit, result, now)
        self._forget(visit, now)

    def _close(self, visit: Visit, result: Result, now: Moment) -> Record:
        returned = None
        if result is Result.PASSED:
            self._rounds.passed(visit, now)
        elif visit.use is not None:
            returned = self._uses.take_back(visit.use)
        return record_end(visit, result, now, returned)

    def _break_off(self, now: Moment) -> Iterator[Record]:
        if self._visit is not None:
            yield from self._end(self._visit, Result.INTERRUPTED, now)

    # --- evidence comes in

    def _codes_read(self, happened: CodesRead, now: Moment) -> Iterator[Effect]:
        payloads = happened.payloads
        if self._turns.over(payloads, now.mono_ns, nobody=self._is_absent()):
            return
        if self._visit is None:
            yield from self._begin(now)
        visit = self._visit
        if visit is None or visit.state not in OPEN_STATES:
            if visit is not None and visit.state is not State.AUTHORISED:
                visit.held_up = payloads[0]  # it is this visitor's, and not the next one's
            return
        if len(payloads) > 1:
            yield from self._several_codes(visit)
        elif payloads == (visit.payload,):
            visit.code_ns = now.mono_ns
            visit.evidence = replace(visit.evidence, several_codes=False)
            yield from self._judge(visit, now)
        else:
            code = self._judge_code(visit, payloads[0], happened, now)
            yield from self._take_code(visit, payloads[0], code, now)

    def _judge_code(self, visit: Visit, payload: bytes, happened: CodesRead, now: Moment) -> CodeResult:
        if payload not in visit.codes and len(visit.codes) >= CODES_MAX:
            return CodeResult(Format.UNKNOWN, Reason.RATE_LIMITED)
        visit.codes.add(payload)
        code = judge_code(payload, fragment=happened.fragment, trust=self._day.trust, at=self._at(now))
        asked = visit.answers.get(payload)
        return replace(code, appearance=happened.appearance) if asked is None else asked.code

    def _several_codes(self, visit: Visit) -> Iterator[Effect]:
        if not visit.evidence.several_codes:
            visit.evidence = replace(visit.evidence, several_codes=True)
            yield Show(Key.ONE_CODE_ONLY, LightSignal.WAIT)

    def _take_code(self, visit: Visit, payload: bytes, code: CodeResult, now: Moment) -> Iterator[Effect]:
        held = visit.evidence.code
        if held is not None and held.verified:
            same = code.subject_ref == held.subject_ref
            if code.verified and not same:
                yield from self._several_codes(visit)
            if not code.abnormal and not (code.verified and same and code.step is not None):
                return
        visit.payload, visit.code_ns = payload, now.mono_ns
        self._turns.judged(payload)
        visit.evidence = replace(visit.evidence, code=code, several_codes=False)
        yield from self._ask_service(visit, payload, code)
        yield from self._judge(visit, now)

    def _ask_service(self, visit: Visit, payload: bytes, code: CodeResult) -> Iterator[Effect]:
        token = service_token(payload, code)
        if token is not None and code.region in self._services and payload not in visit.answers:
            visit.answers[payload] = Asked(code)
            yield AskService(visit.name, token, code.region)
            yield Show(Key.CHECKING_CODE, LightSignal.WAIT)

    def _service_answered(self, happened: ServiceAnswered, now: Moment) -> Iterator[Effect]:
        for problem in happened.answer.problems:
            if problem not in self._problems_told and len(self._problems_told) < PROBLEMS_TOLD_MAX:
                self._problems_told.add(problem)
                yield Record(events.anomaly("health_service", problem))
        yield from self._service_health(happened.answer.outcome, now)
        visit = self._visit
        if visit is None or visit.name != happened.visit:
            return
        asked = visit.answers.pop(happened.payload, None)
        if asked is None or not (visit.state in JUDGED_STATES or visit.state is State.AUTHORISED):
            return
        code = with_token_id(answered(asked.code, happened.answer), happened.payload)
        visit.answers[happened.payload] = replace(asked, code=code, answered=True)
        if code.abnormal:
            # It counts, whatever else is held up by now, and also when somebody has just been let in.
            visit.payload = happened.payload
        if visit.payload == happened.payload:
            visit.code_ns = now.mono_ns
            visit.evidence = replace(visit.evidence, code=code)
        yield from self._judge_answer(visit, code, now)

    def _judge_answer(self, visit: Visit, code: CodeResult, now: Moment) -> Iterator[Effect]:
        if visit.state in OPEN_STATES:
            yield from self._judge(visit, now)
        elif code.abnormal and self._direction is Direction.IN:
            decision = self._decide(visit, now)
            if visit.state is State.AUTHORISED:
                yield Record(events.anomaly("called_back", f"{visit.name}: {code.reason}"))
                yield from self._not_passed(visit, now, Key.REFUSED_STATUS)
            else:
                yield from self._refuse(visit, decision, now)

    def _service_health(self, outcome: Outcome, now: Moment) -> Iterator[Effect]:
        if outcome in {Outcome.TIMEOUT, Outcome.UNREACHABLE, Outcome.ERROR}:
            yield from self._device_failed(DeviceFailed(Device.HEALTH_SERVICE, str(outcome)), now)
        else:
            yield from self._device_recovered(DeviceRecovered(Device.HEALTH_SERVICE), now)

    def _reading_taken(self, happened: ReadingTaken, now: Moment) -> Iterator[Effect]:
        visit = self._visit
        if visit is None or visit.name != happened.visit or not visit.measuring:
            return
        visit.measuring = False
        if visit.state not in OPEN_STATES:
            return
        measurement = happened.measurement
        if isinstance(measurement, Unmeasured) and visit.tries < MEASURE_TRIES_MAX:
            yield self._measure(visit)
            return
        yield from self._take_measurement(visit, measurement, now)

    def _take_measurement(self, visit: Visit, measurement: Measurement, now: Moment) -> Iterator[Effect]:
        visit.measuring = False
        visit.measured_ns = now.mono_ns
        visit.evidence = with_measurement(visit.evidence, measurement, visit.state)
        yield from self._thermometer_health(measurement, now)
        yield from self._judge(visit, now)

    def _thermometer_health(self, measurement: Measurement, now: Moment) -> Iterator[Effect]:
        if isinstance(measurement, Reading):
            yield from self._device_recovered(DeviceRecovered(Device.THERMOMETER), now)
        elif measurement.reason in THERMOMETER_FAULTS:
            yield from self._device_failed(DeviceFailed(Device.THERMOMETER, measurement.reason), now)

    def _mask_seen(self, happened: MaskSeen, now: Moment) -> Iterator[Effect]:
        visit = self._visit
        if visit is None or not self._is_meant(happened.visit):
            return
        if visit.state in JUDGED_STATES:
            visit.evidence = replace(visit.evidence, mask=happened.mask)
        if visit.state in OPEN_STATES:
            yield from self._judge(visit, now)

    # --- the person on duty

    def _is_meant(self, visit: str | None) -> bool:
        """Say whether a word is for whoever stands here now; None: said without looking at a name."""
        return visit is None or visit == (NOBODY if self._visit is None else self._visit.name)

    def _is_absent(self) -> bool:
        return self._present is False and Device.PRESENCE not in self._conditions.failed

    def _attendant_noted(self, happened: AttendantNoted, now: Moment) -> Iterator[Effect]:
        if not self._is_meant(happened.visit) or (self._visit is None and self._is_absent()):
            return
        if self._visit is None:
            yield from self._begin(now)
        visit = self._visit
        if visit is None or visit.state not in JUDGED_STATES:
            return
        visit.evidence = with_notes(visit.evidence, happened)
        visit.sealed = happened.sealed or visit.sealed
        if visit.state in OPEN_STATES:
            yield from self._judge(visit, now)
            return
        decision = self._decide(visit, now)
        if decision.verdict is Verdict.ADMIT:
            yield from self._authorise(visit, decision, now)
        elif decision.verdict is Verdict.REFUSE and not decision.curable:
            yield from self._refuse(visit, decision, now)

    def _attendant_confirmed(self, happened: AttendantConfirmed, now: Moment) -> Iterator[Effect]:
        visit = self._visit
        if not self._is_meant(happened.visit) or (visit is None and self._is_absent()):
            return
        if visit is None:
            # Where nothing tells that somebody has come, the button says so; it does not vouch for anybody.
            yield from self._begin(now)
        elif visit.state in OPEN_STATES:
            visit.evidence = confirmed(visit.evidence)
            yield from self._judge(visit, now)
        elif visit.state is State.WITH_STAFF:
            visit.evidence = confirmed(visit.evidence)
            decision = self._decide(visit, now)
            admitted = decision.verdict is Verdict.ADMIT
            yield from (self._authorise if admitted else self._refuse)(visit, decision, now)

    def _attendant_refused(self, happened: AttendantRefused, now: Moment) -> Iterator[Effect]:
        visit = self._visit
        if visit is None or visit.state is State.FAREWELL or not self._is_meant(happened.visit):
            return
        if visit.state is State.AUTHORISED:
            yield from self._not_passed(visit, now, Key.REFUSED_BY_ATTENDANT)
            return
        visit.evidence = replace(visit.evidence, attendant=AttendantWord.REFUSED)
        yield from self._refuse(visit, self._decide(visit, now), now)

    # --- judging

    def _decide(self, visit: Visit, now: Moment) -> Decision:
        collected = replace(visit.evidence, suspended=self._day.suspended or self._orders.suspended)
        visit.judged = completed(collected, self._known(), self._at(now))
        return decide(self._policy, self._policy_hash, visit.judged)

    def _known(self) -> Knowledge:
        return Knowledge(
            direction=self._direction,
            by_appointment=self._policy.appointment is not None,
            by_household=self._policy.household_pass is not None,
            passback_s=self._policy.timing.passback_s,
            uses=self._uses,
            documents=self._day.documents,
            revoked=self._day.trust.revoked,
            stale=self._day.stale,
            measured_s=self._rounds.measured_s,
        )

    def _judge(self, visit: Visit, now: Moment, *, final: bool = False) -> Iterator[Effect]:
        """Decide on what is known now; `final` when waiting longer is not allowed."""
        yield from self._drop_stale(visit, now)
        final = final and now.mono_ns >= visit.deadline_ns
        decision = self._decide(visit, now)
        awaited = not final and awaits_code(decision, visit)
        if decision.verdict is Verdict.ADMIT:
            if final or not visit.asking:  # nobody vouches for a code that may be red the next moment
                yield from self._authorise(visit, decision, now)
        elif decision.verdict is Verdict.REFUSE and not (decision.curable or awaited):
            yield from self._refuse(visit, decision, now)
        elif decision.retest_wanted:
            yield from self._retest(visit, decision, now)
        elif awaited:
            meanwhile = to_be_cured(decision)
            if meanwhile.findings:
                yield from self._cure(visit, meanwhile, now)
        elif decision.curable and not final:
            yield from self._cure(visit, decision, now)
        elif decision.curable:
            yield from self._refuse(visit, decision, now)
        elif final or not may_improve(decision):
            yield from self._refer(visit, decision, now)

    def _drop_stale(self, visit: Visit, now: Moment) -> Iterator[Effect]:
        """Forget what is too old to admit anybody on; what speaks against the visitor is kept."""
        oldest_ns = now.mono_ns - self._policy.timing.evidence_age_max_s * NS_PER_S
        evidence = visit.evidence
        if evidence.code is not None and evidence.code.verified and (visit.code_ns or 0) < oldest_ns:
            visit.evidence = replace(evidence, code=None)
            visit.payload = None
        if evidence.measurements and (visit.measured_ns or 0) < oldest_ns and self._looks_normal(evidence):
            visit.evidence = replace(visit.evidence, measurements=())
            visit.tries = 0
            fresh_ns = now.mono_ns + self._policy.timing.collect_s * NS_PER_S
            visit.deadline_ns = max(visit.deadline_ns, fresh_ns)  # the new measurement is waited for
            yield self._measure(visit)

    def _looks_normal(self, evidence: Evidence) -> bool:
        last = evidence.measurements[-1]
        return isinstance(last, Reading) and self._policy.temperature.is_normal(last.high_cc)

    def _retest(self, visit: Visit, decision: Decision, now: Moment) -> Iterator[Effect]:
        if visit.state is State.RETESTING:
            return
        visit.steps += (decision,)
        visit.tries = 0
        self._move(visit, Happening.RETEST_WANTED, now, self._policy.timing.retest_wait_s)
        wait = (("wait_s", str(self._policy.timing.retest_wait_s)),)
        yield Show(Key.PLEASE_WAIT_RETEST, LightSignal.WAIT, wait)

    def _cure(self, visit: Visit, decision: Decision, now: Moment) -> Iterator[Effect]:
        if visit.state is State.CURING:
            return
        visit.steps += (decision,)
        self._move(visit, Happening.CURE_WANTED, now, self._policy.timing.cure_s)
        yield curing_screen(decision)

    def _authorise(self, visit: Visit, decision: Decision, now: Moment) -> Iterator[Effect]:
        if visit.left_ns is not None:  # who has stepped away would leave the open arm to somebody else
            return
        self._move(visit, Happening.ADMITTED, now, self._policy.timing.pass_s)
        if visit.evidence.code is not None:
            used = used_code(visit.evidence.code, self._known(), self._at(now))
            visit.use = self._uses.add(used, self._direction, now.wall_ms)
        yield record_decision(visit, Stage.AUTHORISED, decision, now, visit.use)
        yield Unlock(self._policy.timing.unlock_ms)
        yield Show(Key.PASS_PLEASE, LightSignal.GO)

    def _refer(self, visit: Visit, decision: Decision, now: Moment) -> Iterator[Effect]:
        self._move(visit, Happening.REFERRED, now, self._policy.timing.staff_s)
        yield record_decision(visit, Stage.REFERRED, decision, now)
        yield referral_screen(decision)

    def _refuse(self, visit: Visit, decision: Decision, now: Moment) -> Iterator[Effect]:
        self._move(visit, Happening.REFUSED, now, self._policy.timing.farewell_s)
        yield record_decision(visit, Stage.REFUSED, decision, now)
        yield refusal_screen(decision)

    # --- passing, leaving, deadlines

    def _arm_turned(self, _happened: ArmTurned, now: Moment) -> Iterator[Effect]:
        visit = self._visit
        if self._mode is Mode.EVACUATING:
            self._evacuated += 1
        elif visit is None:
            yield Record(events.passage_forced())
            yield Show(Key.FORCED, LightSignal.STOP)
        elif visit.state is State.AUTHORISED:
            advance(visit.state, Happening.PASSED)
            yield from self._end(visit, Result.PASSED, now)
            yield Lock()
            yield from self._next(now)
        else:
            yield from self._forced(visit, now)

    def _forced(self, visit: Visit, now: Moment) -> Iterator[Effect]:
        if visit.closed or not visit.recorded:
            yield Record(events.passage_forced(visit.name))
        yield from self._end(visit, Result.FORCED, now)
        yield Show(Key.FORCED, LightSignal.STOP)

    def _next(self, now: Moment) -> Iterator[Effect]:
        if self._next_waits and self._serves():
            yield from self._begin(now)
        else:
            yield self._idle()
        self._next_waits = False

    def _not_passed(self, visit: Visit, now: Moment, key: Key) -> Iterator[Effect]:
        self._move(visit, Happening.NOT_PASSED, now, self._policy.timing.farewell_s)
        yield Lock()
        yield self._close(visit, Result.NOT_PASSED, now)
        yield Show(key, LightSignal.STOP)

    def _time_passed(self, _happened: TimePassed, now: Moment) -> Iterator[Effect]:
        if self._visit is not None:
            yield from self._visit_time_passed(self._visit, now)
        # Last, so that nothing of a visit is left undone when the ledger still fails.
        if self._retry_ns is not None and now.mono_ns >= self._retry_ns:
            yield from self._write_late()
        if self._renewal is not None and self._renew_ns is not None and now.mono_ns >= self._renew_ns:
            yield self._renew(self._renewal, now)

    def _visit_time_passed(self, visit: Visit, now: Moment) -> Iterator[Effect]:
        grace_ns = self._policy.timing.leave_grace_s * NS_PER_S
        if visit.left_ns is not None and now.mono_ns >= visit.left_ns + grace_ns:
            yield from self._end(visit, Result.LEFT, now)
            yield self._idle()
        elif visit.left_ns is None and now.mono_ns >= visit.deadline_ns:
            yield from self._deadline(visit, now)

    def _deadline(self, visit: Visit, now: Moment) -> Iterator[Effect]:
        match visit.state:
            case State.RETESTING if not (visit.measuring or measured_twice(visit.evidence)):
                visit.deadline_ns = now.mono_ns + self._policy.timing.collect_s * NS_PER_S
                yield Show(Key.MEASURING_AGAIN, LightSignal.WAIT)
                yield self._measure(visit)
            case State.COLLECTING | State.RETESTING | State.CURING:
                yield from self._final_judgement(visit, now)
            case State.AUTHORISED:
                yield from self._not_passed(visit, now, Key.NOT_PASSED)
            case _:
                yield from self._end(visit, Result.LEFT, now)
                yield self._idle()

    def _final_judgement(self, visit: Visit, now: Moment) -> Iterator[Effect]:
        if visit.measuring:
            yield from self._take_measurement(visit, Unmeasured("no_answer"), now)
        if self._visit is visit and visit.state in OPEN_STATES and now.mono_ns >= visit.deadline_ns:
            yield from self._judge(visit, now, final=True)

    _HANDLERS: ClassVar[dict[type[Input], Callable[..., Iterator[Effect]]]] = {
        Started: _started,
        Stopped: _stopped,
        PersonArrived: _person_arrived,
        PersonLeft: _person_left,
        CodesRead: _codes_read,
        ReadingTaken: _reading_taken,
        MaskSeen: _mask_seen,
        ServiceAnswered: _service_answered,
        LedgerOpened: _ledger_opened,
        LedgerRenewed: _ledger_renewed,
        CommandReceived: _command_received,
        PolicyReceived: _policy_received,
        PolicyRejected: _policy_rejected,
        UpdateReported: _update_reported,
        ReceiptWentBack: _receipt_went_back,
        ReceiptDisagreed: _receipt_disagreed,
        DocumentReceived: _document_received,
        AttendantNoted: _attendant_noted,
        AttendantConfirmed: _attendant_confirmed,
        AttendantRefused: _attendant_refused,
        ArmTurned: _arm_turned,
        FireAlarmChanged: _fire_alarm_changed,
        DeviceFailed: _device_failed,
        DeviceRecovered: _device_recovered,
        SensorChecked: _sensor_checked,
        InboxOverflowed: _inbox_overflowed,
        RecordFailed: _record_failed,
        TimePassed: _time_passed,
    }
