"""The files that say whose codes a gate believes, each known by what is in it.

    *.toml                    keys for home passes
    *.pem *.der *.cer *.crt   certificates of the signers of EU Digital COVID Certificates
    *.json                    a list of such signers ({"kid", "country", "rawData"}), as states publish it
                              an issuer of SMART Health Cards: its key set, with "issuer" added
                              what such an issuer has called back: {"kid", "method", "ctr", "rids"}
                              business rules: {"Identifier", "Logic", ...}, one or a list
                              value sets that rules refer to: {"valueSetId", "valueSetValues"}

A signer belongs to the country in its certificate, unless it lies in a folder that is named by two letters:
then to that country. What an issuer of cards has called back lies in the same folder as its keys.
"""

import base64
import binascii
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeGuard

from gate.checked import ConfigError
from gate.core.codes import Trust, TrustError
from gate.core.codes.business_rules import BusinessRule, read_rule
from gate.core.codes.dcc_keys import COUNTRY, DocumentSigner, read_signer
from gate.core.codes.shc_keys import CardIssuer, read_issuer

_CERTIFICATES: Final = (".pem", ".der", ".cer", ".crt")

_TEXTS: Final = (".md", ".txt")

_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----")


def load_trust(paths: Iterable[Path]) -> Trust:
    """Read all that this gate believes from files and folders, those with everything in them.

    In folders hidden files, *.md and *.txt are left alone. Raises ConfigError with every problem at once.
    """
    found = _Found()
    for path in paths:
        for file in _files(path):
            found.read(file, named=file == path)
    return found.trust()


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for file in sorted(path.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if not hidden and file.suffix.lower() not in _TEXTS and not file.is_dir():
            yield file


class _FileError(Exception):
    """One file that cannot be used, with a sentence for each thing to put right."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems


@dataclass(slots=True)
class _Found:
    """What the files read so far hold. Key sets and revocations wait until all of their folder is known."""

    problems: list[str] = field(default_factory=list)
    documents: list[tuple[str, object]] = field(default_factory=list)
    signers: list[DocumentSigner] = field(default_factory=list)
    rules: list[BusinessRule] = field(default_factory=list)
    value_sets: dict[str, list[str]] = field(default_factory=dict)
    key_sets: dict[Path, Mapping[str, Any]] = field(default_factory=dict)
    revocations: dict[Path, Mapping[str, Any]] = field(default_factory=dict)

    def read(self, path: Path, *, named: bool) -> None:
        """Take one file in; a problem is kept for later. Any file that was `named` may hold keys in TOML."""
        try:
            self._read(path, named=named)
        except _FileError as error:
            name = str(path) if str(path).isprintable() else ascii(str(path)).strip("'")
            self.problems += [f"{name}: {problem}" for problem in error.problems]

    def trust(self) -> Trust:
        """Put together what was found. Raises ConfigError when anything was wrong."""
        issuers = self._card_issuers()
        trust = Trust()
        try:
            trust = Trust.from_documents(self.documents)
        except TrustError as error:
            self.problems += error.problems
        if self.problems:
            raise ConfigError("trust", self.problems)
        return replace(
            trust,
            signers=tuple(self.signers),
            rules=tuple(self.rules),
            value_sets=self.value_sets,
            card_issuers=tuple(issuers),
        )

    def _read(self, path: Path, *, named: bool) -> None:
        suffix = path.suffix.lower()
        if suffix in _CERTIFICATES:
            self._read_certificates(path)
        elif suffix == ".json":
            self._read_json(path, _json(path))
        elif suffix == ".toml" or named:
            self.documents.append((str(path), _toml(path)))
        else:
            known = ", ".join((".toml", ".json", *_CERTIFICATES))
            raise _FileError(f"is no kind of file that is known here ({known}); move it elsewhere")

    def _read_certificates(self, path: Path) -> None:
        raw = _bytes(path)
        texts = _PEM.findall(raw)
        if raw.count(b"-----BEGIN") != len(texts):
            raise _FileError("holds more than certificates; a private key has no place at a gate")
        for place, certificate in enumerate(map(_from_base64, texts) if texts else [raw]):
            where = f"certificate {place + 1} " if len(texts) > 1 else ""
            self.signers.append(_signer(certificate, _country_of_folder(path), where))

    def _read_json(self, path: Path, data: object) -> None:
        if _is_object(data, "kid", "method", "ctr", "rids"):
            self.revocations[path] = data
        elif _is_object(data, "keys"):
            self._read_key_set(path, data)
        elif _is_object(data, "certificates") and isinstance(data["certificates"], list):
            self._read_list(path, data["certificates"])
        else:
            self._read_list(path, data if isinstance(data, list) else [data])

    def _read_key_set(self, path: Path, data: Mapping[str, Any]) -> None:
        if "issuer" not in data:
            raise _FileError(
                'is a key set that does not say whose; add "issuer": the address that its cards name in iss, '
                "which is where the file comes from without /.well-known/jwks.json"
            )
        self.key_sets[path] = data

    def _read_list(self, path: Path, entries: list[Any]) -> None:
        problems: list[str] = []
        for place, entry in enumerate(entries):
            where = f"[{place}]: " if len(entries) > 1 else ""
            try:
                self._read_entry(path, entry, where)
            except _FileError as error:
                problems += error.problems
        if problems:
            raise _FileError(*problems)

    def _read_entry(self, path: Path, entry: object, where: str) -> None:
        if _is_object(entry, "Identifier", "Logic"):
            try:
                self.rules.append(read_rule(entry))
            except ValueError as error:
                raise _FileError(f"{where}{error}") from error
        elif _is_object(entry, "valueSetId") and isinstance(entry.get("valueSetValues"), Mapping):
            self.value_sets[str(entry["valueSetId"])] = sorted(map(str, entry["valueSetValues"]))
        elif _is_object(entry, "rawData"):
            self.signers.append(_listed_signer(entry, path, where))
        else:
            raise _FileError(
                f"{where}is neither a signer (rawData), nor a key set (issuer, keys), nor what an issuer has "
                "called back (kid, method, ctr, rids), nor a business rule (Identifier, Logic), nor a value "
                "set (valueSetId, valueSetValues)"
            )

    def _card_issuers(self) -> list[CardIssuer]:
        belonging: dict[Path, list[Mapping[str, Any]]] = {path: [] for path in self.key_sets}
        for path, revocation in self.revocations.items():
            beside = [owner for owner in self.key_sets if owner.parent == path.parent]
            owners = [owner for owner in beside if revocation["kid"] in _key_ids(self.key_sets[owner])]
            if len(owners) == 1:
                belonging[owners[0]].append(revocation)
            else:
                self.problems.append(
                    f"{path}: calls back cards of a key that is in {len(owners)} key sets of its folder; "
                    "put it beside the one key set of its issuer"
                )
        issuers = [self._card_issuer(path, lists) for path, lists in belonging.items()]
        known = [issuer for issuer in issuers if issuer is not None]
        counts = Counter(issuer.url for issuer in known)
        self.problems += [f"issuer {url}: has {n} key sets" for url, n in counts.items() if n > 1]
        return known

    def _card_issuer(self, path: Path, revocations: list[Mapping[str, Any]]) -> CardIssuer | None:
        try:
            return read_issuer(self.key_sets[path], revocations)
        except ValueError as error:
            self.problems.append(f"{path}: {error}")
            return None


def _is_object(data: object, *keys: str) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(data, Mapping) and all(key in data for key in keys)


def _key_ids(key_set: Mapping[str, Any]) -> list[object]:
    keys = key_set["keys"]
    return [key.get("kid") for key in keys if isinstance(key, Mapping)] if isinstance(keys, list) else []


def _country_of_folder(path: Path) -> str | None:
    """Read the country from the name of the folder; "eu" holds those of many and is none."""
    name = path.absolute().parent.name.upper()
    return name if COUNTRY.fullmatch(name) and name != "EU" else None


def _signer(certificate: bytes, country: str | None, where: str) -> DocumentSigner:
    try:
        signer = read_signer(certificate)
    except ValueError as error:
        raise _FileError(f"{where}{error}") from error
    country = country or signer.country
    if country is None:
        raise _FileError(
            f"{where}names no country; put it into a folder that is named by the two letters of its country"
        )
    return replace(signer, country=country)


def _listed_signer(entry: Mapping[str, Any], path: Path, where: str) -> DocumentSigner:
    """Read one signer of a published list, whose country and key id count for more than the certificate's."""
    country = str(entry.get("country") or "").upper()
    if country and not COUNTRY.fullmatch(country):
        raise _FileError(f"{where}country: must be two letters")
    certificate = _from_base64(entry["rawData"], f"{where}rawData: ")
    signer = _signer(certificate, country or _country_of_folder(path), where)
    return replace(signer, kid=_from_base64(entry["kid"], f"{where}kid: ")) if entry.get("kid") else signer


def _from_base64(text: object, where: str = "") -> bytes:
    if isinstance(text, str | bytes):
        letters = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
        try:
            return base64.b64decode(b"".join(letters.split()), validate=True)
        except binascii.Error:
            pass
    raise _FileError(f"{where}is not base64")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise _FileError("no such file or folder") from None
    except (OSError, ValueError) as error:  # a path may hold what no path can
        raise _FileError(f"cannot be read: {error}") from error


def _toml(path: Path) -> object:
    try:
        text = _bytes(path).decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise _FileError(f"cannot be read: {error}") from error
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _FileError(f"not valid TOML: {error}") from error


def _json(path: Path) -> object:
    try:
        return json.loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        raise _FileError(f"not valid JSON: {error}") from error
