# SPDX-License-Identifier: Apache-2.0
"""What decided an evaluation is in its manifest, and a resumed run with another one is refused by name."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helpers import task_layouts as layouts
from helpers.json_server import JsonHandler, serving
from medix_verl.data.prompts import prompt_sha256
from medix_verl.errors import ConfigError
from medix_verl.evaluation.assemble import TaskChoices, load_items
from medix_verl.evaluation.grading.judge_settings import judge_specs
from medix_verl.evaluation.grading.spec import ProtocolSpec, build_protocol
from medix_verl.evaluation.models.generation import GenerationSpec
from medix_verl.evaluation.models.source import Model
from medix_verl.evaluation.store.manifest import begin, read_manifest
from medix_verl.evaluation.store.provenance import checkpoint_facts, rows_sha256, server_facts
from medix_verl.evaluation.suite import Suite, SuiteSpec, wanted_manifest
from medix_verl.evaluation.tasks.expected import SourceFacts
from medix_verl.evaluation.tasks.pictures import Item
from medix_verl.evaluation.tasks.table import find
from medix_verl.types import Sample

MEDQA = find("medqa")


@contextmanager
def listing(**said: Any) -> Iterator[str]:
    """A server that lists one model and says its version."""

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            answers = {
                "/v1/models": {"data": [{"id": "m", "created": id(self), **said}]},
                "/version": {"version": "9.1"},
            }
            self.send(answers.get(self.path, {}))

    with serving(Handler) as url:
        yield url


def suite_of(out: Path, source: Path, resume: bool = True, **changes: Any) -> Suite:
    """A run into a folder, as far as nothing is asked."""
    model = changes.pop("model", Model("m", "http://127.0.0.1:1/v1"))
    spec = SuiteSpec(model, (MEDQA,), out, sources={"medqa": source}, resume=resume, **changes)
    out.mkdir(exist_ok=True)
    manifest = begin(out, wanted_manifest(spec, spec.tasks), (out / "eval.json").exists())
    return Suite(spec, manifest, lambda line: None, None)


def note(suite: Suite) -> None:
    """Load the task's questions as a run does."""
    facts, source = SourceFacts(), suite.spec.sources["medqa"]
    items = load_items(MEDQA, source, suite.spec.choices, suite.spec.out / "images", facts=facts)
    suite.note_source(MEDQA, facts, items.values())


def rewrite(source: Path, **changes: Any) -> None:
    """Change the first row of the set's file."""
    first, *rest = (source / "test.json").read_text().splitlines()
    (source / "test.json").write_text("\n".join([json.dumps({**json.loads(first), **changes}), *rest]) + "\n")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return layouts.write("medqa", tmp_path / "set")


def test_the_rows_hash_knows_questions_labels_and_pictures_and_no_order() -> None:
    one = Sample("a", "s", "Q?", "yes", options=("yes", "no"), meta={"label": "A"})
    items = [Item(one), Item(replace(one, id="b"))]
    known = rows_sha256(items)
    assert known == rows_sha256(reversed(items)) and len(known) == 64
    picture: Any = SimpleNamespace(hash="ab")
    for other in (
        replace(one, answer="no"),
        replace(one, meta={"label": "B"}),
        replace(one, question="Q!"),
        replace(one, options=("no", "yes")),
    ):
        assert rows_sha256([Item(other), items[1]]) != known
    assert rows_sha256([Item(one, pictures=(picture,)), items[1]]) != known


def test_another_place_or_other_gold_labels_stop_a_resumed_run_by_name(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    note(suite_of(out, source))
    was = read_manifest(out)["sources"]["medqa"]
    assert was["place"] == str(source.resolve()) and was["digest"] and len(was["rows_sha256"]) == 64
    again = suite_of(out, source)
    again.check_sources([MEDQA])
    note(again)
    other = layouts.write("medqa", tmp_path / "other")
    with pytest.raises(ConfigError, match="begun with sources.medqa.place '.*set', now it is '.*other'"):
        suite_of(out, other).check_sources([MEDQA])
    rewrite(source, label=3)
    with pytest.raises(ConfigError, match="begun with sources.medqa.rows_sha256"):
        note(suite_of(out, source))


def test_other_gold_labels_of_a_task_that_is_done_are_noticed_too(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    note(suite_of(out, source))
    done = suite_of(out, source)
    done.manifest["done"]["medqa"] = {"questions": 2, "scored": 2, "unscored": 0, "error": 0}
    (out / "records").mkdir()
    (out / "records" / "medqa.jsonl").write_text("")
    done.check_sources([MEDQA])
    (source / "test.json").touch()
    done.check_sources([MEDQA])  # saved again, the same rows
    rewrite(source, label=3)
    with pytest.raises(ConfigError, match="begun with sources.medqa.rows_sha256"):
        done.check_sources([MEDQA])


def test_another_revision_of_the_hub_stops_a_resumed_run(source: Path, tmp_path: Path) -> None:
    suite = suite_of(tmp_path / "eval", source)
    suite.note_source(MEDQA, SourceFacts("owner/set", "abc", "d"), [])
    with pytest.raises(ConfigError, match="begun with sources.medqa.revision 'abc', now it is 'def'"):
        suite.note_source(MEDQA, SourceFacts("owner/set", "def", "d"), [])


def test_another_model_behind_the_same_name_stops_a_resumed_run(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"

    def ask(**said: Any) -> None:
        with listing(**said) as url:
            suite_of(out, source, model=Model("m", url)).note_server(SimpleNamespace(url=url, model="m"))

    ask(root="/models/a", max_model_len=4096, owned_by="vllm")
    server = read_manifest(out)["server"]
    assert server["models"] == ["m"] and server["version"] == "9.1" and server["model"]["root"] == "/models/a"
    assert "created" not in server["model"] and server["url"].endswith("/v1")
    ask(root="/models/a", max_model_len=8192)  # the same model with more room
    with pytest.raises(ConfigError, match="begun with server.model.root '/models/a', now it is '/models/b'"):
        ask(root="/models/b", max_model_len=4096)
    assert server_facts("http://127.0.0.1:1/v1", "m")["models"] == []  # a server that says nothing is no failure


def test_another_checkpoint_in_the_same_folder_stops_a_resumed_run(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    weights = bytearray(300_000)
    (folder / "model.safetensors").write_bytes(weights)
    model = Model(str(folder))
    known = checkpoint_facts(model)
    suite_of(tmp_path / "eval", source, model=model)
    suite_of(tmp_path / "eval", source, model=model)
    weights[150_010] = 1
    (folder / "model.safetensors").write_bytes(weights)
    assert checkpoint_facts(model) != known
    with pytest.raises(ConfigError, match="begun with checkpoint.sha256"):
        suite_of(tmp_path / "eval", source, model=model)
    assert checkpoint_facts(Model("m", "http://127.0.0.1:1/v1")) == {} == checkpoint_facts(Model("no-such/model"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"choices": TaskChoices(template="medix_thinking")}, "settings.prompt_sha256"),
        ({"generation": GenerationSpec(max_tokens=64)}, "settings.max_tokens 4096, now it is 64"),
        ({"generation": GenerationSpec(temperature=0.6)}, "settings.temperature 0.0, now it is 0.6"),
        ({"generation": GenerationSpec(temperature=0.0, top_p=0.9)}, "settings.top_p None, now it is 0.9"),
        ({"generation": GenerationSpec(temperature=0.6, generations=4)}, "settings.generations 1, now it is 4"),
        ({"generation": GenerationSpec(stop=("<stop>",))}, r"settings.stop \[\], now it is \['<stop>'\]"),
        ({"generation": GenerationSpec(seed=1)}, "settings.seed 0, now it is 1"),
        ({"generation": GenerationSpec(system_prompt="Be short.")}, "settings.system_prompt None, now it is"),
        ({"generation": GenerationSpec(thinking_budget=9)}, "settings.thinking_budget None, now it is 9"),
        ({"generation": GenerationSpec(extra_body={"min_p": 0.1})}, "settings.extra_body {}, now it is"),
        (
            {"generation": GenerationSpec(chat_template_kwargs={"enable_thinking": False})},
            "settings.chat_template_kwargs {}, now it is",
        ),
    ],
)
def test_another_prompt_or_setting_stops_a_resumed_run(
    source: Path, tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    suite_of(tmp_path / "eval", source)
    suite_of(tmp_path / "eval", source)
    with pytest.raises(ConfigError, match=text):
        suite_of(tmp_path / "eval", source, **changes)


def test_a_prompt_of_the_same_name_and_another_text_stops_a_resumed_run(source: Path, tmp_path: Path) -> None:
    suite = suite_of(tmp_path / "eval", source)
    assert suite.manifest["settings"]["prompt_sha256"] == prompt_sha256("medix") != prompt_sha256("medix_thinking")
    wanted = wanted_manifest(suite.spec, [MEDQA])
    wanted["settings"]["prompt_sha256"] = "0" * 16
    with pytest.raises(ConfigError, match="begun with settings.prompt_sha256"):
        begin(tmp_path / "eval", wanted, True)


def test_an_evaluation_of_before_can_be_resumed(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    suite = suite_of(out, source)
    old = dict(suite.manifest)
    del old["checkpoint"], old["counting"]
    old["settings"] = {name: old["settings"][name] for name in ("template", "limit", "max_tokens", "temperature")}
    old.pop("sources", None)
    (out / "eval.json").write_text(json.dumps(old))
    with pytest.raises(ConfigError, match="settings.top_p None, now it is 0.5"):
        suite_of(out, source, generation=GenerationSpec(top_p=0.5))
    again = suite_of(out, source)
    again.check_sources([MEDQA])
    note(again)


def test_parameters_that_a_server_did_not_take_are_kept(source: Path, tmp_path: Path) -> None:
    suite = suite_of(tmp_path / "eval", source)
    suite.results.note_adapted({"seed"}, ["max_tokens"])
    suite.results.note_adapted({"temperature"}, [])
    assert suite.manifest["adapted"] == {"model": ["seed", "temperature"], "judge": ["max_tokens"]}


@contextmanager
def picky() -> Iterator[str]:
    """A server that takes no temperature, and says YES."""

    class Handler(JsonHandler):
        def do_POST(self) -> None:
            body = self.body()
            if "temperature" in body:
                self.send({"error": {"message": "Unsupported parameter: temperature", "param": "temperature"}}, 400)
            else:
                self.send({"choices": [{"message": {"content": "YES"}, "finish_reason": "stop"}]})

    with serving(Handler) as url:
        yield url


def test_judge_and_model_say_what_their_servers_did_not_take() -> None:
    async def judged(url: str) -> frozenset[str]:
        specs = judge_specs({"kind": "openai", "url": url, "model": "m", "cache": "none"})
        protocol = build_protocol(ProtocolSpec("robust", rounds=1, swap=False), specs)
        assert protocol.adapted == frozenset()
        outcome = await protocol.judge(Sample("q", "s", "Q?", "pneumonia"), "<answer>a shadow</answer>")
        assert outcome.value == 1.0
        await protocol.close()
        return protocol.adapted

    async def answered(url: str) -> frozenset[str]:
        inspect_model = pytest.importorskip("medix_verl.evaluation.inspect.model")
        from inspect_ai.model import ChatMessageUser, GenerateConfig

        model = inspect_model.ServedModel("m", url)
        await model.generate([ChatMessageUser(content="Q?")], [], "auto", GenerateConfig(temperature=0.0))
        found: frozenset[str] = model.adapted
        await model.aclose()
        return found

    with picky() as url:
        assert asyncio.run(judged(url)) == {"temperature"}
        assert asyncio.run(answered(url)) == {"temperature"}
