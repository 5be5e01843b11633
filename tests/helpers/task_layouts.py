# SPDX-License-Identifier: Apache-2.0
"""A small copy of every task's evaluation set, in its published layout; all content is made up.

`write(task, folder)` writes one below a folder, and `EXPECTED[task]` is how many questions it has. The public sets'
own rows are those of tests/helpers/set_layouts.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers import set_layouts as made

Row = dict[str, Any]
PHYSIONET = "https://physionet.org/files/mimic-cxr-jpg/2.1.0/files/p10/{}/s{}/{}.jpg"
SECRET = "Made-up report: the left lower lobe of Mrs Ypsilon is consolidated."
"""A sentence of the MIMIC fixture, for looking whether it got where it must not be."""


def usmle_row(number: int, **changes: Any) -> Row:
    options = {**made.letters("", ["Aspirin", "Heparin", "Warfarin", "Digoxin"]), **dict.fromkeys("EFGHI")}
    return {"question": f"Which drug is given, case {number}?", "answer": "Heparin", "options": options} | changes


def eval_row(shade: int, **changes: Any) -> Row:
    row = {"image": made.picture(shade), "question": f"What is seen in picture {shade}?", "answer": "Focal uptake"}
    return row | {"choices": ["Diffuse uptake", "Focal uptake", "No uptake", "Artefact"]} | changes


def open_row(shade: int) -> Row:
    row = eval_row(shade)
    del row["choices"]
    return row


def mimic_row(patient: str, study: str, name: str, **changes: Any) -> Row:
    row = {"image": PHYSIONET.format(patient, study, name), "report": SECRET, "summary": "Left lower lobe pneumonia."}
    return row | changes


def mmmu_row(number: int, **changes: Any) -> Row:
    row: Row = {
        "id": f"validation_Clinical_Medicine_{number}",
        "question": "What does <image 1> show?",
        "options": "['Effusion', 'Pneumothorax', 'Fracture', 'Normal']",
        "answer": "B",
        "question_type": "multiple-choice",
        **{f"image_{place}": None for place in range(1, 8)},
    }
    return row | {"image_1": made.picture(number)} | changes


def pubmed_row(number: int, **changes: Any) -> Row:
    row = {"QUESTION": f"Does it help, {number}?", "CONTEXTS": ["BACKGROUND: little.", "RESULTS: some."]}
    return row | {"final_decision": "yes", "LONG_ANSWER": "It helps in most cases."} | changes


def write_mmlu(folder: Path) -> None:
    made.WRITERS["mmlu-medical"](folder, made.ROWS["mmlu-medical"])


def write_mimic(folder: Path) -> None:
    rows = [mimic_row("p10000032", "50414267", "aa-1"), mimic_row("p10000764", "53189527", "bb-2")]
    made.write_parquet(folder / "mimic_cxr" / "test-00000-of-00001.parquet", rows)
    for name, shade in (("aa-1", 30), ("bb-2", 31)):
        (folder / f"{name}.jpg").write_bytes(made.png(shade))


def write_mmmu(folder: Path) -> None:
    subjects = ("Basic_Medical_Science", "Diagnostics_and_Laboratory_Medicine", "Pharmacy", "Public_Health")
    for place, subject in enumerate(subjects):
        name = f"validation_{subject}_1"
        made.write_parquet(folder / subject / "validation-00000-of-00001.parquet", [mmmu_row(40 + place, id=name)])
    two = mmmu_row(
        51, question="Do <image 1> and <image 2> differ?", options="['Yes', '<image 2>']", image_2=made.picture(52)
    )
    said = mmmu_row(53, question_type="open", options="[]", answer="['12', 'twelve']")
    rows = [mmmu_row(50), two, said]
    made.write_parquet(folder / "Clinical_Medicine" / "validation-00000-of-00001.parquet", rows)


def hub_bullets_row(number: int, **changes: Any) -> Row:
    options = {"A": "Rest", "B": "Heparin", "C": "Aspirin", "D": "Surgery", "E": ""}
    return {"idx": str(number), "question": f"A man of {number}?", "options": options, "answer": "B"} | changes


def write_cmb(folder: Path) -> None:
    rows = [{key: value for key, value in made.exam_row(n, id=n).items() if key != "answer"} for n in (1, 2, 3)]
    made.write_json(folder / "CMB-Exam" / "CMB-test" / "CMB-test-choice-question-merge.json", rows)
    answers = [{"id": 1, "answer": "C"}, {"id": 2, "answer": "ABD"}, {"id": 3, "answer": "A"}]
    made.write_json(folder / "CMB-test-choice-answer.json", answers)


def parquet(name: str, *rows: Row) -> Callable[[Path], None]:
    return lambda folder: made.write_parquet(folder / name, rows)


def slake(folder: Path) -> None:
    made.write_json(folder / "test.json", made.ROWS["slake"])
    made.write_zip(folder / "imgs.zip", made.FILES["slake"])


def expert(folder: Path) -> None:
    made.write_lines(folder / "MM" / "test.jsonl", made.ROWS["medxpertqa"])
    made.write_lines(folder / "Text" / "test.jsonl", [made.expert_row("Text-1"), made.expert_row("Text-2", label="A")])
    made.write_zip(folder / "images.zip", made.FILES["medxpertqa"])


def set_of(name: str) -> Callable[[Path], None]:
    return lambda folder: made.WRITERS[name](folder, made.ROWS[name])


ONE = "test-00000-of-00001.parquet"
WRITERS: dict[str, Callable[[Path], None]] = {
    **dict.fromkeys(
        ("mmlu_clinical_knowledge", "mmlu_college_biology", "mmlu_college_medicine", "mmlu_anatomy"), write_mmlu
    ),
    **dict.fromkeys(("mmlu_medical_genetics", "mmlu_professional_medicine"), write_mmlu),
    "medmcqa": parquet("data/validation-00000-of-00001.parquet", *made.ROWS["medmcqa"]),
    "medqa": lambda folder: made.write_lines(folder / "test.json", made.ROWS["medqa"]),
    "usmle_sa": parquet("data/train-00000-of-00001.parquet", usmle_row(1), usmle_row(2, answer="Digoxin")),
    "pubmedqa": parquet(f"pubmedqa/{ONE}", pubmed_row(1), pubmed_row(2, final_decision="maybe")),
    "mimic_cxr_report_summarization": write_mimic,
    "slake_vqa": slake,
    "rad_vqa": parquet(f"data/{ONE}", *made.ROWS["vqa-rad"]),
    "path_vqa": parquet(f"data/{ONE}", *made.ROWS["path-vqa"]),
    "pmc_vqa": parquet(f"pmc_vqa/{ONE}", eval_row(60), eval_row(61, answer="No uptake")),
    "pmc_vqa_hard": parquet(f"pmc_vqa_hard/{ONE}", open_row(62), open_row(63)),
    "mimic_cxr_report_generation": write_mimic,
    "mmmu_med": write_mmmu,
    "medxpertqa_text": expert,
    "medxpertqa_mm": expert,
    "omnimedvqa": set_of("omnimedvqa"),
    "healthbench": set_of("healthbench"),
    "healthbench_hard": lambda folder: made.write_lines(folder / "hard_2025.jsonl", made.ROWS["healthbench"]),
    "medbullets": set_of("medbullets"),
    "medbullets_op4": lambda folder: made.write_parquet(
        folder / "data" / "op4_test-00000-of-00001.parquet", [hub_bullets_row(40), hub_bullets_row(41, answer="A")]
    ),
    "supergpqa_medical": lambda folder: made.write_lines(
        folder / "SuperGPQA-all.jsonl", [*made.ROWS["supergpqa-medical"], made.graduate_row(9, discipline="Law")]
    ),
    "cmb_exam": write_cmb,
    "medframeqa": set_of("medframeqa"),
    "gmai_mmbench": set_of("gmai-mmbench"),
    "healthbench_consensus": lambda folder: made.write_lines(folder / "consensus_2025.jsonl", made.ROWS["healthbench"]),
}
EXPECTED = dict.fromkeys(WRITERS, 2) | {
    "mmlu_medical_genetics": 1,
    "mmlu_professional_medicine": 1,
    "rad_vqa": 3,
    "mmmu_med": 7,
    "omnimedvqa": 3,
}
"""Questions that each copy has; SLAKE's has a third row in another language, which is refused."""


def write(task: str, folder: Path) -> Path:
    """Write a task's set below a folder, and give the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    WRITERS[task](folder)
    return folder
