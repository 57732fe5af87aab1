"""What the printed forms say, in the reader's language: `zh` and `en` hold the words, a file each.

Names that somebody has given (sites, gates, plans, pseudonyms) stay as they are, and so does a word of a gate
that nobody knows here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from central.alerts.codes import ONLY_DOUBTFUL, code_words
from central.reports import en, zh
from central.reports.telling import in_chinese
from gate.core.events import Kind
from gate.core.texts import LANGUAGES, reason_text

LANGS: Final = {"zh": zh.WORDS, "en": en.WORDS}
assert zh.WORDS.keys() == en.WORDS.keys()  # nobody adds a word in one language only
assert LANGS.keys() == LANGUAGES.keys()

_SAID_BY: Final[Mapping[str, str]] = {
    "ended_later": "result",
    "device_failed": "device",
    "device_recovered": "device",
    "device_checked": "device",
    "other": "kind",
}
"""Groups of counts whose words are those of another one, where they have none of their own."""

OTHER: Final = "other_words"
"""What `figures` puts words together as that are too many to be told apart."""


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one language: zh or en."""

    lang: str

    def __call__(self, key: str, **facts: object) -> str:
        """Return a text of the form, with its facts; of one only it may be another text."""
        one = self.lang == "en" and facts.get("all", facts.get("count")) == 1
        text = en.ONE.get(key) if one else None
        return (text or LANGS[self.lang][key]).format(**facts)

    def count(self, group: str, word: str) -> str:
        """Return what a word of a group of counts is called."""
        if word == OTHER:
            return self(OTHER)
        if group == "code_abnormal":
            return self.reason(word)
        own = f"{group}.{word}" in LANGS[self.lang]
        return self.known(group if own else _SAID_BY.get(group, group), word)

    def known(self, group: str, word: str) -> str:
        """Return what a word is called where there is a text for it; else the word itself."""
        return LANGS[self.lang].get(f"{group}.{word}", word)

    def reason(self, reason: str) -> str:
        """Return the words for the reason of a finding."""
        return self(OTHER) if reason == OTHER else reason_text(self.lang, reason)

    def joined(self, said: Iterator[str] | list[str]) -> str:
        """Return texts one behind the other, with semicolons."""
        return self("semicolon").join(said)

    def unit(self, document: Mapping[str, Any]) -> str:
        """Return whose report it is; level 1 that nobody has given a name is called *all*."""
        name = str(document["unit"])
        return self.known("name", name) if document["level"] == 1 else name

    def doubt(self, doubt: Mapping[str, Any]) -> str:
        """Return in words why a gate cannot be vouched for."""
        facts = {"count": doubt.get("count", ""), "since": clock_time(str(doubt.get("since", "")))}
        key = f"doubt.{doubt['reason']}"
        text = self(key, **facts) if key in LANGS[self.lang] else str(doubt["reason"])
        codes = self("comma").join(map(self.code, doubt.get("codes", ())))
        return self("colon").join((text, codes)) if codes else text

    def code(self, code: str) -> str:
        """Return what an alarm has seen."""
        said = code_words(code)
        return said.zh if self.lang == "zh" else said.en

    def alarm(self, kind: str, code: str) -> str:
        """Return the class of an alarm: late, false, concealed, missed; doubtful what only may be false."""
        return self("alarm.doubtful") if code in ONLY_DOUBTFUL else self.known("alarm", kind)

    def told(self, text: str) -> str:
        """Return a sentence of a gate; in Chinese which record holds it, where there are no words for it."""
        return (in_chinese(text) or self("in_record")) if self.lang == "zh" and text else text

    def case(self, case: Mapping[str, Any]) -> str:
        """Return a short description of a case or an incident (CH-4)."""
        told = [f"{self.reason(why['reason'])} {why['rule']}".strip() for why in case["reasons"]]
        told += [said for field, word in case["facts"].items() if (said := self._fact(case, field, word))]
        of_somebody = case["kind"] in {Kind.VISIT_DECIDED, Kind.VISIT_CLOSED} or _is_called_back(case)
        if told and of_somebody:
            return self.joined(told)
        kind = "epoch.first" if _is_first_start(case) else case["kind"]
        return self("colon").join(filter(None, (self.known("kind", kind), self.joined(told))))

    def _fact(self, case: Mapping[str, Any], field: str, word: str) -> str:
        match field:
            case "record":
                return self.known("record", word)
            case "device":
                return self.known("device", word)
            case "document":
                return self.known("stale", word)
            case "what":
                return self.known("anomaly", word)
            case "command":
                return self.known("order", word)
            case "outcome":
                return self.known("document" if case["kind"] == Kind.DOCUMENT else "outcome", word)
            case "reason" if case["kind"] == Kind.COMMAND:
                return self._refusal(word)
            case "detail" if case["facts"].get("what") in {"document_refused", "called_back"}:
                return self._reason_within(word)
            case "previous":
                return ""
        return self.told(word)

    def _refusal(self, word: str) -> str:
        for group in ("refusal", "mode"):
            if f"{group}.{word}" in LANGS[self.lang]:
                return self.known(group, word)
        known = self.reason(word)
        return self.told(word) if known == word else known

    def _reason_within(self, detail: str) -> str:
        """Return the reason of a code that stands before or behind the colon, in words."""
        for part in detail.split(": "):
            if (known := self.reason(part)) != part:
                return known
        return self.told(detail)


def _is_called_back(case: Mapping[str, Any]) -> bool:
    return bool(case["kind"] == Kind.ANOMALY and case["facts"].get("what") == "called_back")


def _is_first_start(case: Mapping[str, Any]) -> bool:
    facts = case["facts"]
    return bool(case["kind"] == Kind.EPOCH_STARTED and not facts.get("previous") and "record" not in facts)


def clock_time(iso: str) -> str:
    """Return date and time to the second, without the offset that the heading says."""
    return iso[:19].replace("T", " ")
