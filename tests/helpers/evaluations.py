# SPDX-License-Identifier: Apache-2.0
"""What the tests of evaluations share: small sets in their published layout, mock servers, and the command itself."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from helpers.places import ROOT

LIMIT_S = 150.0


def medqa(folder: Path, count: int) -> Path:
    """MedQA's test split with made-up questions."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "id": f"test-{number:05d}",
            "sent1": f"Which drug helps patient {number}?",
            "sent2": "",
            **{f"ending{place}": f"drug {place} of {number}" for place in range(4)},
            "label": number % 4,
        }
        for number in range(count)
    ]
    (folder / "test.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


class Server:
    """A mock server in a process of its own, which can be killed and started again at its port."""

    def __init__(self, *flags: str) -> None:
        self.flags = flags
        self.port = 0
        self.start()

    def start(self) -> None:
        words = [sys.executable, "-m", "medix_verl.evaluation.models.mock", "--port", str(self.port), *self.flags]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        self.port = int(self.url.split(":")[2].split("/")[0])

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=10) as reply:
            return json.loads(reply.read())

    def wait_for(self, requests: int) -> None:
        """Wait until so many requests have come."""
        until = time.monotonic() + LIMIT_S
        while self.stats()["requests"] < requests:
            assert time.monotonic() < until, f"only {self.stats()} after {LIMIT_S} s"
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(30)


@contextmanager
def serving(*flags: str) -> Iterator[Server]:
    """A mock server for as long as the `with` lasts."""
    server = Server(*flags)
    try:
        yield server
    finally:
        server.stop()


def words_of(*words: object) -> list[str]:
    return [sys.executable, "-m", "medix_verl", "evaluate", *map(str, words)]


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **(changes or {})}


def evaluate(
    *words: object, changes: Mapping[str, str] | None = None, limit_s: float = LIMIT_S
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        words_of(*words), capture_output=True, text=True, env=environment(changes), timeout=limit_s, check=False
    )


def begin(*words: object) -> subprocess.Popen[str]:
    """Start the command, to be disturbed."""
    return subprocess.Popen(
        words_of(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )


def records(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The records of each file, without what a clock has measured."""
    found = {}
    for path in sorted((folder / "records").glob("*.jsonl")):
        found[path.name] = [{**json.loads(line), "latency_s": None} for line in path.read_text().splitlines()]
    return found


def kept(folder: Path) -> int:
    """How many answers and judges' replies an evaluation has kept, while it runs or after."""
    path = folder / "cache" / "replies.sqlite"
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
            return int(store.execute("SELECT count(*) FROM replies").fetchone()[0])
    except sqlite3.OperationalError:  # it is not there yet
        return 0


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())
