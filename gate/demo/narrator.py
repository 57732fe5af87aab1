"""Tells what the gate sees, decides and does, as it happens, in the audience's language."""

import queue
import threading
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from gate.core.effects import Effect, HoldOpen, Lock, Record, Show, TakeReading, Unlock
from gate.core.events import Kind
from gate.core.evidence import Measurement, Reading
from gate.core.inputs import (
    ArmTurned,
    AttendantConfirmed,
    CodesRead,
    DeviceFailed,
    FireAlarmChanged,
    Input,
    MaskSeen,
    ReadingTaken,
)
from gate.core.moment import Moment
from gate.core.texts import Key, reason_text, screen
from gate.demo.words import WORDS

_STYLE: Final = {"admit": "green", "retest": "yellow", "refer": "yellow", "refuse": "red"}
_LABEL_WIDTH: Final = 8


class Narrator:
    """Prints from a thread of its own, so that telling never delays the gate."""

    def __init__(self, lang: str, console: Console) -> None:
        self._lang = lang
        self._words = WORDS[lang]
        self._console = console
        self._queue: queue.Queue[tuple[str, Text] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="narrator", daemon=True)
        self._code: tuple[bytes, ...] = ()
        self._shown: Key | None = None
        self._fire = False

    def start(self) -> None:
        """Start telling."""
        self._thread.start()

    def stop(self) -> None:
        """Tell what is left and end."""
        self._queue.put(None)
        self._thread.join()

    def open(self, plan: str) -> None:
        """Tell which plan the gate follows."""
        self._queue.put(("", Text(self._words["plan"].format(title=plan), style="dim")))

    def announce(self, number: int, title: str) -> None:
        """Tell who comes next."""
        heading = self._words["visitor"].format(n=number)
        self._queue.put(("", Text(f"\n{heading} · {title}", style="bold")))

    def observe(self, happened: Input, effect: Effect | None, _now: Moment) -> None:
        """Tell one input or one effect; called by the brain thread."""
        if effect is None:
            self._tell_input(happened)
        else:
            self._tell_effect(effect)

    def _tell_input(self, happened: Input) -> None:
        match happened:
            case CodesRead(payloads) if payloads != self._code:
                self._code = payloads
                word = "code" if len(payloads) == 1 else "codes"
                number = len(payloads[0]) if len(payloads) == 1 else len(payloads)
                self._say("sees", self._words[word].format(n=number))
            case ReadingTaken(_, measurement):
                self._say("sees", self._measured(measurement))
            case MaskSeen(mask):
                self._say("sees", self._words["mask"].format(mask=self._word(mask)))
            case AttendantConfirmed():
                self._say("sees", self._words["confirm"])
            case ArmTurned():
                self._say("sees", self._words["turned"])
            case FireAlarmChanged(active) if active != self._fire:
                self._fire = active
                self._say("sees", self._words["fire"].format(active=self._word("on" if active else "off")))
            case DeviceFailed(device):
                self._say("sees", self._words["failed"].format(device=device))
            case _:
                pass

    def _tell_effect(self, effect: Effect) -> None:
        match effect:
            case Record(event) if event.kind is Kind.VISIT_DECIDED:
                self._tell_decision(event.data)
            case Record(event) if event.kind is Kind.VISIT_CLOSED:
                self._say("writes", self._word(event.data["result"]), "dim")
            case Record(event) if event.kind is Kind.GATE_MODE:
                self._say("writes", self._word(event.data["mode"]), "dim")
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
            case Record() | Lock() | TakeReading():
                pass

    def _tell_decision(self, decided: dict[str, Any]) -> None:
        for finding in decided["findings"]:
            reason = reason_text(self._lang, finding["reason"])
            self._say("judges", f"{finding['rule']:6}{reason}", _STYLE[finding["verdict"]])
        words = [self._word(decided["verdict"]), self._word(decided["disposition"])]
        verdict = self._words["comma"].join(word for word in words if word)
        self._say("judges", f"→ {verdict}", f"bold {_STYLE[decided['verdict']]}")
        stage = self._word(decided["stage"])
        if decided["stage"] == "authorised":
            stage = self._words["durably"].format(stage=stage, durable=self._words["durable"])
        self._say("writes", stage, "dim")

    def _measured(self, measurement: Measurement) -> str:
        if isinstance(measurement, Reading):
            low, high = measurement.low_cc / 100, measurement.high_cc / 100
            return self._words["reading"].format(value=measurement.value_cc / 100, low=low, high=high)
        return self._words["unmeasured"].format(reason=self._word(measurement.reason))

    def _word(self, word: str) -> str:
        return self._words.get(str(word), str(word))

    def _say(self, label: str, words: str, style: str = "") -> None:
        self._queue.put((self._words[label], Text(words, style=style)))

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            label, words = item
            line = Text(f"  {label:>{_LABEL_WIDTH}}  ", style="dim") if label else Text()
            self._console.print(line + words, soft_wrap=True)
