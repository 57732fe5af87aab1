"""What judging a code costs: beside the bare check of its signature, and for the worst of strangers."""

import base64
import json
import random
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from bench.floor import ROOT, Disk, Measured, interleave, number, table, timed, verdict
from gate.core.codes import (
    PAYLOAD_BYTES_MAX,
    Circumstances,
    CodeResult,
    Credential,
    Reason,
    Status,
    Trust,
    TrustedKey,
    base45,
    home,
    judge_code,
    rotating,
)
from gate.core.codes.business_rules import BusinessRule, read_rule
from gate.core.codes.cose import ES256, ITEMS_MAX, PS256, sig_structure
from gate.core.codes.dcc import INFLATED_BYTES_MAX
from gate.core.codes.dcc_keys import DCC_KINDS, DocumentSigner
from gate.core.codes.shc import HEALTH_CARD, JSON_BYTES_MAX, JSON_DEPTH_MAX
from gate.core.codes.shc_keys import CardIssuer

TIME_MS_MAX: Final = 50.0
MEMORY_MB_MAX: Final = 32.0
RULES: Final = 15
ONE: Final = "--one"
"""Says to a process of this module that it is to judge the one payload on its standard input."""

LIST_LENGTH: Final = 2_000
"""About as many document signers were on the list of the EU, and issuers on that for SMART Health Cards."""

SITE: Final = "county-hall-south"
NOW_S: Final = 1_650_000_000
DAY_S: Final = 86_400
AT: Final = Circumstances(SITE, NOW_S * 1000)

NOTE_VERIFY: Final = (
    "*Bare*: the check of one signature of the same kind by `cryptography`, with a key object at hand and "
    "nothing parsed; for `HG2:` two of them, of issuer and holder. The certificate with rules is a "
    f"vaccination to which all {RULES} apply. The long lists have {LIST_LENGTH:,} signers and as many card "
    "issuers, the right one at the end; the others know one of each. All codes but the last two of the table "
    "are accepted, by `judge_code` as the gate calls it."
)
NOTE_HOSTILE: Final = (
    "Time: wall clock, in one process. *Python*: the peak of what Python allocates (`tracemalloc`) in one "
    "judgement. *Process*: how far the resident memory of a fresh process, which has judged good codes "
    "before, rises in one judgement (`VmHWM` after a reset, since `ru_maxrss` starts with what the parent "
    "process had). Megabytes of a million bytes."
)


class Sample(NamedTuple):
    """A code, whom the gate believes, and what it has to say."""

    payload: bytes
    trust: Trust
    reason: Reason
    bare: str = ""

    def judge(self) -> CodeResult:
        return judge_code(self.payload, fragment=False, trust=self.trust, at=AT)


# Codes of our own


ISSUER_KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
HOLDER_KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
EC_KEY: Final = ec.derive_private_key(7, ec.SECP256R1())
KID_ES256, KID_PS256 = b"es256-01", b"ps256-01"
CARD_URL, CARD_KID = "https://cards.example/issuer", "3Kfdg-XwP-7gXyywtUfUADwBumDOPKMQx-iELL11W9s"
PSS: Final = padding.PSS(padding.MGF1(SHA256()), SHA256.digest_size)


def home_pass(holder: Ed25519PrivateKey | None = None) -> str:
    claims = home.PassClaims(
        issuer="county-hall",
        subject=bytes(range(8)),
        site=SITE,
        valid_from=NOW_S - 60,
        valid_until=NOW_S + DAY_S,
        issued_at=NOW_S - 60,
        pass_id=bytes(range(8)),
        credential=Credential.VISITOR,
        status=Status.GREEN,
        registered=frozenset({"name", "id_number", "phone"}),
        holder_key=holder.public_key().public_bytes_raw() if holder else None,
    )
    return home.issue(ISSUER_KEY, claims)


NAMES: Final = {"fn": "Musterfrau-Gößinger", "fnt": "MUSTERFRAU<GOESSINGER", "gn": "Gabi", "gnt": "GABI"}
VACCINATION: Final = {
    "tg": "840539006", "vp": "1119349007", "mp": "EU/1/20/1528", "ma": "ORG-100030215", "dn": 2, "sd": 2,
    "dt": "2022-02-18", "co": "AT", "is": "Ministry of Health, Austria",
    "ci": "URN:UVCI:01:AT:10807843F94AEE0EE5093FBC254BD813#B",
}  # fmt: skip
CERTIFICATE: Final = {"ver": "1.3.0", "dob": "1964-08-12", "nam": NAMES, "v": [VACCINATION]}


def signed_es256(data: bytes) -> bytes:
    r, s = decode_dss_signature(EC_KEY.sign(data, ec.ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def hc1(raw: bytes) -> bytes:
    return b"HC1:" + base45.encode(zlib.compress(raw, 9)).encode("ascii")


def certificate(
    certified: object = CERTIFICATE,
    sign: Callable[[bytes], bytes] = signed_es256,
    header: object = None,
    unprotected: object = None,
) -> bytes:
    claims = cbor2.dumps({1: "AT", 4: NOW_S + DAY_S, 6: NOW_S - DAY_S, -260: {1: certified}})
    protected = cbor2.dumps(header or {1: ES256, 4: KID_ES256})
    signature = sign(sig_structure(protected, claims))
    return hc1(cbor2.dumps(cbor2.CBORTag(18, [protected, unprotected or {}, claims, signature])))


def immunization(day: str) -> dict[str, Any]:
    return {
        "fullUrl": "resource:1",
        "resource": {
            "resourceType": "Immunization",
            "status": "completed",
            "vaccineCode": {"coding": [{"system": "http://hl7.org/fhir/sid/cvx", "code": "207"}]},
            "patient": {"reference": "resource:0"},
            "occurrenceDateTime": day,
            "performer": [{"actor": {"display": "ABC General Hospital"}}],
            "lotNumber": "0000007",
        },
    }


def card_claims() -> dict[str, Any]:
    name = [{"family": "Anyperson", "given": ["John", "B."]}]
    patient = {"resourceType": "Patient", "name": name, "birthDate": "1951-01-20"}
    entries = [
        {"fullUrl": "resource:0", "resource": patient},
        immunization("2021-01-01"),
        immunization("2021-01-29"),
    ]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    subject = {"fhirVersion": "4.0.1", "fhirBundle": bundle}
    vc = {"type": [HEALTH_CARD, "https://smarthealth.cards#immunization"], "credentialSubject": subject}
    return {"iss": CARD_URL, "nbf": NOW_S - DAY_S, "vc": vc}


def base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def jws(
    text: bytes | None = None, sign: Callable[[bytes], bytes] = signed_es256, header: bytes = b""
) -> bytes:
    """Sign a card; as SMART Health Cards are in files."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    body = packer.compress(text or json.dumps(card_claims(), separators=(",", ":")).encode()) + packer.flush()
    head = header or json.dumps({"zip": "DEF", "alg": "ES256", "kid": CARD_KID}).encode()
    signed = base64url(head) + b"." + base64url(body)
    return signed + b"." + base64url(sign(signed))


def shc(card: bytes) -> bytes:
    return b"shc:/" + "".join(f"{byte - 45:02}" for byte in card).encode("ascii")


def shanghai() -> bytes:
    return b"HTTPS://S.SH.GOV.CN/" + b"0123456789ABCDEF" * 2 + str(NOW_S * 1000).encode()


@cache
def rules() -> tuple[BusinessRule, ...]:
    """Make as many rules as a country had, of the kinds that it had: vaccine, doses, day, waiting time."""
    first = [
        {"in": [_entry("mp"), ["EU/1/20/1507", "EU/1/20/1525", "EU/1/20/1528", "EU/1/21/1529"]]},
        {">=": [_entry("dn"), _entry("sd")]},
        {"and": [{">": [_entry("dn"), 0]}, {"===": [_entry("tg"), "840539006"]}]},
        {"not-before": [_clock(), {"plusTime": [_entry("dt"), 14, "day"]}]},
        {"not-after": [_clock(), {"plusTime": [_entry("dt"), 270, "day"]}]},
    ]
    conditions = [first[index % len(first)] for index in range(RULES)]
    return tuple(_rule(index, condition) for index, condition in enumerate(conditions))


def _entry(name: str) -> dict[str, str]:
    return {"var": f"payload.v.0.{name}"}


def _clock() -> dict[str, Any]:
    return {"plusTime": [{"var": "external.validationClock"}, 0, "day"]}


def _rule(index: int, condition: object) -> BusinessRule:
    published = {
        "Identifier": f"VR-AT-{index:04}", "Type": "Acceptance", "Country": "AT", "Version": "1.0.0",
        "CertificateType": "Vaccination", "Engine": "CERTLOGIC", "EngineVersion": "1.3.3",
        "ValidFrom": "2021-07-01T00:00:00Z", "ValidTo": "2030-06-01T00:00:00Z",
        "Logic": {"if": [{"var": "payload.v.0"}, condition, True]},
    }  # fmt: skip
    return read_rule(published)


def trust(
    signers: tuple[DocumentSigner, ...] = (), length: int = 1, rules: tuple[BusinessRule, ...] = ()
) -> Trust:
    """Return what a gate believes, with lists of a length of which the last entry is the one needed."""
    public = EC_KEY.public_key()
    key = TrustedKey(
        "county-hall",
        "County hall",
        ISSUER_KEY.public_key().public_bytes_raw(),
        frozenset({Credential.VISITOR}),
    )
    others = range(length - 1)
    strangers = tuple(DocumentSigner("AT", b"%08d" % n, public, DCC_KINDS) for n in others)
    own = DocumentSigner("AT", KID_ES256, public, DCC_KINDS)
    issuers = (*(f"https://cards.example/{n}" for n in others), CARD_URL)
    return Trust(
        keys=(key,),
        signers=(*strangers, *signers, own),
        rules=rules,
        card_issuers=tuple(CardIssuer(url, {CARD_KID: public}) for url in issuers),
    )


# Beside the bare check


BARE_EDDSA, BARE_TWO, BARE_ES256, BARE_PS256 = "bare EdDSA", "bare EdDSA, twice", "bare ES256", "bare PS256"


def samples(rsa_key: rsa.RSAPrivateKey) -> dict[str, Sample]:
    """Return a good code of each format, and the two that have no signature."""
    plain, long = trust(), trust(length=LIST_LENGTH)
    signer = DocumentSigner("AT", KID_PS256, rsa_key.public_key(), DCC_KINDS)
    dcc, card = certificate(), jws()
    dcc_rsa = certificate(
        sign=lambda data: rsa_key.sign(data, PSS, SHA256()), header={1: PS256, 4: KID_PS256}
    )
    shown = rotating.present(HOLDER_KEY, home_pass(HOLDER_KEY), NOW_S).encode()
    ok = Reason.OK
    return {
        "`HG1:`": Sample(home_pass().encode(), plain, ok, BARE_EDDSA),
        "`HG2:`": Sample(shown, plain, ok, BARE_TWO),
        "`HC1:` ES256": Sample(dcc, plain, ok, BARE_ES256),
        f"`HC1:` ES256, {RULES} rules": Sample(dcc, trust(rules=rules()), ok, BARE_ES256),
        "`HC1:` ES256, long list": Sample(dcc, long, ok, BARE_ES256),
        "`HC1:` PS256": Sample(dcc_rsa, trust((signer,)), ok, BARE_PS256),
        "`shc:/`": Sample(shc(card), plain, ok, BARE_ES256),
        "`shc:/`, long list": Sample(shc(card), long, ok, BARE_ES256),
        "SMART card, bare JWS": Sample(card, plain, ok, BARE_ES256),
        "token of Shanghai": Sample(shanghai(), plain, Reason.NOT_CHECKABLE),
        "unknown text": Sample("门岗 3：请出示健康码。".encode() * 8, plain, Reason.NOT_CHECKABLE),
    }


def bare_checks(rsa_key: rsa.RSAPrivateKey) -> dict[str, Callable[[], object]]:
    """Return the check of a signature of each kind, over as many bytes as a code signs."""
    data, ecdsa = bytes(400), ec.ECDSA(SHA256())
    issuer, holder = ISSUER_KEY.public_key(), HOLDER_KEY.public_key()
    by_issuer, by_holder = ISSUER_KEY.sign(data), HOLDER_KEY.sign(data)
    ec_public, by_ec = EC_KEY.public_key(), EC_KEY.sign(data, ecdsa)
    rsa_public, by_rsa = rsa_key.public_key(), rsa_key.sign(data, PSS, SHA256())
    return {
        BARE_EDDSA: lambda: issuer.verify(by_issuer, data),
        BARE_TWO: lambda: (issuer.verify(by_issuer, data), holder.verify(by_holder, data)),
        BARE_ES256: lambda: ec_public.verify(by_ec, data, ecdsa),
        BARE_PS256: lambda: rsa_public.verify(by_rsa, data, PSS, SHA256()),
    }


def verify_times(rounds: int, each: int, warm_up: int) -> tuple[dict[str, Sample], dict[str, Measured]]:
    """Judge each code and check each signature, in turns."""
    rsa_key = rsa.generate_private_key(65537, 2048)
    codes = samples(rsa_key)
    for name, sample in codes.items():
        assert sample.judge().reason is sample.reason, name
    actions = {name: timed(check) for name, check in bare_checks(rsa_key).items()}
    actions |= {name: timed(sample.judge) for name, sample in codes.items()}
    return codes, interleave(actions, Disk(ROOT), rounds=rounds, each=each, warm_up=warm_up)


def report_verify(codes: dict[str, Sample], found: dict[str, Measured]) -> list[str]:
    rounds = next(iter(found.values())).rounds
    rows = [[name, "", "", *_times(found[name]), "1.00"] for name in found if name not in codes]
    for name, sample in codes.items():
        ratio = found[name].spread(found[sample.bare]) if sample.bare else "-"
        rows.append([name, sample.bare, str(len(sample.payload)), *_times(found[name]), ratio])
    return [
        "## Codes: judging beside the bare check of a signature",
        "",
        f"{len(rounds)} rounds of {len(rounds[0].times_us)}, in turns.",
        "",
        *table(["", "beside", "bytes", "p50 µs", "p99 µs", "× bare (rounds)"], rows),
        "",
        NOTE_VERIFY,
    ]


def _times(one: Measured) -> list[str]:
    return [number(one.p50_us), number(one.p99_us)]


# The worst that strangers show


def hostile() -> dict[str, Sample]:
    """Return payloads that were made to cost as much as they can, and why each is refused."""
    believed = trust(rules=rules())
    found = {**_hostile_certificates(), **_hostile_cards(), **_hostile_texts()}
    return {name: Sample(payload, believed, reason) for name, (payload, reason) in found.items()}


Attack = tuple[bytes, Reason]


def forged(_: bytes) -> bytes:
    """Give 64 bytes for a signature, which have the right length and no more."""
    return bytes(range(1, 65))


def _hostile_certificates() -> dict[str, Attack]:
    malformed, large = Reason.MALFORMED, Reason.TOO_LARGE
    deep, half = INFLATED_BYTES_MAX - 1, INFLATED_BYTES_MAX // 2
    many = ITEMS_MAX - 60  # the rest is for what stands around them
    caps = certificate(
        {**CERTIFICATE, "x": [{}] * many},
        forged,
        {1: ES256, 4: KID_ES256} | dict.fromkeys(range(5, many // 2), 0),
        dict.fromkeys(range(5, many // 2), 0),
    )
    long_names = {**CERTIFICATE, "v": [{**VACCINATION, "co": "a" * 14_000}]}
    chunks = b"\xd2\x84\x5f" + b"\x41\x00" * many + b"\xff\xa0\x40\x40"
    return {
        "HC1, 2.8 MB of zeros": (hc1(bytes(2_750_000)), large),
        "HC1, zeros up to the cap": (hc1(bytes(INFLATED_BYTES_MAX)), malformed),
        "HC1, lists in lists": (hc1(b"\x81" * deep + b"\x00"), malformed),
        "HC1, endless lists in lists": (hc1(b"\x9f" * half + b"\xff" * half), malformed),
        "HC1, tags before tags": (hc1(b"\xd2" * deep + b"\x00"), malformed),
        "HC1, 16,000 empty maps": (hc1(b"\x99\x3e\x80" + b"\xa0" * 16_000), large),
        "HC1, a string in parts": (hc1(chunks), malformed),
        "HC1, a list of 2^64 items": (hc1(b"\x9b" + b"\xff" * 8), malformed),
        "HC1, 1,000 keys": (hc1(cbor2.dumps(dict.fromkeys(range(1000), 0))), malformed),
        "HC1, every cap, forged": (caps, Reason.BAD_SIGNATURE),
        "HC1, every cap, well signed": (_all_caps_signed(many), malformed),
        "HC1, a country of 14,000 letters": (certificate(long_names, forged), Reason.BAD_SIGNATURE),
        "HC1, 4,292 random digits": (b"HC1:" + _symbols(4292), malformed),
        "HC1, random bytes": (b"HC1:" + _base45_of_random(), malformed),
    }


def _all_caps_signed(many: int) -> bytes:
    """Return what an issuer of the list would have signed gone mad: rules are never asked about it."""
    return certificate({**CERTIFICATE, "v": [{"dt": "2022-01-01"}] * (many // 3)})


def _hostile_cards() -> dict[str, Attack]:
    malformed, forgery, large = Reason.MALFORMED, Reason.BAD_SIGNATURE, Reason.TOO_LARGE
    levels = JSON_DEPTH_MAX - 2
    observation = (
        b'{"resource":{"resourceType":"Observation","status":"final","category":[{"coding":[{}]}]}},'
    )
    return {
        "shc:/, a bomb": (shc(jws(bytes(1_150_000), forged)), large),
        "JWS, 3 MB of zeros": (jws(bytes(3_000_000), forged), large),
        "JWS, 64 KiB of brackets": (jws(b"[" * JSON_BYTES_MAX, forged), malformed),
        "JWS, 64 KiB nested up to the cap": (_filled(b"[" * levels + b"]" * levels + b","), forgery),
        "JWS, 64 KiB of maps in maps": (_filled(b'{"":' * levels + b"0" + b"}" * levels + b","), forgery),
        "JWS, 64 KiB of empty maps": (_filled(b"{},"), forgery),
        "JWS, 64 KiB of maps of one": (_filled(b'{"":0},'), forgery),
        "JWS, 64 KiB of numbers": (_filled(b"1e9,"), forgery),
        "JWS, 64 KiB of long numbers": (_filled(b"9" * 24 + b","), forgery),
        "JWS, 64 KiB of empty texts": (_filled(b'"",'), forgery),
        "JWS, 64 KiB of escapes": (_filled(b'"' + rb"\u00e4" * 5000 + b'",'), forgery),
        "JWS, 64 KiB of empty entries": (_filled(b'{"resource":{}},', b'"entry":['), forgery),
        "JWS, 64 KiB of observations": (_filled(observation, b'"entry":['), forgery),
        "JWS, 1,000 keys": (
            _filled(b"{" + b",".join(b'"%d":0' % n for n in range(1000)) + b"},", most=1),
            forgery,
        ),
        "JWS, one number of 60,000 digits": (_filled(b"9" * 60_000 + b","), malformed),
        "JWS, 64 KiB of quotation marks": (jws(b'"' * JSON_BYTES_MAX, forged), malformed),
        "JWS, 64 KiB of backslashes": (jws(b'"' + b"\\" * (JSON_BYTES_MAX - 1), forged), malformed),
        "JWS, a header of brackets": (jws(None, forged, b'{"a":' + b"[" * 2200), malformed),
        "JWS, random bytes": (b"eyJ" + base64url(_random(3000)) + b".AAAA." + b"A" * 86, malformed),
        "shc:/, 4,290 random digits": (b"shc:/" + _digits(4290), malformed),
    }


def _filled(item: bytes, place: bytes = b'"x":[', *, most: int = JSON_BYTES_MAX) -> bytes:
    """Forge a card of an issuer whom the gate knows, and fill a list in it with items, up to the cap."""
    text = json.dumps({**card_claims(), "x": [0]}, separators=(",", ":")).encode()
    count = min(most, (JSON_BYTES_MAX - len(text)) // len(item))
    return jws(text.replace(place, place + item * count), forged)


def _hostile_texts() -> dict[str, Attack]:
    malformed, unknown = Reason.MALFORMED, Reason.NOT_CHECKABLE
    size = PAYLOAD_BYTES_MAX
    good, shown = home_pass(), rotating.present(HOLDER_KEY, home_pass(HOLDER_KEY), NOW_S)
    return {
        "HG1, lists in lists": (b"HG1:" + base45.encode(b"\x81" * 500).encode(), malformed),
        "HG1, forged": (good[:-20].encode() + b"0" * 20, Reason.BAD_SIGNATURE),
        "HG1, random bytes": (b"HG1:" + _base45_of_random(), Reason.TOO_LARGE),
        "HG2, forged": (shown[:-20].encode() + b"0" * 20, Reason.BAD_SIGNATURE),
        "HG2, random bytes": (b"HG2:" + _base45_of_random(), Reason.TOO_LARGE),
        "4,296 random bytes": (_random(size), unknown),
        "4,296 random symbols": (_symbols(size), unknown),
        "text that breaks at its end": (b"a" * (size - 1) + b"\xff", unknown),
        "4,296 bytes of GB18030": ("健".encode("gb18030") * (size // 2), unknown),
        "an address of 4,296 dots": (b"https://".ljust(size, b"."), unknown),
        "a token of Shanghai, far too long": (b"https://s.sh.gov.cn/".ljust(size, b"0"), malformed),
        "a token of DingTalk, very long": (b"https://h5.dingtalk.com/healthAct/".ljust(size, b"%"), unknown),
        "nearly a JWS": (b"eyJ".ljust(size, b"A"), unknown),
        "a megabyte, which no QR code holds": (b"HC1:".ljust(1_000_000, b"0"), Reason.TOO_LARGE),
    }


def _random(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def _symbols(size: int) -> bytes:
    return bytes(random.Random(size).choices(base45.ALPHABET, k=size))


def _digits(size: int) -> bytes:
    return bytes(random.Random(size).choices(b"01234567", k=size))


def _base45_of_random() -> bytes:
    return base45.encode(_random((PAYLOAD_BYTES_MAX - 4) // 3 * 2)).encode("ascii")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one hostile payload cost: times in milliseconds, memory in bytes."""

    size: int
    result: CodeResult
    times_ms: list[float]
    python_bytes: int
    process_bytes: int

    @property
    def longest_ms(self) -> float:
        return max(self.times_ms)


def hostile_costs(times: int) -> dict[str, Cost]:
    """Judge every hostile payload: several times, once under `tracemalloc`, once in a process of its own."""
    attacks = hostile()
    took: dict[str, list[float]] = {name: [] for name in attacks}
    for _ in range(times):
        for name, attack in attacks.items():
            took[name].append(timed(attack.judge)() / 1e6)
    return {
        name: Cost(
            len(attack.payload),
            attack.judge(),
            took[name],
            traced_bytes(attack.judge),
            in_a_process(attack.payload),
        )
        for name, attack in attacks.items()
    }


def traced_bytes(work: Callable[[], object]) -> int:
    """Return the most that Python holds more than before while it works."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def in_a_process(payload: bytes) -> int:
    """Judge one hostile payload in a fresh process; return how far its resident memory rises."""
    command = [sys.executable, "-m", "bench.bench_codes", ONE]
    done = subprocess.run(command, input=payload, cwd=ROOT.parent, stdout=subprocess.PIPE, check=True)
    return int(done.stdout)


def judge_once(payload: bytes) -> int:
    """Be the fresh process, and judge good codes before the hostile one: this is a gate that is idle."""
    believed = trust(rules=rules())
    for good in (home_pass().encode(), certificate(), shc(jws()), shanghai(), b"text") * 3:
        Sample(good, believed, Reason.OK).judge()
    return grown_bytes(Sample(payload, believed, Reason.MALFORMED).judge)


def grown_bytes(work: Callable[[], object]) -> int:
    """Return how far the resident memory of this process rises above what it is now."""
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # the peak is now what there is: proc(5)
    before = _status_bytes("VmRSS")
    work()
    return max(0, _status_bytes("VmHWM") - before)


def _status_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def report_hostile(found: dict[str, Cost]) -> list[str]:
    limits = [
        _limit("ms, longest", found, lambda cost: cost.longest_ms, TIME_MS_MAX),
        _limit("MB, Python", found, lambda cost: cost.python_bytes / 1e6, MEMORY_MB_MAX),
        _limit("MB, process", found, lambda cost: cost.process_bytes / 1e6, MEMORY_MB_MAX),
    ]
    ordered = sorted(found.items(), key=lambda item: -median(item[1].times_ms))
    return [
        "## Codes: the worst that strangers show",
        "",
        f"{len(found)} payloads, judged {len(ordered[0][1].times_ms)} times in turns; none was believed.",
        "",
        *table(["limit", "at most", "measured", "", "of"], limits),
        "",
        *table(
            ["", "bytes", "reason", "median ms", "longest ms", "Python MB", "process MB"],
            [_cost_row(name, cost) for name, cost in ordered],
        ),
        "",
        NOTE_HOSTILE,
    ]


def _limit(what: str, found: dict[str, Cost], of: Callable[[Cost], float], at_most: float) -> list[str]:
    worst = max(found, key=lambda name: of(found[name]))
    value = of(found[worst])
    return [what, f"{at_most:.0f}", number(value, 2), verdict(value, at_most), worst]


def _cost_row(name: str, cost: Cost) -> list[str]:
    return [
        name,
        f"{cost.size:,}",
        cost.result.reason,
        number(median(cost.times_ms), 2),
        number(cost.longest_ms, 2),
        number(cost.python_bytes, 2, unit=1e6),
        number(cost.process_bytes, 2, unit=1e6),
    ]


def run(rounds: int = 11, each: int = 100, warm_up: int = 20, times: int = 15) -> list[str]:
    """Measure and return Markdown lines."""
    lines = report_verify(*verify_times(rounds, each, warm_up))
    return [*lines, "", *report_hostile(hostile_costs(times))]


def main() -> None:
    if sys.argv[1:] == [ONE]:
        print(judge_once(sys.stdin.buffer.read()))
    else:
        print("\n".join(run()))


if __name__ == "__main__":
    main()
