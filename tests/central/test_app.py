"""The composition root: what may fail without keeping the centre from its work."""

import re
import socket
from contextlib import closing
from pathlib import Path

import pytest

from central.app import serve_metrics
from central.config import MetricsSection
from central.metrics import Metrics
from tests.brokers import HOST, free_port

LABELS = {"central_alarms_standing": "kind", "central_gates": "state"}


def test_a_port_that_is_taken_is_named_and_keeps_nobody_out(caplog: pytest.LogCaptureFixture) -> None:
    with closing(socket.create_server((HOST, 0))) as taken:
        port = taken.getsockname()[1]
        assert serve_metrics(MetricsSection(port, HOST), Metrics()) is None
    assert f"no metrics: cannot listen at {HOST}:{port} (" in caplog.text


def test_a_free_port_answers_and_without_a_port_nobody_is_asked() -> None:
    server = serve_metrics(MetricsSection(free_port(), HOST), Metrics())
    assert server is not None
    server.close()
    assert serve_metrics(MetricsSection(), Metrics()) is None


def test_the_figures_are_explained() -> None:
    text = Path("docs/metrics.md").read_text().split("## Of the centre")[1]
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]*) \| (.*) \|$", text, re.MULTILINE)
    expected = []
    for family in Metrics().registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        expected.append((name, LABELS.get(family.name, ""), family.documentation))
    assert rows == expected
    assert set(re.findall(r"\bcentral_[a-z_]+", text)) == {name for name, _, _ in expected}
