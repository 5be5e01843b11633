# SPDX-License-Identifier: Apache-2.0
"""Runs another framework's own code on given answers: python -I peer_drivers.py PEER CLONE < rows.json.

It is called by peers.py, in an environment that has what the frameworks import, and knows nothing of this package. The
last line of its output is a JSON list: whether each row's answer is right, in the framework's eyes. Their packages are
imported from the clone without the `__init__` files, which import every model and data set that they know.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import random
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
LETTERS = "ABCDEFGHIJ"


def package(name: str, folder: Path) -> None:
    """Make `import NAME.x` find folder/x.py, without NAME's own __init__."""
    made = types.ModuleType(name)
    made.__path__ = [str(folder)]
    sys.modules[name] = made


def module_of(path: Path) -> Any:
    """A file as a module."""
    spec = importlib.util.spec_from_file_location(path.parent.name, path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def lettered(row: Row) -> dict[str, str]:
    return dict(zip(LETTERS, row["options"], strict=False))


def medevalkit(clone: Path, rows: list[Row]) -> list[bool]:
    """The metrics of MedQA-USMLE (choices) and of VQA-RAD (yes or no, open: exact match), without an LLM's help."""
    os.environ["api_key"] = "none"  # noqa: SIM112 - a client is made on import; nothing is asked
    for name in ("datasets", "nltk.translate.bleu_score", "nltk.translate.meteor_score"):
        importlib.import_module(name)  # before torch: they would look into it
    sys.modules["torch"] = types.ModuleType("torch")  # imported, and of no use to the metrics
    package("utils", clone / "utils")
    sys.path.insert(0, str(clone))
    if rows[0]["kind"] == "choice":
        metrics = importlib.import_module("utils.MedQA_USMLE.MedQA_USMLE").MedQA_USMLE(None, None, None).cal_metrics
        given = [
            {
                "choices": [f"{letter}. {text}" for letter, text in lettered(row).items()],
                **{"answer": row["label"], "response": row["response"]},
            }
            for row in rows
        ]
    else:
        metrics = importlib.import_module("utils.VQA_RAD.VQA_RAD").VQA_RAD(None, None, None).cal_metrics
        given = [{"question": row["question"], "answer": row["reference"], "response": row["response"]} for row in rows]
        # Its average over a kind that is not there divides by 0.
        both = [{"question": "", "answer": "yes", "response": "yes"}, {"question": "", "answer": "x", "response": "x"}]
        given += both
    _, results = metrics(given)
    return [bool(item["correct"]) for item in results[: len(rows)]]


def vlmevalkit(clone: Path, rows: list[Row]) -> list[bool]:
    """Matching without an LLM: can_infer, YOrN_Extraction, and the exact match of its VQA sets."""
    for name in ("vlmeval", "vlmeval.utils", "vlmeval.dataset", "vlmeval.dataset.utils"):
        package(name, clone / name.replace(".", "/"))
    kind = rows[0]["kind"]
    if kind == "choice":
        infer = importlib.import_module("vlmeval.utils.matching_util").can_infer
        return [infer(row["response"], lettered(row)) == row["label"] for row in rows]
    if kind == "yesno":
        extract = importlib.import_module("vlmeval.dataset.utils.yorn").YOrN_Extraction
        return [extract(row["response"]).lower() == row["reference"] for row in rows]
    process = importlib.import_module("vlmeval.dataset.utils.vqa_eval").process_line
    lines = ({"answer": row["reference"], "prediction": row["response"]} for row in rows)
    return [any(process(line, method="accuracy")["match"]) for line in lines]


def lmms_eval(clone: Path, rows: list[Row]) -> list[bool]:
    """The tasks medqa (choices) and slake (yes or no, open); medqa guesses where it reads nothing, with seed 0."""
    tasks = clone / "lmms_eval" / "tasks"
    random.seed(0)
    if rows[0]["kind"] == "choice":
        medqa = module_of(tasks / "medqa" / "utils.py")
        docs = ({"options": lettered(row), "answer_idx": row["label"]} for row in rows)
        return [
            medqa.medqa_process_results(doc, [row["response"]])["accuracy"] == 1.0
            for doc, row in zip(docs, rows, strict=True)
        ]
    slake = module_of(tasks / "slake" / "utils.py")
    results = (slake.slake_process_results({"answer": row["reference"]}, [row["response"]]) for row in rows)
    return [bool(item["slake_accuracy"]["is_correct"]) for item in results]


def lm_eval(clone: Path, rows: list[Row]) -> list[bool]:
    """Its whole harness with a model that says the recorded answers, and the filters of three of its tasks:
    mmlu_flan_cot_zeroshot (flexible-extract), bbh_cot_zeroshot (flexible-extract) and nq_open."""
    sys.path.insert(0, str(clone))
    import yaml
    from lm_eval import simple_evaluate
    from lm_eval.api.model import LM
    from lm_eval.api.task import ConfigurableTask

    said = {row["id"]: row["response"] for row in rows}

    class Recorded(LM):
        def generate_until(self, requests: Any) -> list[str]:
            return [said[request.args[0].split("\n")[0]] for request in requests]

        def loglikelihood(self, requests: Any) -> Any:
            raise NotImplementedError

        loglikelihood_rolling = loglikelihood

    kind = rows[0]["kind"]
    source = {
        "choice": "mmlu/flan_cot_zeroshot/_mmlu_flan_cot_zeroshot_template_yaml",
        "yesno": "bbh/cot_zeroshot/navigate.yaml",
        "open": "nq_open/nq_open.yaml",
    }[kind]
    theirs = yaml.safe_load((clone / "lm_eval" / "tasks" / source).read_text())
    if "include" in theirs:
        template = clone / "lm_eval" / "tasks" / Path(source).parent / theirs["include"]
        theirs = yaml.safe_load(template.read_text()) | theirs
    filters = [item for item in theirs["filter_list"] if item["name"] in ("flexible-extract", "remove_whitespace")]
    docs = [
        {
            "id": row["id"],
            "choices": row["options"] or [],
            "gold": f"({row['label']})" if row["label"] else row["reference"],
        }
        for row in rows
    ]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rows.json").write_text("".join(json.dumps(doc) + "\n" for doc in docs))
        config = {
            **{"task": "recorded", "dataset_path": "json", "test_split": "test", "output_type": "generate_until"},
            **{"dataset_kwargs": {"data_files": {"test": f"{folder}/rows.json"}, "cache_dir": folder}},
            **{"doc_to_text": "{{id}}\n", "doc_to_target": "{{gold}}", "generation_kwargs": {"until": ["\0"]}},
            **{"filter_list": filters, "metric_list": theirs["metric_list"], "num_fewshot": 0},
        }
        results = simple_evaluate(
            Recorded(), tasks=[ConfigurableTask(config=config)], log_samples=True, bootstrap_iters=0
        )
    found = {item["doc"]["id"]: bool(item["exact_match"]) for item in results["samples"]["recorded"]}
    return [found[row["id"]] for row in rows]


def simple_evals(clone: Path, given: dict[str, Any]) -> list[dict[str, Any]]:
    """HealthBenchEval whole, with a sampler that says the recorded answers; its grader is at OPENAI_BASE_URL."""
    package("simple_evals", clone)
    bench = importlib.import_module("simple_evals.healthbench_eval")
    samplers = importlib.import_module("simple_evals.sampler.chat_completion_sampler")
    types_ = importlib.import_module("simple_evals.types")
    said = {row["prompt"][-1]["content"]: given["responses"][row["prompt_id"]] for row in given["examples"]}

    def sampler(messages: Any) -> Any:
        return types_.SamplerResponse(said[messages[-1]["content"]], messages, {})

    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write("".join(json.dumps(row) + "\n" for row in given["examples"]))
        file.flush()
        vars(bench)["INPUT_PATH"] = file.name
        results = bench.HealthBenchEval(samplers.ChatCompletionSampler("g"), n_threads=8)(sampler)
    each = results.metadata["example_level_metadata"]
    return [
        {
            "score": float(results.score),
            "std": float(results.metrics["overall_score:bootstrap_std"]),
            "metrics": {name: float(value) for name, value in results.metrics.items()},
            "values": {item["prompt_id"]: item["score"] for item in each},
        }
    ]


PEERS: dict[str, Callable[[Path, Any], list[Any]]] = {
    "medevalkit": medevalkit,
    "vlmevalkit": vlmevalkit,
    "lmms_eval": lmms_eval,
    "lm_eval": lm_eval,
    "simple_evals": simple_evals,
}

if __name__ == "__main__":
    # Their own prints go where errors go; the answer alone is on standard output.
    with contextlib.redirect_stdout(sys.stderr):
        answer = PEERS[sys.argv[1]](Path(sys.argv[2]), json.load(sys.stdin))
    print(json.dumps(answer))
