"""Whom a gate believes, from files and folders: each kind, and everything that may be wrong with it."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gate.checked import ConfigError
from gate.core.codes.dcc_keys import read_signer
from gate.trust_files import load_trust

CASES = Path(__file__).parent / "data/codes/dcc"


def certificate(name: str) -> bytes:
    return base64.b64decode(json.loads((CASES / name).read_text("utf-8"))["TESTCTX"]["CERTIFICATE"])


AT, FI, NOBODY = certificate("AT_1.json"), certificate("FI_1.json"), certificate("common_CO1.json")


def pem(der: bytes) -> bytes:
    body = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"


TOML = f"""
[[keys]]
issuer = "hall"
issuer_name = "Hall"
purposes = ["visitor"]
public_key = "{"0a" * 32}"
"""


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def json_web_key(secret: int) -> dict[str, str]:
    numbers = ec.derive_private_key(secret, ec.SECP256R1()).public_key().public_numbers()
    x, y = (base64url(n.to_bytes(32, "big")) for n in (numbers.x, numbers.y))
    thumbprint = json.dumps({"crv": "P-256", "kty": "EC", "x": x, "y": y}, separators=(",", ":"))
    kid = base64url(hashlib.sha256(thumbprint.encode()).digest())
    return {"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "x": x, "y": y, "kid": kid}


ISSUER = "https://cards.example/issuer"
KEY_SET = {"issuer": ISSUER, "keys": [json_web_key(7)]}
KID = KEY_SET["keys"][0]["kid"]  # type: ignore[index]  # a list
REVOKED = {"kid": KID, "method": "rid", "ctr": 1, "rids": ["MKyCxh7p6uQ"]}
RULE = {
    "Identifier": "GR-AT-0001", "Type": "Acceptance", "Country": "AT", "Version": "1.0.0",
    "SchemaVersion": "1.0.0", "Engine": "CERTLOGIC", "EngineVersion": "1.0.0", "CertificateType": "General",
    "Description": [{"lang": "en", "desc": "Exactly one kind."}], "AffectedFields": ["v"],
    "ValidFrom": "2021-01-01T00:00:00Z", "ValidTo": "2031-01-01T00:00:00Z", "Logic": True,
}  # fmt: skip


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def problems(*paths: Path) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load_trust(paths)
    return list(raised.value.problems)


def test_nothing_is_believed_without_files() -> None:
    trust = load_trust([])
    assert (trust.keys, trust.signers, trust.rules, trust.card_issuers) == ((), (), (), ())


def test_one_folder_with_a_file_of_each_kind(tmp_path: Path) -> None:
    write(tmp_path / "home.toml", TOML.encode())
    write(tmp_path / "at.der", AT)
    write(tmp_path / "both.PEM", b"Subject: someone\n" + pem(AT) + b"\n" + pem(FI))
    write(tmp_path / "de/foreign.cer", NOBODY)
    write(tmp_path / "cards/jwks.json", KEY_SET)
    write(tmp_path / "cards/crl.json", REVOKED)
    write(tmp_path / "rules.json", [RULE])
    write(tmp_path / "README.md", b"\xff")
    write(tmp_path / ".hidden", b"\xff")
    write(tmp_path / ".git/x.toml", b"\xff")
    trust = load_trust([tmp_path])
    assert [key.issuer for key in trust.keys] == ["hall"]
    assert [signer.country for signer in trust.signers] == ["AT", "AT", "FI", "DE"]
    assert [rule.identifier for rule in trust.rules] == ["GR-AT-0001"]
    (issuer,) = trust.card_issuers
    assert issuer.url == ISSUER
    assert list(issuer.revoked) == [KID]


def test_a_folder_named_by_two_letters_is_the_country(tmp_path: Path) -> None:
    for folder, country in (
        ("de", "DE"),
        ("XI", "XI"),
        ("eu", "AT"),
        ("EU", "AT"),
        ("all", "AT"),
        ("a1", "AT"),
    ):
        (signer,) = load_trust([write(tmp_path / folder / "x.crt", AT)]).signers
        assert signer.country == country


def test_a_signer_is_what_its_certificate_says(tmp_path: Path) -> None:
    assert load_trust([write(tmp_path / "x.der", AT)]).signers == (read_signer(AT),)
    assert load_trust([write(tmp_path / "x.pem", pem(AT))]).signers == (read_signer(AT),)


def listed(der: bytes = AT, **changes: Any) -> dict[str, Any]:
    return {
        "kid": base64.b64encode(b"12345678").decode(),
        "rawData": base64.b64encode(der).decode(),
        **changes,
    }


def test_a_published_list_of_signers(tmp_path: Path) -> None:
    entries = [listed(country="de"), listed(), listed(NOBODY, country="SE"), listed(kid=None)]
    for document in (entries, {"certificates": entries}):
        signers = load_trust([write(tmp_path / "list.json", document)]).signers
        assert [signer.country for signer in signers] == ["DE", "AT", "SE", "AT"]
        assert [signer.kid for signer in signers] == [b"12345678"] * 3 + [read_signer(AT).kid]
    (signer,) = load_trust([write(tmp_path / "ch/list.json", listed())]).signers
    assert signer.country == "CH"
    assert load_trust([write(tmp_path / "empty.json", [])]).signers == ()


def test_home_keys_may_be_named_in_a_file_of_any_name(tmp_path: Path) -> None:
    assert len(load_trust([write(tmp_path / "keys.conf", TOML.encode())]).keys) == 1
    (problem,) = problems(tmp_path)
    assert problem.startswith(
        f"{tmp_path / 'keys.conf'}: is no kind of file that is known here (.toml, .json"
    )


def test_rules_and_signers_may_stand_in_one_list_or_alone(tmp_path: Path) -> None:
    trust = load_trust([write(tmp_path / "a.json", RULE), write(tmp_path / "b.json", [RULE, listed()])])
    assert (len(trust.rules), len(trust.signers)) == (2, 1)


PRIVATE = ec.derive_private_key(7, ec.SECP256R1()).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.pem", b"hello", "is not a certificate that can be read"),
        ("a.pem", PRIVATE, "holds more than certificates; a private key"),
        ("a.pem", pem(b"x").replace(b"e", b"?"), "is not base64"),
        ("a.pem", pem(AT) + PRIVATE, "holds more than certificates; a private key has no place at a gate"),
        ("a.pem", pem(AT) + pem(FI)[:-30], "holds more than certificates"),
        ("a.pem", pem(AT) + pem(b"x"), "certificate 2 is not a certificate that can be read"),
        ("a.der", NOBODY, "names no country; put it into a folder that is named by the two letters"),
        ("a.der", b"", "is not a certificate that can be read"),
        ("a.json", b"{", "not valid JSON: "),
        ("a.json", b"[" * 100_000, "not valid JSON: "),
        ("a.json", b"\xff", "not valid JSON: "),
        ("a.json", {}, "is neither a signer (rawData), nor a key set (issuer, keys), nor what"),
        ("a.json", [RULE, {}], "[1]: is neither a signer (rawData)"),
        ("a.json", {"keys": []}, 'is a key set that does not say whose; add "issuer"'),
        ("a.json", {"issuer": "x", "keys": []}, "issuer: must be an https URL"),
        ("a.json", {"issuer": ISSUER, "keys": 7}, f"{ISSUER}: keys: must be a list"),
        ("a.json", REVOKED, "calls back cards of a key that is in 0 key sets of its folder"),
        ("a.json", {**RULE, "Identifier": 7}, "Identifier"),
        ("a.json", [RULE, {**RULE, "Identifier": 7}], "[1]: "),
        ("a.json", listed(b"x"), "is not a certificate that can be read"),
        ("a.json", [listed(), listed(rawData="?")], "[1]: rawData: is not base64"),
        ("a.json", listed(rawData=7), "rawData: is not base64"),
        ("a.json", listed(rawData="ä"), "rawData: is not base64"),
        ("a.json", listed(kid="?"), "kid: is not base64"),
        ("a.json", listed(country="Austria"), "country: must be two letters"),
        ("a.json", listed(NOBODY), "names no country"),
        ("a.toml", b"[keys\n", "not valid TOML: "),
        ("a.toml", b"a = '\xff'", "cannot be read: 'utf-8' codec"),
        ("a.toml", b"a = " + b"[" * 5000, "not valid TOML: "),
        ("a.toml", b"a = 1", "must hold a list named 'keys'"),
    ],
)
def test_what_may_be_wrong_with_a_file(tmp_path: Path, name: str, content: object, problem: str) -> None:
    found = problems(write(tmp_path / name, content))
    assert len(found) == 1
    assert found[0].startswith(f"{tmp_path / name}: ")
    assert problem in found[0]


def test_every_problem_of_every_file_at_once(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [listed(kid="?"), {}, listed(b"x")])
    write(tmp_path / "b.toml", b"a = 1")
    write(tmp_path / "c.json", {"issuer": "x", "keys": []})
    missing = tmp_path / "none.toml"
    found = problems(tmp_path, missing, Path("\0"))
    assert len(found) == 7
    assert f"{missing}: no such file or folder" in found
    assert any(problem.startswith("\\x00: cannot be read: ") for problem in found)


def test_what_an_issuer_has_called_back_belongs_to_its_key(tmp_path: Path) -> None:
    other = {"issuer": ISSUER + "/2", "keys": [json_web_key(8)]}
    write(tmp_path / "one.json", KEY_SET)
    write(tmp_path / "two.json", other)
    write(tmp_path / "crl.json", REVOKED)
    issuers = {issuer.url: issuer for issuer in load_trust([tmp_path]).card_issuers}
    assert [len(issuers[url].revoked) for url in (ISSUER, ISSUER + "/2")] == [1, 0]
    write(tmp_path / "three.json", {**KEY_SET, "issuer": ISSUER + "/3"})
    (problem,) = problems(tmp_path)
    assert "a key that is in 2 key sets of its folder" in problem


def test_an_issuer_has_one_key_set(tmp_path: Path) -> None:
    write(tmp_path / "one.json", KEY_SET)
    write(tmp_path / "two.json", KEY_SET)
    assert problems(tmp_path) == [f"issuer {ISSUER}: has 2 key sets"]


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert len(load_trust([write(tmp_path / "a.toml", b"\xef\xbb\xbf" + TOML.encode())]).keys) == 1
    assert (
        len(load_trust([write(tmp_path / "a.json", b"\xef\xbb\xbf" + json.dumps(RULE).encode())]).rules) == 1
    )


def test_value_sets_are_for_rules(tmp_path: Path) -> None:
    vaccines = {"valueSetId": "vaccines", "valueSetValues": {"EU/1/20/1528": {"display": "x"}, "A": {}}}
    trust = load_trust([write(tmp_path / "sets.json", vaccines)])
    assert trust.value_sets == {"vaccines": ["A", "EU/1/20/1528"]}
