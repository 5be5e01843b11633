# SPDX-License-Identifier: Apache-2.0
"""Several generations of each question through the command: killed in the middle and resumed, compared, and shown."""

from __future__ import annotations

import importlib.util
import json
import signal
from pathlib import Path

import pytest

from helpers import evaluations as shared

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("inspect_ai") is None, reason="the extra `eval` is not installed"),
    pytest.mark.timeout(900),
]
COUNT, K = 40, 4


def words(tmp_path: Path, url: str, *more: object) -> list[object]:
    source = tmp_path / "medqa"
    if not source.is_dir():
        shared.medqa(source, COUNT)
    known = ["--tasks", "medqa", "--sources", f"medqa={source}", "--prompt", "medix", "--generations", K]
    return [url, *known, "--temperature", "0.7", *more]


def test_a_killed_run_of_several_generations_ends_as_a_clean_one(tmp_path: Path) -> None:
    with shared.serving("--latency-ms", "60") as server:
        clean = shared.evaluate(*words(tmp_path, server.url, "--connections", 8, "--out", tmp_path / "clean"))
        assert clean.returncode == 0, clean.stderr
        asked = server.stats()["requests"]
        run = shared.begin(*words(tmp_path, server.url, "--connections", 8, "--out", tmp_path / "killed"))
        server.wait_for(asked + COUNT * K // 2)
        run.send_signal(signal.SIGKILL)
        run.wait(30)
        for changed, ended in (("--generations=5", "settings.generations 4, now it is 5"), ("--top-p=0.5", "top_p")):
            refused = shared.evaluate(*words(tmp_path, server.url, changed, "--resume", "--out", tmp_path / "killed"))
            assert refused.returncode == 1 and ended in refused.stderr
        before = server.stats()["requests"]
        resumed = shared.evaluate(*words(tmp_path, server.url, "--resume", "--out", tmp_path / "killed"))
        assert resumed.returncode == 0, resumed.stderr
        # The answers that were there were not asked again; those under way were.
        assert server.stats()["requests"] - before <= COUNT * K // 2 + 8
    assert shared.records(tmp_path / "killed") == shared.records(tmp_path / "clean")
    assert shared.summary(tmp_path / "killed") == shared.summary(tmp_path / "clean")
    lines = shared.records(tmp_path / "clean")["medqa.jsonl"]
    assert len(lines) == COUNT * K and {line["repeat"] for line in lines} == {1, 2, 3, 4}
    drawn = [{line["response"] for line in lines if line["id"] == name} for name in {line["id"] for line in lines}]
    assert all(len(texts) == K for texts in drawn)  # each generation has its own seed


def test_pass_at_k_in_table_comparison_report_and_after_judging_again(tmp_path: Path) -> None:
    with shared.serving() as server:
        for name, seed in (("before", 0), ("after", 1000)):
            done = shared.evaluate(*words(tmp_path, server.url, "--seed", seed, "--out", tmp_path / name))
            assert done.returncode == 0, done.stderr
            assert "pass@1" in done.stdout and "pass@4" in done.stdout and "maj@4" in done.stdout
    figures = shared.summary(tmp_path / "after")["tasks"][0]["generations"]
    lines = shared.records(tmp_path / "after")["medqa.jsonl"]
    right = {name: sum(line["value"] for line in lines if line["id"] == name) for name in {it["id"] for it in lines}}
    assert figures["average"]["value"] == pytest.approx(sum(right.values()) / COUNT / K)
    assert figures["passes"]["1"]["value"] == pytest.approx(figures["average"]["value"])
    assert figures["passes"]["4"]["value"] == pytest.approx(sum(map(bool, right.values())) / COUNT)
    ended = shared.evaluate("compare", tmp_path / "before", tmp_path / "after", "--out", tmp_path / "compared.json")
    assert ended.returncode == 0, ended.stderr
    assert "medqa pass@1" in ended.stdout and "medqa pass@4" in ended.stdout and "medqa maj@4" in ended.stdout
    compared = json.loads((tmp_path / "compared.json").read_text())["generations"]["medqa"]
    assert compared["pass@4"]["mean_b"] == pytest.approx(figures["passes"]["4"]["value"])
    again = shared.evaluate("rejudge", tmp_path / "after", "--judge", "rule", "--out", tmp_path / "ruled")
    assert again.returncode == 0, again.stderr
    assert shared.summary(tmp_path / "ruled")["tasks"][0]["generations"] == figures
    from medix_verl.cli.main import main

    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "after"), "--compare", str(tmp_path / "before"), "--out", str(page)]) == 0
    text = page.read_text()
    assert text.count("pass@4") == 2 and "Several answers to each question: acc@1" in text
