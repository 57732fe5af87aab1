"""Business rules for EU certificates: which of them a certificate does not fulfil, by CertLogic.

Acceptance rules are those of the place of entry, and each must be true. Invalidation rules are those of the
place of issue, and one that is true takes the certificate back (dgc-business-rules: documentation/how-to.md
and dcc-business-rules-utils; eHealth Network, EU DCC Validation Rules 1.00, sections 4 and 5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar

from gate.core.codes.certlogic import CertLogicError, DateTime, evaluate, parse_date_time, truthy
from gate.core.codes.model import NAME, Credential

Word = TypeVar("Word", bound=StrEnum)

ENGINE: Final = "CERTLOGIC"

ENGINE_VERSION_MAX: Final = (1, 3)
"""Rules for a later language may mean something else by the same words."""


class RuleType(StrEnum):
    """Whether a rule admits certificates or takes them back."""

    ACCEPTANCE = "Acceptance"
    INVALIDATION = "Invalidation"


class CertificateType(StrEnum):
    """The certificates to which a rule applies; general is all."""

    GENERAL = "General"
    VACCINATION = "Vaccination"
    TEST = "Test"
    RECOVERY = "Recovery"


_CREDENTIALS: Final = {
    Credential.VACCINATION: CertificateType.VACCINATION,
    Credential.TEST: CertificateType.TEST,
    Credential.RECOVERY: CertificateType.RECOVERY,
}


@dataclass(frozen=True, slots=True)
class BusinessRule:
    """One version of a rule as published: valid in a span, for some certificates, with its logic.

    `country`: two capital letters; `valid_from_ms` is included, `valid_until_ms` is not (unix milliseconds,
    None for no bound); `affected_fields`: paths such as v.0.dn; `description`: texts by language.
    """

    identifier: str
    logic: object
    type: RuleType = RuleType.ACCEPTANCE
    country: str = ""
    certificate_type: CertificateType = CertificateType.GENERAL
    version: tuple[int, ...] = (1, 0, 0)
    valid_from_ms: int | None = None
    valid_until_ms: int | None = None
    affected_fields: tuple[str, ...] = ()
    description: Mapping[str, str] = field(default_factory=dict)

    def valid(self, now_ms: int) -> bool:
        """Say whether the rule is in force."""
        started = self.valid_from_ms is None or self.valid_from_ms <= now_ms
        return started and (self.valid_until_ms is None or now_ms < self.valid_until_ms)


def read_rule(data: Mapping[str, object]) -> BusinessRule:
    """Read a rule in its published JSON form; fields that a gate has no use for are passed over.

    ValidFrom and ValidTo may be absent: without bound. Raises ValueError with a sentence for what is wrong.
    """
    identifier = _text(data, "Identifier")
    if not NAME.fullmatch(identifier):
        raise ValueError("Identifier must be 1 to 32 letters, digits, '-' or '_'")
    try:
        return _read(identifier, data)
    except ValueError as fault:
        raise ValueError(f"rule {identifier}: {fault}") from fault


def unmet(
    rules: Iterable[BusinessRule],
    hcert: Mapping[str, object],
    credential: Credential,
    now_ms: int,
    value_sets: Mapping[str, object] = MappingProxyType({}),
    *,
    issuer: str | None = None,
) -> tuple[str, ...]:
    """Name the rules in force, sorted, that stand against a certificate; total, an empty answer is a yes.

    `hcert` is the certificate as JSON data, `value_sets` the allowed codes by the name of their set, `issuer`
    the country that issued it: with it, other countries' invalidation rules are left out. Of several versions
    in force the highest counts. A rule without an answer (`CertLogicError`) stands against.
    """
    kinds = {CertificateType.GENERAL, _CREDENTIALS.get(credential)}
    latest: dict[str, BusinessRule] = {}
    for rule in sorted(rules, key=lambda rule: (rule.identifier, rule.version)):
        if rule.valid(now_ms):
            latest[rule.identifier] = rule
    external = {
        "validationClock": str(DateTime(now_ms)),
        "valueSets": value_sets,
        "issuerCountryCode": issuer,
    }
    return tuple(
        rule.identifier
        for rule in latest.values()
        if rule.certificate_type in kinds
        and _concerns(rule, issuer)
        and not _met(rule, {"payload": hcert, "external": {**external, "countryCode": rule.country}})
    )


def _concerns(rule: BusinessRule, issuer: str | None) -> bool:
    return rule.type is RuleType.ACCEPTANCE or issuer in {None, rule.country}


def _met(rule: BusinessRule, data: object) -> bool:
    try:
        answer = evaluate(rule.logic, data)
        return answer is True if rule.type is RuleType.ACCEPTANCE else not truthy(answer)
    except CertLogicError:
        return False


def _read(identifier: str, data: Mapping[str, object]) -> BusinessRule:
    if data.get("Engine", ENGINE) != ENGINE:
        raise ValueError(f"Engine must be {ENGINE}")
    if "EngineVersion" in data and _version(data, "EngineVersion")[:2] > ENGINE_VERSION_MAX:
        raise ValueError(f"EngineVersion is newer than {'.'.join(map(str, ENGINE_VERSION_MAX))}")
    valid_from, valid_until = _instant_ms(data, "ValidFrom"), _instant_ms(data, "ValidTo")
    if valid_from is not None and valid_until is not None and valid_from >= valid_until:
        raise ValueError("ValidTo must be after ValidFrom")
    return BusinessRule(
        identifier=identifier,
        logic=_logic(data),
        type=_word(RuleType, data, "Type"),
        country=_country(data),
        certificate_type=_word(CertificateType, data, "CertificateType"),
        version=_version(data, "Version"),
        valid_from_ms=valid_from,
        valid_until_ms=valid_until,
        affected_fields=_fields(data),
        description=_description(data),
    )


def _text(data: Mapping[str, object], name: str) -> str:
    value = data.get(name)
    if isinstance(value, str):
        return value
    raise ValueError(f"{name} must be a text")


def _word(words: type[Word], data: Mapping[str, object], name: str) -> Word:
    text = _text(data, name)
    if text not in {word.value for word in words}:
        raise ValueError(f"{name} must be one of {', '.join(words)}")
    return words(text)


def _logic(data: Mapping[str, object]) -> object:
    logic = data.get("Logic")
    if isinstance(logic, Mapping | bool):
        return logic
    raise ValueError("Logic must be a CertLogic operation, true or false")


def _country(data: Mapping[str, object]) -> str:
    country = _text(data, "Country")
    if not re.fullmatch("[A-Z]{2}", country):
        raise ValueError("Country must be two capital letters")
    return country


def _version(data: Mapping[str, object], name: str) -> tuple[int, ...]:
    text = _text(data, name)
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9}){2}", text):
        raise ValueError(f"{name} must be three numbers with dots between them")
    return tuple(int(part) for part in text.split("."))


def _instant_ms(data: Mapping[str, object], name: str) -> int | None:
    if data.get(name) is None:
        return None
    try:
        return parse_date_time(_text(data, name)).ms
    except CertLogicError as fault:
        raise ValueError(f"{name} must be a date-time: {fault}") from fault


def _fields(data: Mapping[str, object]) -> tuple[str, ...]:
    paths = data.get("AffectedFields", [])
    if isinstance(paths, list) and all(isinstance(path, str) for path in paths):
        return tuple(paths)
    raise ValueError("AffectedFields must be a list of texts")


def _description(data: Mapping[str, object]) -> Mapping[str, str]:
    entries = data.get("Description", [])
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise ValueError("Description must be a list of tables with lang and desc")
    return {_text(entry, "lang"): _text(entry, "desc") for entry in entries}
