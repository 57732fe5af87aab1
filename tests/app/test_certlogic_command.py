"""`gate certlogic` as people and scripts meet it: the published suites, failures in words, wrong use."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gate.cli.certlogic import certlogic

SUITES = Path(__file__).parent.parent / "data" / "codes" / "certlogic" / "suite"
SUM = {"+": [{"var": "a"}, 1]}


def run(*words: object) -> Result:
    return CliRunner().invoke(certlogic, [str(word) for word in words], catch_exceptions=False)


def assertion(expected: object, **more: object) -> dict[str, object]:
    return {"data": {"a": 1}, "expected": expected, **more}


def case(*assertions: object, **more: object) -> dict[str, object]:
    return {"name": "sum", "certLogicExpression": SUM, "assertions": list(assertions), **more}


def suite(folder: Path, *cases: object, name: str = "suite.json", **more: object) -> Path:
    file = folder / name
    file.write_text(json.dumps({"name": "own", "cases": list(cases), **more}))
    return file


def outcome(file: Path) -> tuple[int, int, int]:
    result = run("--suite", file, "--json")
    found = json.loads(result.stdout)
    assert set(found) == {"file", "passed", "failed", "skipped", "failures"}
    assert found["file"] == str(file)
    assert len(found["failures"]) == found["failed"]
    assert result.exit_code == (1 if found["failed"] else 0)
    return found["passed"], found["failed"], found["skipped"]


def test_all_published_suites_pass() -> None:
    result = run("--suite", SUITES)
    assert (result.exit_code, result.stdout) == (0, "218 passed, 0 failed, 14 skipped\n")


def test_each_file_gives_one_object_that_says_what_it_skips() -> None:
    result = run("--suite", SUITES, "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(row["file"]) for row in rows] == sorted(SUITES.glob("*.json"))
    skipped = {Path(row["file"]).name: row["skipped"] for row in rows if row["skipped"]}
    assert skipped == {"ins-with-nulls.json": 4, "patched-reduce.json": 10}
    assert all(row["passed"] + row["skipped"] > 0 and not row["failed"] for row in rows)


def test_files_and_folders_add_up() -> None:
    result = run("--suite", SUITES / "if.json", "--suite", SUITES / "in.json")
    assert result.stdout == "12 passed, 0 failed, 0 skipped\n"


def test_a_failure_says_what_was_expected_and_what_came(tmp_path: Path) -> None:
    broken = {"var": 0}
    file = suite(
        tmp_path,
        case(assertion(2), assertion(3, message="one more"), assertion(2, certLogicExpression=broken)),
    )
    result = run("--suite", file)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{file}: sum: one more: expected 3, got 2",
        f'{file}: sum: #3: expected 2, got The path of "var" must be a text.',
        "1 passed, 2 failed, 0 skipped",
    ]
    row = json.loads(run("--suite", file, "--json").stdout)
    assert row["failures"] == [
        {"case": "sum", "message": "one more", "expected": 3, "got": 2},
        {
            "case": "sum",
            "message": "#3",
            "expected": 2,
            "got": None,
            "error": 'The path of "var" must be a text.',
        },
    ]


def test_an_assertion_may_bring_its_own_expression_or_lack_one(tmp_path: Path) -> None:
    own = case(assertion(True, certLogicExpression=True), certLogicExpression=None)
    assert outcome(suite(tmp_path, own)) == (1, 0, 0)
    assert outcome(suite(tmp_path, case(assertion(False, certLogicExpression=False)))) == (1, 0, 0)
    assert outcome(suite(tmp_path, case(assertion(2), certLogicExpression=None))) == (0, 1, 0)


def test_results_are_compared_as_json(tmp_path: Path) -> None:
    def gives(expression: object, expected: object) -> bool:
        return outcome(suite(tmp_path, case(assertion(expected), certLogicExpression=expression))) == (
            1,
            0,
            0,
        )

    assert gives({"var": ""}, {"a": 1})
    twins = {"data": {"a": 1, "b": 2}, "expected": {"b": 2, "a": 1}}
    assert outcome(suite(tmp_path, case(twins, certLogicExpression={"var": ""}))) == (1, 0, 0)
    assert gives({"plusTime": ["2021-06", 0, "day"]}, "2021-06-30T00:00:00.000Z")
    assert not gives(True, 1)
    assert not gives(0, False)
    assert not gives({"var": "b"}, False)


@pytest.mark.parametrize(
    ("cases", "more", "counts"),
    [
        ([case(assertion(2), assertion(9, directive="skip"))], {}, (1, 0, 1)),
        ([case(assertion(9), assertion(9), directive="skip"), case(assertion(2))], {}, (1, 0, 2)),
        ([case(assertion(9)), case(assertion(2))], {"directive": "skip"}, (0, 0, 2)),
        ([case(assertion(9)), case(assertion(2), directive="only")], {}, (1, 0, 1)),
        ([case(assertion(2), directive="only"), case(assertion(9), directive="skip")], {}, (1, 0, 1)),
        ([case(assertion(9), assertion(2, directive="only"))], {}, (1, 1, 0)),
        ([case(assertion(2))], {"directive": "only"}, (1, 0, 0)),
        ([], {}, (0, 0, 0)),
    ],
    ids=["assertion", "case", "suite", "only case", "only and skip", "only assertion", "only suite", "empty"],
)
def test_directives(tmp_path: Path, cases: list[object], more: dict[str, object], counts: object) -> None:
    assert outcome(suite(tmp_path, *cases, **more)) == counts


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe\xff", "is not JSON"),
        (b'{"name": "x", "cases": NaN}', "NaN is not a JSON number"),
        (b"[" * 100_000, "nested too deep"),
        (b"[" * 400 + b"]" * 400, "nested too deep"),
        (b'{"cases":' * 400 + b"1" + b"}" * 400, "nested too deep"),
        (b"[]", 'the file has no list "cases"'),
        (b'{"name": "x"}', 'the file has no list "cases"'),
        (b'{"cases": {}}', 'the file has no list "cases"'),
        (b'{"cases": [1]}', 'the file has no list "cases"'),
        (b'{"cases": [{"name": "y"}]}', "the case 'y' has no list \"assertions\""),
        (b'{"cases": [{"assertions": [5]}]}', 'no list "assertions"'),
        (b'{"cases": [{"assertions": [{"data": 1}]}]}', '"expected"'),
        (b'{"cases": [{"assertions": [{"expected": 1}]}]}', '"data"'),
        (b'{"cases": [], "directive": "skp"}', '"directive"'),
        (b'{"cases": [{"assertions": [], "directive": ["skip"]}]}', '"directive"'),
        (b'{"cases": [{"assertions": [{"data": 1, "expected": 1, "directive": 1}]}]}', '"directive"'),
    ],
    ids=range(17),
)
def test_a_file_that_is_no_suite_is_wrong_use(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "no-suite.json"
    file.write_bytes(content)
    result = run("--suite", file)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"{file}: ")
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_every_unusable_file_is_named_and_nothing_is_run(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.json").write_text("[]")
    result = run(
        "--suite", tmp_path / "absent", "--suite", tmp_path / "empty", "--suite", tmp_path, "--suite", SUITES
    )
    assert (result.exit_code, result.stdout) == (2, "")
    absent, empty, bad = result.stderr.splitlines()
    assert absent == f"{tmp_path / 'absent'}: cannot be read (No such file or directory)"
    assert empty == f"{tmp_path / 'empty'}: the folder holds no *.json file"
    assert bad.startswith(f"{tmp_path / 'bad.json'}: ")


def test_no_suite_at_all_is_wrong_use() -> None:
    result = run()
    assert result.exit_code == 2
    assert "--suite" in result.stderr


def test_texts_of_strangers_stay_on_their_line(tmp_path: Path) -> None:
    hostile = case(assertion("\ud800\x1b[2J", message="a\nb\x1b\ud800"), name="健康\r")
    result = run("--suite", suite(tmp_path, hostile))
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2
    assert "健康" in result.stdout
    assert not {"\x1b", "\r", "\ud800"} & set(result.stdout)


def test_long_values_are_cut_on_the_line_and_whole_in_json(tmp_path: Path) -> None:
    file = suite(tmp_path, case(assertion("x" * 5_000)))
    assert len(run("--suite", file).stdout.splitlines()[0]) < 600
    assert json.loads(run("--suite", file, "--json").stdout)["failures"][0]["expected"] == "x" * 5_000


def test_one_is_one_however_it_is_written_and_true_is_not(tmp_path: Path) -> None:
    case = {"name": "n", "certLogicExpression": {"var": "n"}, "assertions": []}
    case["assertions"] = [{"data": {"n": 1.0}, "expected": 1}, {"data": {"n": True}, "expected": 1}]
    file = tmp_path / "suite.json"
    file.write_text(json.dumps({"name": "numbers", "cases": [case]}))
    result = CliRunner().invoke(certlogic, ["--suite", str(file), "--json"])
    found = json.loads(result.stdout)
    assert (found["passed"], found["failed"]) == (1, 1)
