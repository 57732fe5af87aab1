"""The benchmarks do what they say, with counts so small that their times mean nothing."""

import os
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from pytest import approx, mark

from bench import __main__ as everything
from bench import bench_codes, bench_ledger, bench_relay, bench_rules, bench_service
from bench.floor import Disk, Floor, Measured, Round, Written, interleave, number, table, timed, verdict
from bench.visit import decided_visit
from gate.app.judging import read_evidence
from gate.config import load_policy, policy_names
from gate.core.codes import PAYLOAD_BYTES_MAX, Format, Reason
from gate.core.codes.business_rules import BusinessRule
from gate.core.codes.model import CodeResult
from gate.core.codes.shc import JSON_BYTES_MAX
from gate.core.codes.shc_keys import decode_base64url
from gate.core.events import Kind
from gate.core.policy import Verdict, policy_hash
from gate.core.rules import decide
from gate.shell.clock import SystemClock
from gate.store.ledger import verify

ABSOLUTE_PATH = re.compile(r"/(home|root|work|tmp|usr|var)/")


def a_round(times_us: Sequence[float], written: int = 0) -> Round:
    return Round(list(times_us), Written(written, written, 1))


def first_cells(lines: list[str]) -> list[str]:
    return [line.split("|")[1].strip() for line in lines if line.startswith("|")]


def test_the_floor_appends_and_says_how_long_it_took(tmp_path: Path) -> None:
    with Floor(tmp_path / "floor") as floor:
        assert floor.append(b"one ") > 0
        assert floor.append(b"two") > 0
    assert (tmp_path / "floor").read_bytes() == b"one two"


def test_rounds_alternate_and_leave_the_warm_up_out(tmp_path: Path) -> None:
    order: list[str] = []
    actions = {name: timed(partial(order.append, name)) for name in "ab"}
    found = interleave(actions, Disk(tmp_path), rounds=2, each=3, warm_up=1)
    assert "".join(order) == "ab" + "aaabbb" * 2
    assert [len(one.times_us) for one in found["a"].rounds] == [3, 3]


def test_a_ratio_is_taken_round_by_round_so_that_a_busy_moment_counts_for_both() -> None:
    floor = Measured([a_round([10, 10]), a_round([20, 20]), a_round([1000, 1000])])
    own = Measured([a_round([20, 20]), a_round([60, 60]), a_round([1000, 1000])])
    assert own.ratio(floor) == 2
    assert own.spread(floor) == "2.00 (1.00 to 3.00)"


def test_median_and_99th_percentile_are_of_all_times_and_bytes_of_one_action() -> None:
    own = Measured([a_round(range(50), 5000), a_round(range(50, 100), 7000)])
    assert own.p50_us == 49.5
    assert own.p99_us == 99
    assert own.per_action(lambda written: written.by_process_bytes) == 120


def test_what_the_kernel_does_not_count_is_a_dash_and_no_verdict() -> None:
    own = Measured([Round([1.0], Written(0, None, None))])
    assert own.per_action(lambda written: written.flushes) is None
    assert number(None) == "-"
    assert verdict(None, 1) == "not known here"
    assert verdict(1.0, 1) == "kept"
    assert "missed" in verdict(1.01, 1)


def test_bytes_written_are_seen() -> None:
    folder = Path(__file__).parent
    disk = Disk(folder)
    before = disk.counts()
    path = folder / f".bench-{os.getpid()}"
    try:
        with Floor(path) as floor:
            floor.append(bytes(1_000_000))
        assert disk.since(before).by_process_bytes >= 1_000_000
    finally:
        path.unlink()


def test_sectors_and_flushes_are_taken_from_their_places_in_the_statistics(tmp_path: Path) -> None:
    # Documentation/block/stat.rst: the 7th number counts sectors written, the 16th flushes.
    disk, stat = Disk(tmp_path), tmp_path / "stat"
    disk._stat = stat
    stat.write_text(" ".join(str(place) for place in range(1, 18)))
    counted = disk.counts()
    assert (counted.on_disk_bytes, counted.flushes) == (7 * 512, 16)
    stat.write_text(" ".join(str(place) for place in range(1, 12)))
    assert disk.counts().flushes is None, "a kernel before 5.5 does not count flushes"
    disk._stat = None
    assert disk.since(counted).on_disk_bytes is None


def test_the_visit_that_is_measured_is_a_real_one() -> None:
    event = decided_visit(SystemClock(lambda: True))
    assert event.kind is Kind.VISIT_DECIDED
    assert event.data["stage"] == "authorised"
    assert event.data["evidence"]["code"]["authenticity"] == "verified"


def test_the_ledger_benchmark_writes_good_records(tmp_path: Path) -> None:
    size, found = bench_ledger.measure(tmp_path, rounds=2, each=3, warm_up=1)
    assert 1000 < size < 1800
    assert list(found) == [
        bench_ledger.FLOOR,
        bench_ledger.APPEND,
        bench_ledger.COMMIT,
        bench_ledger.MEMORY,
    ]
    checked = verify(tmp_path / "1.db")
    assert checked.ok
    assert checked.records == 1 + 1 + 2 * 3
    assert (tmp_path / "floor").stat().st_size == size * (1 + 2 * 3)
    lines = bench_ledger.report(size, found)
    assert first_cells(lines)[2:6] == list(found)
    assert sum("×" in line and line.startswith("|") for line in lines) == 3


def test_a_commit_without_encoding_is_a_part_of_the_whole() -> None:
    clock = SystemClock(lambda: True)
    event, ledger = decided_visit(clock), bench_ledger.a_ledger(":memory:")
    parts = bench_ledger.without_encoding(lambda: ledger.append(event, clock.now()))
    whole_ns = timed(lambda: took.append(parts()))
    took: list[int] = []
    assert whole_ns() > took[0] > 0
    ledger.close()


def test_the_relay_benchmark_lets_visitors_through(tmp_path: Path) -> None:
    found, stages = bench_relay.measure(tmp_path, rounds=2, each=2, warm_up=1)
    assert list(found) == [bench_relay.FLOOR, bench_relay.MASK_LAST, bench_relay.CODE_LAST]
    for name, each in stages.items():
        assert len(each) == len(bench_relay.STAGES)
        assert min(each) > 0, f"{name}: a stage that takes no time was not passed in order"
    checked = verify(tmp_path / "ledger.db")
    assert checked.ok
    assert checked.records == 2 + 2 * (1 + 2 * (1 + 2 * 2)), "started, stopped, and two for each visit"
    assert first_cells(bench_relay.report(found, stages))[2:5] == list(found)


def test_the_stages_add_up_to_the_whole_way() -> None:
    stamps = bench_relay.Stamps(1000, 3000, 6000, 10_000, 15_000, 21_000)
    assert stamps.stages_us() == [2, 3, 4, 5, 6]


@mark.soak
@mark.timeout(60)
def test_the_service_benchmark_serves_a_visitor_and_measures_both_processes(tmp_path: Path) -> None:
    found = bench_service.measure(tmp_path, starts=1, visits=1)
    assert len(found.serving_s) == len(found.bare_s) == 1
    assert found.serving_s[0] > 0
    for memory in (found.service, found.camera, found.bare):
        assert 5 < memory.pss_mb <= memory.rss_mb < 1000
    assert verify(tmp_path / "state-0" / "ledger.db").ok
    rows = first_cells(bench_service.report(found))
    assert rows[2:5] == ["service", "camera child", "together"]


def test_memories_add_up() -> None:
    both = bench_service.Memory(1.5, 2) + bench_service.Memory(2, 3)
    assert (both.pss_mb, both.rss_mb) == approx((3.5, 5))


def test_each_code_is_judged_beside_the_check_of_its_signature() -> None:
    codes, found = bench_codes.verify_times(rounds=2, each=1, warm_up=0)
    assert [len(one.rounds) for one in found.values()] == [2] * (len(codes) + 4)
    formats = {sample.judge().format for sample in codes.values()}
    assert formats == {Format.HOME, Format.DCC, Format.SHC, Format.CN_HEALTH, Format.TEXT}
    rows = {
        line.split("|")[1].strip(): line for line in bench_codes.report_verify(codes, found) if "|" in line
    }
    assert set(codes) <= set(rows)
    for name, sample in codes.items():
        assert (sample.reason is Reason.OK) == bool(sample.bare) == ("(" in rows[name])


@mark.parametrize("rule", bench_codes.rules(), ids=lambda rule: rule.identifier)
def test_each_rule_is_asked_about_the_certificate(rule: BusinessRule) -> None:
    sample = bench_codes.Sample(
        bench_codes.certificate(), bench_codes.trust(rules=bench_codes.rules()), Reason.OK
    )
    assert sample.judge().reason is Reason.OK
    turned = replace(sample.trust, rules=(replace(rule, logic={"!": [rule.logic]}),))
    assert sample._replace(trust=turned).judge().reason is Reason.RULES_NOT_MET


HOSTILE = bench_codes.hostile()


@mark.parametrize("name", HOSTILE)
def test_a_hostile_payload_fits_a_code_and_gets_as_far_as_it_says(name: str) -> None:
    attack = HOSTILE[name]
    judged = attack.judge()
    assert judged.reason is attack.reason
    assert not judged.verified
    assert (len(attack.payload) <= PAYLOAD_BYTES_MAX) == ("which no QR code holds" not in name)


@mark.parametrize("name", [name for name in HOSTILE if name.startswith("JWS, 64 KiB")])
def test_a_card_that_is_as_large_as_can_be_is_that(name: str) -> None:
    body = decode_base64url(HOSTILE[name].payload.split(b".")[1])
    size = len(zlib.decompress(body, wbits=-zlib.MAX_WBITS))
    assert 0.4 * JSON_BYTES_MAX < size <= JSON_BYTES_MAX, size
    assert size > 0.9 * JSON_BYTES_MAX or "escapes" in name


def test_memory_that_is_taken_is_seen() -> None:
    taken = 40_000_000  # above what the C library keeps at hand
    for peak in (bench_codes.traced_bytes, bench_codes.grown_bytes):
        assert peak(lambda: b"x" * taken) > 0.95 * taken
        assert peak(lambda: None) < 0.05 * taken


@mark.timeout(60)
def test_the_memory_of_a_fresh_process_is_its_own_whatever_this_one_holds() -> None:
    # `ru_maxrss` would begin with what this process holds, and show no rise at all.
    ballast = b"x" * 100_000_000
    grown = bench_codes.in_a_process(HOSTILE["JWS, 64 KiB of empty texts"].payload)
    assert 500_000 < grown < 20_000_000 < len(ballast)


def test_the_worst_payload_is_named_with_its_limit() -> None:
    judged = CodeResult(Format.UNKNOWN, Reason.MALFORMED)
    found = {
        "slow": bench_codes.Cost(1, judged, [1.0, 51.0], 1_000_000, 0),
        "large": bench_codes.Cost(2, judged, [2.0, 2.0], 2_000_000, 33_000_000),
    }
    rows = [line.strip("| ").split(" | ") for line in bench_codes.report_hostile(found) if "|" in line]
    assert rows[2] == ["ms, longest", "50", "51.00", "**missed**", "slow"]
    assert rows[3] == ["MB, Python", "32", "2.00", "kept", "large"]
    assert rows[4] == ["MB, process", "32", "33.00", "**missed**", "large"]
    assert [row[0] for row in rows[7:]] == ["slow", "large"], "the slowest first, by its median"


def test_mixed_evidence_is_the_same_each_time_and_leads_to_every_verdict() -> None:
    evidence = bench_rules.mixed(300)
    assert evidence == bench_rules.mixed(300)
    for name in policy_names():
        plan = load_policy(name)
        verdicts = {decide(plan, policy_hash(plan), read_evidence(form)).verdict for form in evidence}
        assert verdicts >= {Verdict.ADMIT, Verdict.REFER, Verdict.REFUSE}, name


def test_every_plan_decides_all_the_evidence(tmp_path: Path) -> None:
    found = bench_rules.decisions(rounds=2, each=100)
    assert sorted(found) == sorted(policy_names())
    assert len(found) == 11
    for rate in found.values():
        assert len(rate.per_s) == 2
        assert rate.verdicts.total() == 200
    lines = bench_rules.report_decisions(found, [1.0], bench_rules.replays(tmp_path, rounds=1, each=5))
    assert first_cells(lines)[2:13] == list(found)


@mark.timeout(60)
def test_the_judge_command_answers_each_line(tmp_path: Path) -> None:
    assert len(bench_rules.judge_lines(tmp_path, rounds=1, each=300)) == 1  # it counts the answers itself


def test_the_slowest_plan_is_held_to_the_limit() -> None:
    found = {
        "quick": bench_rules.Rate([50_000.0], Counter({Verdict.ADMIT: 1})),
        "slow": bench_rules.Rate([9_999.0], Counter({Verdict.REFER: 1})),
    }
    text = "\n".join(bench_rules.report_decisions(found, [1.0], {}))
    assert "| decisions/s, slowest plan (slow) | 10,000 | 9,999 | **missed** |" in text


def test_a_record_with_a_use_is_measured_beside_one_without(tmp_path: Path) -> None:
    found = bench_rules.uses(tmp_path, rounds=2, each=3, warm_up=1)
    counts = {}
    for name in ("without", "with"):
        assert verify(tmp_path / f"{name}.db").records >= 1 + 2 * 3
        ledger = bench_ledger.a_ledger(tmp_path / f"{name}.db")
        counts[name] = len(ledger.uses())
        ledger.close()
    assert counts == {"without": 0, "with": 1 + 2 * 3}
    assert first_cells(bench_rules.report_uses(found))[2:] == list(found)


def test_a_table_has_its_rule_and_its_rows() -> None:
    assert table(["a", "b"], [["1", "2"]]) == ["| a | b |", "| --- | ---: |", "| 1 | 2 |"]


def test_every_benchmark_is_found_and_can_be_run() -> None:
    wanted = {"bench_codes", "bench_ledger", "bench_relay", "bench_rules", "bench_service"}
    assert wanted <= set(everything.names())


def test_the_heading_names_versions_and_neither_host_nor_path() -> None:
    text = "\n".join(everything.heading())
    assert re.search(r"date: \d{4}-\d\d-\d\d \d\d:\d\d UTC", text)
    assert "Python 3." in text
    assert "cores" in text
    assert os.uname().nodename not in text
    assert not ABSOLUTE_PATH.search(text)
