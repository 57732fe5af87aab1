"""Tells what the gate sees, decides and does, as it happens, in the audience's language."""

import queue
import threading
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from gate.core.codes import china, home
from gate.core.codes.model import Travel
from gate.core.codes.service import Outcome, ServiceAnswer
from gate.core.effects import AskService, Effect, HoldOpen, Record, Show, TakeReading, Unlock
from gate.core.events import Event, Kind
from gate.core.evidence import Measurement, Reading
from gate.core.inputs import (
    ArmTurned,
    AttendantConfirmed,
    AttendantNoted,
    CodesRead,
    FireAlarmChanged,
    Input,
    MaskSeen,
    ReadingTaken,
    ServiceAnswered,
)
from gate.core.moment import Moment
from gate.core.policy import STRICTNESS, Policy, Verdict
from gate.core.texts import Key, reason_text, screen
from gate.demo.words import WORDS

_STYLE: Final = {"admit": "green", "retest": "yellow", "refer": "yellow", "refuse": "red"}
_LABEL_WIDTH: Final = 8
_JUST_NOW_S: Final = 5
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
# What the person on duty has done before confirming, by what the visitor was told last.
_BY_HAND: Final = {
    Key.SERVICE_UNAVAILABLE: "confirm_identity",
    Key.SENSOR_FAULT: "confirm_temperature",
    Key.WELCOME: "confirm_identity",
}


class Narrator:
    """Prints from a thread of its own, so that telling never delays the gate."""

    def __init__(self, lang: str, console: Console, policy: Policy) -> None:
        self._lang = lang
        self._words = WORDS[lang]
        self._console = console
        self._queue: queue.Queue[tuple[str, Text] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="narrator", daemon=True)
        self._tasks = {task.rule: task.zh if lang == "zh" else task.en for task in policy.tasks}
        self._code: tuple[bytes, ...] = ()
        self._shown: Key | None = None
        self._fire = False
        self._measuring = False
        self._unmeasured = ""
        self._receipted = 0
        title = policy.title_zh if lang == "zh" else policy.title_en
        self._remark(self._words["plan"].format(title=title, name=policy.name))
        self._remark(self._words["stand_in"])

    def start(self) -> None:
        """Start telling."""
        self._thread.start()

    def stop(self) -> None:
        """Tell what is left and end."""
        self._queue.put(None)
        self._thread.join()

    def announce(self, number: int, title: str) -> None:
        """Tell who comes next."""
        self._code, self._unmeasured = (), ""
        self._head(f"{self._words['visitor'].format(n=number)} · {title}")

    def receipt(self, upto: int, of: int) -> None:
        """Tell up to which record the centre has signed, if that is more than before."""
        if upto > self._receipted:
            self._receipted = upto
            self._say("signs", self._words["receipt"].format(upto=upto, of=of), "magenta")

    def show(self, table: str) -> None:
        """Show a table as it is."""
        self._queue.put(("", Text.from_ansi(table.rstrip("\n"))))

    def close(self) -> None:
        """Tell that nobody comes any more."""
        self._head(self._words["closing"])

    def observe(self, happened: Input, effect: Effect | None, now: Moment) -> None:
        """Tell one input or one effect; called by the brain thread."""
        if effect is None:
            self._tell_input(happened, now)
        else:
            self._tell_effect(effect)

    def _tell_input(self, happened: Input, now: Moment) -> None:
        match happened:
            case CodesRead(payloads) if payloads != self._code:
                self._code = payloads
                self._say("sees", self._codes(payloads, now.wall_s))
            case ReadingTaken(_, measurement) if self._measuring:
                self._tell_measurement(measurement)
            case MaskSeen(mask):
                self._say("sees", self._words["mask"].format(mask=self._word(mask)))
            case AttendantConfirmed():
                done = _BY_HAND.get(self._shown or Key.WELCOME, "confirm")
                self._say("sees", self._words[done])
            case AttendantNoted(registered=fields) if fields:
                words = self._words["comma"].join(
                    self._word(field).replace("_", " ") for field in sorted(fields)
                )
                self._say("sees", self._words["registered"].format(fields=words))
            case ServiceAnswered(_, _, answer):
                self._say("hears", self._answer(answer, now.wall_s))
            case ArmTurned():
                self._say("sees", self._words["turned"])
            case FireAlarmChanged(active) if active != self._fire:
                self._fire = active
                self._say("sees", self._words["fire"].format(active=self._word("on" if active else "off")))
            case _:
                pass

    def _tell_effect(self, effect: Effect) -> None:
        match effect:
            case TakeReading():
                self._measuring = True
            case AskService(_, _, region):
                self._say("asks", self._words["service"].format(region=self._word(region)))
            case Record(event):
                self._tell_record(event)
            case Unlock(duration_ms):
                self._say("does", self._words["unlock"].format(ms=duration_ms), "green")
            case HoldOpen():
                self._say("does", self._words["hold"], "bold green")
            case Show(key) if key is Key.WELCOME or key is self._shown:
                self._shown = key
            case Show(key, _, facts):
                self._shown = key
                shown = screen(self._lang, key, **dict(facts))
                self._say("says", f"{shown.title} · {shown.next}", "cyan")
            case _:
                pass

    def _tell_record(self, event: Event) -> None:
        match event.kind:
            case Kind.VISIT_DECIDED:
                self._measuring = False  # what comes later changes nothing for this visitor
                self._tell_decision(event.data)
            case Kind.VISIT_CLOSED:
                self._say("writes", self._word(event.data["result"]), "dim")
            case Kind.GATE_MODE:
                mode = self._word(event.data["mode"])
                self._say("writes", self._words["mode"].format(mode=mode), "dim")
            case Kind.DEVICE_FAILED | Kind.DEVICE_RECOVERED:
                device = self._word(event.data["device"])
                self._say("writes", self._words[event.kind].format(device=device), "dim")
            case _:
                pass

    def _tell_decision(self, decided: dict[str, Any]) -> None:
        """Tell the strictest findings first, those of one rule in one line."""
        told: dict[tuple[str, str], list[str]] = {}
        for finding in sorted(decided["findings"], key=_strictness, reverse=True):
            reason = reason_text(self._lang, finding["reason"])
            told.setdefault((finding["verdict"], finding["rule"]), []).append(reason)
        for (verdict, rule), reasons in told.items():
            self._say("judges", f"{rule:6}{self._words['semicolon'].join(reasons)}", _STYLE[verdict])
        self._say("judges", self._verdict(decided), f"bold {_STYLE[decided['verdict']]}")
        for rule in decided.get("tasks", ()):
            self._say("orders", f"{rule:6}{self._tasks[rule]}", _STYLE[decided["verdict"]])
        stage = self._word(decided["stage"])
        if decided["stage"] == "authorised":
            stage = self._words["durably"].format(stage=stage, durable=self._words["durable"])
        self._say("writes", stage, "dim")

    def _verdict(self, decided: dict[str, Any]) -> str:
        who = decided["evidence"].get("person", "")
        words = [self._word(decided["verdict"]), self._word(decided["disposition"]), self._word(who)]
        verdict = self._words["comma"].join(word for word in words if word)
        return self._words["verdict"].format(verdict=verdict, seconds=decided["duration_ms"] / 1000)

    def _codes(self, payloads: tuple[bytes, ...], now_s: int) -> str:
        payload, number = payloads[0], len(payloads[0])
        if len(payloads) > 1:
            return self._words["codes"].format(n=len(payloads))
        token = china.recognise(payload)
        if token is not None and token.issued_at is not None:
            age, region = self._span(now_s - token.issued_at), self._word(token.region)
            return self._words["token"].format(region=region, age=age)
        return self._words["pass" if payload.startswith(home.PREFIX) else "code"].format(n=number)

    def _answer(self, answer: ServiceAnswer, now_s: int) -> str:
        if answer.outcome is not Outcome.ANSWERED:
            return self._word(answer.outcome)
        words = [self._word(answer.status)]
        if answer.travel is Travel.RISK_AREA:
            words.append(self._words["risk_area"])
        if answer.test is not None:
            result = "test_negative" if answer.test.negative else "test_positive"
            words.append(self._words[result].format(age=self._span(now_s - int(answer.test.taken_s))))
        return self._words["answered"].format(said=self._words["comma"].join(words))

    def _span(self, seconds: int) -> str:
        if seconds < _JUST_NOW_S:
            return self._words["just_now"]
        if seconds < _MINUTE_S:
            return self._words["seconds"].format(n=seconds)
        if seconds < _HOUR_S:
            return self._words["minutes"].format(n=seconds // _MINUTE_S)
        return self._words["hours"].format(n=seconds // _HOUR_S)

    def _tell_measurement(self, measurement: Measurement) -> None:
        """Tell a measurement; of several tries that fail in the same way, the first."""
        if isinstance(measurement, Reading):
            self._say("sees", self._measured(measurement))
        elif measurement.reason != self._unmeasured:
            self._unmeasured = measurement.reason
            self._say("sees", self._words["unmeasured"].format(reason=self._word(measurement.reason)))

    def _measured(self, reading: Reading) -> str:
        low, high = reading.low_cc / 100, reading.high_cc / 100
        return self._words["reading"].format(value=reading.value_cc / 100, low=low, high=high)

    def _word(self, word: str) -> str:
        return self._words.get(str(word), str(word))

    def _say(self, label: str, words: str, style: str = "") -> None:
        self._queue.put((self._words[label], Text(words, style=style)))

    def _head(self, words: str) -> None:
        self._queue.put(("", Text(f"\n{words}", style="bold")))

    def _remark(self, words: str) -> None:
        self._queue.put(("", Text(words, style="dim")))

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            label, words = item
            line = Text(f"  {label:>{_LABEL_WIDTH}}  ", style="dim") if label else Text()
            self._console.print(line + words, soft_wrap=True)


def _strictness(finding: dict[str, str]) -> int:
    return STRICTNESS[Verdict(finding["verdict"])]
