# SPDX-License-Identifier: Apache-2.0
"""Rate and memory of `medix-verl prepare` on generated rows in a published layout.

    python tests/benchmarks/prepare.py --rows 10000 51000 --workers 2
    python tests/benchmarks/prepare.py --rows 4000 --workers 2 --before WORKTREE_OF_ANOTHER_COMMIT
    python tests/benchmarks/prepare.py --rows 20000 --kills 4
    python tests/benchmarks/prepare.py --rows 300000 --layout pubmedvision

Of medix-rl-data 200 pictures of 400 x 400 are drawn; each row has one of them with a comment of its own, so that no two
rows have the same bytes. Their pixels repeat, so duplicates are found but (texts differ) not dropped. Of pubmedvision
every row has a small picture of its own. Each preparation is a process of its own: with the real check, which decodes
every picture, and once with one that decodes none, which is the rate of everything else: reading, fingerprints of
texts, parts, duplicates, the final file. Memory is the peak of the sum of the proportional set sizes (PSS) of the
command and its workers, so that shared pages count once; the processor's time is the command's and its workers'.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from layouts import SIDE, generate


def no_decoding(sample: Any, spec: Any) -> Any:
    """The real check but for the pictures: their marks are made of their bytes."""
    import hashlib

    from medix_verl.data.duplicates.fingerprints import PictureMarks, fingerprint
    from medix_verl.data.prepare.checks import Checked, answer_flags, question_flags
    from medix_verl.data.schema import to_row

    to_row(sample)
    marks = []
    for ref in sample.images:
        digest = hashlib.blake2b(ref.bytes, digest_size=32).digest()
        marks.append(PictureMarks(digest[:16], int.from_bytes(digest[16:24], "big"), digest))
    flags = (*answer_flags(sample, spec.max_answer_chars), *question_flags(sample))
    return Checked(None, "", flags, fingerprint(sample, marks), tuple((SIDE, SIDE) for _ in marks))


def child(source: str, out: str, layout: str, workers: int, decode: bool) -> None:
    """One preparation; its own time, without the start of Python, goes to standard output."""
    from medix_verl.data.prepare.checks import QualitySpec
    from medix_verl.data.prepare.job import Job
    from medix_verl.data.prepare.prepare import prepare

    job = Job(layout, "train", Path(out), place=source, workers=workers, bounded=decode)
    began = time.perf_counter()
    checker = None if decode else partial(no_decoding, spec=QualitySpec())
    report = prepare(job, lambda line: print(f"{time.perf_counter() - began:8.1f} s  {line}", file=sys.stderr), checker)
    seconds = time.perf_counter() - began
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(
        json.dumps({"seconds": seconds, "cpu": [one.ru_utime + one.ru_stime for one in used], "rows": report["rows"]})
    )


def tree(root: psutil.Process) -> Iterator[psutil.Process]:
    yield root
    yield from root.children(recursive=True)


def memory(root: psutil.Process) -> int:
    """Bytes of the process and its children, shared pages counted once."""
    total = 0
    for process in tree(root):
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return total


def command(source: Path, out: Path, layout: str, workers: int, decode: bool) -> list[str]:
    return [sys.executable, __file__, "--child", str(source), str(out), layout, str(workers), str(int(decode))]


def measure(words: list[str], out: Path, code: Path | None) -> dict[str, Any]:
    """Run one preparation, by the code of another worktree where one is given."""
    env = dict(os.environ) if code is None else {**os.environ, "PYTHONPATH": str(code)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env) as process:
        peak, root = 0, psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak = max(peak, memory(root))
            except psutil.NoSuchProcess:
                break
            time.sleep(0.2)
        printed, _ = process.communicate()
    if process.returncode:
        raise SystemExit(process.returncode)
    return {**json.loads(printed), "peak": peak, "sha256": sha256(out)}


def sha256(path: Path) -> str:
    """Of all that a parquet file holds but its footer, in which one version has a stamp and another has none."""
    data = path.read_bytes()
    return hashlib.sha256(data[: -8 - int.from_bytes(data[-8:-4], "little")]).hexdigest()


def tell(what: str, got: dict[str, Any]) -> None:
    rows, (own, children) = got["rows"]["read"], got["cpu"]
    print(
        f"  {what}: {rows / got['seconds']:6.0f} rows/s, {got['seconds']:.1f} s; processor {1e3 * own / rows:.2f} + "
        f"{1e3 * children / rows:.2f} ms a row; peak {got['peak'] / 2**20:.0f} MiB; {got['sha256'][:8]}; {got['rows']}",
        flush=True,
    )


def kill_and_go_on(words: list[str], out: Path, rows: int, kills: int) -> None:
    """Start a preparation and kill it, with its workers, when so many of its parts are there; then let it finish."""
    parts = out.parent / f".{out.name}.parts"
    for number in range(kills):
        wanted = (number + 1) * (rows // 1024) // (kills + 1)
        with subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True) as process:
            while process.poll() is None and len(list(parts.glob("part-*.json"))) < wanted:
                time.sleep(0.05)
            time.sleep(0.3)
            if process.poll() is not None:
                raise SystemExit(f"it ended by itself, with {process.returncode}, before it was killed")
            os.killpg(process.pid, signal.SIGKILL)
        print(f"  killed with {len(list(parts.glob('part-*.json')))} of {rows // 1024} parts", flush=True)
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def compare(args: argparse.Namespace, source: Path, folder: Path) -> None:
    """Each number of workers, and each code, one after the other; the same file from all of them."""
    seen = set()
    for turn in range(args.turns):
        for workers in args.workers:
            for code in [None, args.before] if args.before else [None]:
                out = folder / "out.parquet"
                got = measure(command(source, out, args.layout, workers, True), out, code)
                seen.add(got["sha256"])
                tell(f"turn {turn + 1}, {workers} workers, {'this' if code is None else code.name}", got)
    if not args.before:
        words = command(source, folder / "none.parquet", args.layout, args.workers[-1], False)
        tell("without decoding", measure(words, folder / "none.parquet", None))
    if args.kills:
        out = folder / "killed.parquet"
        kill_and_go_on(command(source, out, args.layout, args.workers[-1], True), out, args.rows[0], args.kills)
        seen.add(sha256(out))
    print("  the same bytes each time" if len(seen) == 1 else f"  DIFFERENT bytes: {seen}", flush=True)


def main() -> None:
    """Generate, measure, print one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[2000])
    parser.add_argument("--workers", type=int, nargs="+", default=[min(8, len(os.sched_getaffinity(0)))])
    parser.add_argument("--kind", choices=("JPEG", "PNG"), default="JPEG")
    parser.add_argument("--layout", choices=("medix-rl-data", "pubmedvision"), default="medix-rl-data")
    parser.add_argument("--before", type=Path, help="a worktree of another commit, measured in turn with this one")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--kills", type=int, default=0, help="kill one more so often, and compare its bytes")
    parser.add_argument("--folder", type=Path, help="where to generate; default: a temporary folder")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        source, out, layout, workers, decode = args.child
        child(source, out, layout, int(workers), decode == "1")
        return
    for rows in args.rows:
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            folder = Path(name)
            size = generate(folder / "in", rows, args.kind, args.layout)
            print(f"{rows} rows, {size / 2**20:.0f} MiB of {args.kind}, {args.layout}", flush=True)
            compare(args, folder / "in", folder)


if __name__ == "__main__":
    main()
