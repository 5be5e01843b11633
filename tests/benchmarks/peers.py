# SPDX-License-Identifier: Apache-2.0
"""The same answers, read by this package's evaluation and by other frameworks' own code.

    python tests/benchmarks/peers.py ask URL --model-name NAME --out DIR
    python tests/benchmarks/peers.py ask written --out DIR
    python tests/benchmarks/peers.py compare DIR --python PYTHON [--medevalkit CLONE] [--vlmevalkit CLONE]
        [--lmms-eval CLONE] [--lm-eval CLONE] [--simple-evals CLONE] [--examples N]

`ask` evaluates a served model on the questions of peer_questions.py: choices, yes or no and open answers judged by the
rule judge, conversations with rubrics by a grader. `ask written` has no model: it takes answers that are written in
many forms, and of which it is known whether they are right. `compare` gives the recorded answers to the others' code,
which runs in PYTHON (an environment with what they import: tests/benchmarks/README.md) from clones of their
repositories.

The grader of the rubrics is a server without a model, the same for both sides: its verdict is a hash of the answer and
the criterion as it finds them in the prompt, so two prompts that show it anything else give other verdicts. One reply
of ten cannot be read at first.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from peer_questions import KINDS, LETTERS, conversations, questions, written

from medix_verl.data.converters.text.healthbench import to_item
from medix_verl.data.prompts import render_prompt
from medix_verl.evaluation.assemble import TaskChoices
from medix_verl.evaluation.grading.spec import ProtocolSpec
from medix_verl.evaluation.models.generation import GenerationSpec
from medix_verl.evaluation.models.source import read_model
from medix_verl.evaluation.stats.summary import mean_of
from medix_verl.evaluation.store.read import read_evaluation
from medix_verl.evaluation.store.records import Record
from medix_verl.evaluation.suite import SuiteSpec, run_suite
from medix_verl.evaluation.task_run import Limits
from medix_verl.evaluation.tasks.table import TaskSpec
from medix_verl.types import Sample

RUBRIC = "rubric"
WRITTEN = "written"
PEERS = ("medevalkit", "vlmevalkit", "lmms_eval", "lm_eval", "simple_evals")
DRIVERS = Path(__file__).with_name("peer_drivers.py")


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    ask = commands.add_parser("ask")
    ask.add_argument("url", help="of a server; or: written")
    ask.add_argument("--model-name")
    ask.add_argument("--out", type=Path, required=True)
    ask.add_argument("--prompt", default="published", help="template of the question")
    ask.add_argument("--max-tokens", type=int, default=64)
    ask.add_argument("--connections", type=int, default=32)
    ask.add_argument("--resume", action="store_true")
    beside = commands.add_parser("compare")
    beside.add_argument("out", type=Path)
    beside.add_argument("--python", default=sys.executable)
    beside.add_argument("--examples", type=int, default=1, help="answers shown of each kind of disagreement")
    for peer in PEERS:
        beside.add_argument(f"--{peer.replace('_', '-')}", dest=peer, metavar="CLONE", type=Path)
    asked = parser.parse_args()
    (ask_model if asked.command == "ask" else compare)(asked)


# Our side ------------------------------------------------------------------------------------------------------------


def task(kind: str) -> TaskSpec:
    """A task of peer_questions.py."""
    metric = "rubric" if kind == RUBRIC else "binary"
    answers = {"open": ("open",), RUBRIC: ("rubric",)}.get(kind, ("closed",))
    name = "healthbench" if kind == RUBRIC else f"peers_{kind}"
    return TaskSpec(name, kind, "llm", "own", "test", metric, answers, "none")


def load(spec: TaskSpec, source: Path | None, limit: int | None, seed: int | None) -> Iterator[Sample]:
    """The questions of a task."""
    if spec.metric != "rubric":
        yield from questions(spec.name.removeprefix("peers_"))
        return
    for number, row in enumerate(conversations()):
        item = to_item(row, "test", "main", number)
        assert isinstance(item, Sample)
        yield item


def ask_model(asked: argparse.Namespace) -> None:
    """Evaluate: a folder with the rule judge, one with the grader."""
    if asked.url == WRITTEN:
        said = {
            render_prompt(sample, asked.prompt): written(sample, kind, number)[1]
            for kind in KINDS
            for number, sample in enumerate(questions(kind))
        }
        with serving(lambda prompt, times: said[prompt]) as url:
            evaluate(asked, url, WRITTEN, KINDS, {"kind": "rule"})
        return
    evaluate(asked, asked.url, "texts", KINDS, {"kind": "rule"})
    with serving(grade) as url:
        evaluate(asked, asked.url, RUBRIC, (RUBRIC,), {"kind": "openai", "url": url, "model": "g"})


def evaluate(asked: argparse.Namespace, url: str, folder: str, kinds: Iterable[str], judge: dict[str, Any]) -> None:
    """Ask a server the questions of some kinds."""
    spec = SuiteSpec(
        model=read_model(url, asked.model_name),
        tasks=tuple(map(task, kinds)),
        out=asked.out / folder,
        judge=judge,
        protocol=ProtocolSpec("published"),
        choices=TaskChoices(template=asked.prompt),
        generation=GenerationSpec(max_tokens=asked.max_tokens),
        limits=Limits(connections=asked.connections),
        resume=asked.resume,
    )
    run_suite(spec, lambda line: print(line, flush=True), load)


CASE = re.compile(r"^(?:\[[-+.\d]+\] )?(.*\[case (\d{4})\])", re.MULTILINE)
FENCED = re.compile(r"^(>[^\n]*(?:\n>[^\n]*)*)$", re.MULTILINE)
PUBLISHED = re.compile(r"\n\nassistant: ((?:(?!\n\nassistant: ).)*?)\n\n# Rubric item", re.DOTALL)


@contextmanager
def serving(reply: Callable[[str, int], str]) -> Iterator[str]:
    """A server that replies to the n-th coming of a prompt as a function says; gives its URL."""
    asked: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send({"object": "list", "data": [{"id": "g", "object": "model"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = body["messages"][-1]["content"]
            asked[text] += 1
            said = reply(text, asked[text])
            message = {"role": "assistant", "content": said}
            self.send({"id": "1", "object": "chat.completion", "created": 0, "model": "g"} | choice(message))

        def send(self, value: Any) -> None:
            data = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def choice(message: Mapping[str, Any]) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def grade(prompt: str, times: int) -> str:
    """The grader's reply to a prompt that it gets for the n-th time."""
    found = CASE.search(prompt)
    if found is None:  # the question whether it can be read at all
        return json.dumps({"score": 0 if "spleen" in prompt else 1})
    answer = PUBLISHED.findall(prompt) or [unmarked(text) for text in FENCED.findall(prompt)]
    if not answer or f"(case {found[2]})" not in prompt:
        raise ValueError(f"the grader finds no answer, or another conversation, in: {prompt}")
    number = hashlib.sha256(f"{answer[-1].strip()}\0{found[1]}".encode()).digest()
    if number[1] % 10 == 0 and times == 1:
        return "I cannot say."
    content = json.dumps({"explanation": "a hash", "criteria_met": number[0] % 2 == 0})
    return f"```json\n{content}\n```" if number[1] % 3 == 0 else content


def unmarked(text: str) -> str:
    """A fenced answer without the marks of its lines."""
    return "\n".join(line.removeprefix(">").removeprefix(" ") for line in text.split("\n"))


# The others ----------------------------------------------------------------------------------------------------------


def compare(asked: argparse.Namespace) -> None:
    """Print a table for each kind of question, and what the sides disagree in."""
    for folder in (WRITTEN, "texts"):
        if (asked.out / folder).is_dir():
            for kind in KINDS:
                compare_texts(asked, folder, kind)
    if asked.simple_evals:
        compare_rubrics(asked)


def compare_texts(asked: argparse.Namespace, folder: str, kind: str) -> None:
    """One kind of question."""
    records = list(read_evaluation(asked.out / folder).tasks()[f"peers_{kind}"])
    samples = list(questions(kind))
    rows = [row_of(kind, record, sample.meta.get("label")) for record, sample in zip(records, samples, strict=True)]
    ours = [bool(record.value) for record in records]
    truth = [written(sample, kind, number) for number, sample in enumerate(samples)] if folder == WRITTEN else None
    print(f"\n{kind}, {folder}: {len(rows)} answers, {len({row['response'] for row in rows})} different texts")
    names = [peer for peer in PEERS[:-1] if getattr(asked, peer)]
    said = {"ours": ours} | {peer: run(peer, getattr(asked, peer), asked.python, rows) for peer in names}
    for name, theirs in said.items():
        line = f"  {name:12} {share(theirs)}"
        if truth is not None:
            right = [item[2] for item in truth]
            wrong = sum(content and not true for content, true in zip(theirs, right, strict=True))
            lost = sum(true and not content for content, true in zip(theirs, right, strict=True))
            line += f", {wrong} wrong answers accepted, {lost} right ones not"
        print(f"{line}; {sum(a == b for a, b in zip(ours, theirs, strict=True))} as ours")
        if truth is not None:
            show_errors(theirs, truth, rows, asked.examples)
        elif name != "ours":
            show(kind, ours, theirs, rows, asked.examples)
    if truth is not None:
        print(f"  {'truth':12} {share([item[2] for item in truth])}")


def share(found: Sequence[bool]) -> str:
    return f"{100 * sum(found) / len(found):5.1f} %"


def row_of(kind: str, record: Record, label: str | None) -> dict[str, Any]:
    options = list(record.options) if record.options else None
    return {
        **{"kind": kind, "id": record.id, "question": record.question, "reference": record.reference, "label": label},
        **{"options": options, "response": record.response},
    }


def run(peer: str, clone: Path, python: str, rows: Any, **environment: str) -> list[Any]:
    """What a peer's code says of each row: its driver reads rows from standard input, and writes one JSON list."""
    done = subprocess.run(
        [python, "-I", str(DRIVERS), peer, str(clone.absolute())],
        input=json.dumps(rows),
        capture_output=True,
        text=True,
        timeout=1800,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
    )
    if done.returncode:
        raise SystemExit(f"{peer} ended with {done.returncode}: {done.stderr[-3000:]}")
    found: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def show(kind: str, ours: list[bool], theirs: list[bool], rows: list[dict[str, Any]], examples: int) -> None:
    """The classes of disagreements between us and a peer."""
    classes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row, left, right in zip(rows, ours, theirs, strict=True):
        if left != right:
            classes[f"{'we' if left else 'they'} accept: {why(kind, row)}"].append(row)
    show_classes(classes, examples)


def show_errors(
    said: list[bool], truth: list[tuple[str, str, bool]], rows: list[dict[str, Any]], examples: int
) -> None:
    """The forms of written answers that one side reads wrongly."""
    classes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row, content, (form, _, right) in zip(rows, said, truth, strict=True):
        if content != right:
            classes[f"{'accepts' if content else 'does not accept'} {form!r}"].append(row)
    show_classes(classes, examples)


def show_classes(classes: Mapping[str, list[dict[str, Any]]], examples: int) -> None:
    for name, found in sorted(classes.items(), key=lambda item: -len(item[1])):
        print(f"    {len(found):4} {name}")
        for row in found[:examples]:
            print(f"           {row['reference']!r} of {row['options']}: {row['response']!r}")


ARTICLE = re.compile(r"(^|[.!?]\s+|\n)A (?=[a-z])")
LETTER = re.compile(r"(?<![A-Za-z'-])[A-D](?![A-Za-z'-])")


def why(kind: str, row: Mapping[str, Any]) -> str:
    """What an answer looks like, as far as it explains that two readers differ."""
    text, folded = row["response"].strip(), f" {fold(row['response'])} "
    if not text:
        return "no text"
    if kind == "choice":
        return why_choice(text, folded, row["options"])
    if kind == "yesno":
        said = {"yes", "no"} & set(folded.split())
        if not said:
            return "neither yes nor no"
        first = folded.split()[0] in said
        return "yes and no" if len(said) == 2 else f"{'begins with it, then more' if first else 'yes or no inside it'}"
    gold = f" {fold(row['reference'])} "
    if folded == gold:
        return "the reference, up to case and marks"
    return "the reference in a longer answer" if gold in folded else "the reference is not in it"


def why_choice(text: str, folded: str, options: list[str]) -> str:
    """The same of an answer to a question with options."""
    named = {place for place, option in enumerate(options) if f" {fold(option)} " in folded}
    letters = {LETTERS.index(letter) for letter in LETTER.findall(ARTICLE.sub(r"\1", text))}
    if len(letters) > 1 or len(named) > 1:
        return "several options"
    if not letters and not named:
        return "no option" + (", an article A" if ARTICLE.search(text) else "")
    if letters and named and letters != named:
        return "the letter of one option and the text of another"
    alone = re.fullmatch(r"\W*[A-D]\W*", text) or any(folded.strip() == fold(option) for option in options)
    more = "" if alone else ", with more text"
    return f"one option, {' and '.join(['letter'] * bool(letters) + ['text'] * bool(named))}{more}"


def fold(text: str) -> str:
    """Lower case, words and numbers only."""
    return " ".join(re.findall(r"[^\W_]+", text.lower()))


def compare_rubrics(asked: argparse.Namespace) -> None:
    """HealthBench's score on both sides, and what differs conversation by conversation."""
    records = list(read_evaluation(asked.out / RUBRIC).tasks()["healthbench"])
    said = {record.id: record.response for record in records}
    given = {"examples": list(conversations()), "responses": said}
    with serving(grade) as url:
        (content,) = run(
            "simple_evals", asked.simple_evals, asked.python, given, OPENAI_BASE_URL=url, OPENAI_API_KEY="none"
        )
    estimate = mean_of(records)
    assert estimate is not None
    print(
        f"\nrubric: {len(records)} conversations; ours {100 * estimate.value:.2f} % [{100 * estimate.low:.1f}, "
        f"{100 * estimate.high:.1f}], simple_evals {100 * content['score']:.2f} % "
        f"(bootstrap {100 * content['std']:.2f})"
    )
    mine = {record.id: record.value for record in records}
    apart = {name: (mine[name], value) for name, value in content["values"].items() if not close(mine[name], value)}
    print(f"  {len(mine) - len(apart)} of {len(mine)} conversations the same")
    for name, values in list(apart.items())[: asked.examples]:
        print(f"    {name}: ours {values[0]}, theirs {values[1]}: {said[name]!r}")


def close(left: float | None, right: float) -> bool:
    return left is not None and abs(left - right) < 1e-9


if __name__ == "__main__":
    main()
