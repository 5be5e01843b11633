# SPDX-License-Identifier: Apache-2.0
"""Small copies of the public sets in their published layouts: file names, columns and types; all content is made up.

`ROWS[name]` are a set's rows as its files hold them, `WRITERS[name]` writes them (or others) below a folder, and
`FILES[name]` lists the pictures that lie beside the rows. `FakeSource` gives rows without any file, for property tests.
"""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from medix_verl.data.converters.base import Refused, resolve_options
from medix_verl.errors import DataError
from medix_verl.types import Sample

Row = dict[str, Any]


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (6, 4), shade).save(buffer, "PNG")
    return buffer.getvalue()


def picture(shade: int) -> Row:
    return {"bytes": png(shade), "path": None}


def letters(prefix: str, texts: Sequence[str | None]) -> Row:
    return {f"{prefix}{letter}": text for letter, text in zip("ABCDEFGHIJ", texts, strict=False)}


def slake_row(qid: int, **changes: Any) -> Row:
    row = {"img_id": 1, "img_name": "xmlab1/source.jpg", "question": "What modality is used?", "answer": "CT"}
    row |= {"q_lang": "en", "location": "Abdomen", "modality": "CT", "answer_type": "OPEN", "base_type": "vqa"}
    return row | {"content_type": "Modality", "triple": ["vhead", "_", "_"], "qid": qid} | changes


def visual_row(shade: int, question: str, answer: str, **more: Any) -> Row:
    return {"image": picture(shade), "question": question, "answer": answer, **more}


def pmc_row(figure: str, label: str, answer: str, **changes: Any) -> Row:
    row = {"Figure_path": figure, "Question": "What is the uptake pattern?", "Answer": answer}
    texts = ["A:Diffuse uptake", "B:Focal uptake", " C: None ", "D:Cannot be told"]
    return row | letters("Choice ", texts) | {"Answer_label": label} | changes


def omni_row(number: int, **changes: Any) -> Row:
    row = {
        "dataset": "Chest CT Scan",
        "question_id": f"Chest CT Scan_{number:04d}",
        "question_type": "Disease Diagnosis",
    }
    row |= {"question": "What is shown?", "gt_answer": "Adenocarcinoma", "image_path": "Images/Chest CT Scan/a.png"}
    texts = ["Normal", "Adenocarcinoma", "Granuloma", "Effusion"]
    return row | letters("option_", texts) | {"modality_type": "CT(Computed Tomography)"} | changes


def pubmed_row(number: int, **changes: Any) -> Row:
    turns = [
        ("human", "<image>\nWhat does the figure show?"),
        ("gpt", "A nodule."),
        ("human", "Where?"),
        ("gpt", "Left."),
    ]
    row = {"image": ["images/pmc_1_0.jpg", "images/pmc_1_1.jpg"], "id": f"Instruct_VQA_{number}"}
    row |= {"conversations": [{"from": who, "value": text} for who, text in turns]}
    return row | {"modality": "Computed Tomography", "body_part": "Chest"} | changes


def expert_row(name: str, **changes: Any) -> Row:
    texts = ["Erythema", "Larva", "Cutis", "Ab igne", "Purpura"]
    shown = " ".join(f"({letter}) {text}" for letter, text in letters("", texts).items())
    row = {"id": name, "question": f"What is it?\nAnswer Choices: {shown}", "options": letters("", texts), "label": "D"}
    row |= {"medical_task": "Diagnosis", "body_system": "Integumentary", "question_type": "Reasoning"}
    return row | ({"images": [f"{name}-a.jpeg", f"{name}-b.jpeg"]} if name.startswith("MM") else {}) | changes


def medqa_row(number: int, **changes: Any) -> Row:
    endings = {f"ending{at}": text for at, text in enumerate(["Ampicillin", "Ceftriaxone", "Doxycycline", "None"])}
    return {"id": f"train-{number:05d}", "sent1": "Which drug?", "sent2": "", **endings, "label": 2} | changes


def medmcqa_row(name: str, **changes: Any) -> Row:
    row = {
        "id": name,
        "question": "Which vitamin?",
        "opa": "A",
        "opb": "B&lt;sub&gt;12&lt;/sub&gt;",
        "opc": "C",
        "opd": "D",
    }
    row |= {"cop": 1, "choice_type": "single", "exp": None, "subject_name": "Biochemistry", "topic_name": None}
    return row | changes


def pubmedqa_row(pubid: int, **changes: Any) -> Row:
    context = {
        "contexts": ["BACKGROUND: little.", "RESULTS: some."],
        "labels": ["BACKGROUND", "RESULTS"],
        "meshes": ["X"],
    }
    row = {"pubid": pubid, "question": "Does it help?", "context": context, "long_answer": "It may help."}
    return row | {"final_decision": "maybe"} | changes


def mmlu_row(question: str, **changes: Any) -> Row:
    return {
        "question": question,
        "subject": "anatomy",
        "choices": ["one", "two", "three", "four"],
        "answer": 3,
    } | changes


def health_row(name: str, **changes: Any) -> Row:
    rubrics = [
        {"criterion": "Names an emergency number", "points": 8, "tags": ["level:example"]},
        {"criterion": "Gives a dose", "points": -5, "tags": []},
    ]
    row = {"example_tags": ["theme:emergency"], "ideal_completions_data": None, "prompt_id": name, "rubrics": rubrics}
    turns = [("user", "My chest hurts."), ("assistant", "Since when?"), ("user", "An hour.")]
    return row | {"prompt": [{"role": who, "content": text} for who, text in turns], "canary": "made up"} | changes


def bullets_row(number: int, **changes: Any) -> Row:
    row = {"link": "https://example.org", "question": f"A woman of {number} years. What helps?"}
    row |= dict(
        zip(("opa", "opb", "opc", "opd", "ope"), ("Rest", "Heparin", "Aspirin", "Surgery", "Nothing"), strict=True)
    )
    return row | {"answer_idx": "B", "answer": "Heparin", "explanation": "It does."} | changes


def graduate_row(number: int, **changes: Any) -> Row:
    row: Row = {
        "uuid": f"{number:032x}",
        "question": f"Which enzyme, {number}?",
        "answer": "Renin",
        "answer_letter": "J",
    }
    row |= {"options": [*(f"Enzyme {place}" for place in range(9)), "Renin"], "discipline": "Medicine"}
    return (
        row
        | {"field": "Basic Medicine", "subfield": "Physiology", "difficulty": "hard", "is_calculation": False}
        | changes
    )


def exam_row(number: int, **changes: Any) -> Row:
    row: Row = {
        "exam_type": "医师考试",
        "exam_class": "执业医师",
        "exam_subject": "内科",
        "question": f"第{number}题，首选的药物是",
    }
    row |= {
        "question_type": "单项选择题",
        "answer": "C",
        "option": {"A": "甲", "B": "乙", "C": "丙", "D": "丁", "E": ""},
    }
    return row | changes


def frame_row(number: int, **changes: Any) -> Row:
    row = {"question_id": f"q{number}", "system": "chest", "organ": "lung", "keyword": "nodule", "modality": "CT"}
    row |= {"video_id": "v1", "question": "What changes between the frames?", "reasoning_chain": "..."}
    row |= {"options": ["The nodule grows.", "Nothing changes.", "It is gone."], "correct_answer": "B"}
    pictures = {f"image_{place}": picture(number + place) for place in (1, 2)}
    return row | pictures | changes


def bench_row(number: int, **changes: Any) -> Row:
    row = {"index": str(number), "image": base64.b64encode(png(40 + number)).decode(), "question": "What is shown?"}
    row |= {
        "A": "Polyp",
        "B": "Ulcer",
        "C": "Normal mucosa",
        "D": "Bleeding",
        "E": "",
        "answer": "B",
        "category": "Ulcer",
    }
    row |= {"clinical vqa task": "Disease diagnosis", "department": "Gastroenterology and hepatology"}
    return row | {"perceptual granularity": "image", "modality": "Endoscopy"} | changes


O1_QUESTION, O1_ANSWER = "Open-ended Verifiable Question", "Ground-True Answer"
REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old woman with cough

 FINDINGS:

 The lungs are clear. NG TUBE: none.
 No effusion.

 IMPRESSION:

 No acute process.
"""

ROWS: dict[str, list[Row]] = {
    "slake": [
        slake_row(0),
        slake_row(1, q_lang="zh", question="模态?"),
        slake_row(2, answer="Yes", answer_type="CLOSED"),
    ],
    "vqa-rad": [
        visual_row(1, "Is there edema?", "no"),
        visual_row(1, "Is there edema?", "no"),
        visual_row(2, "Where?", "left"),
    ],
    "path-vqa": [visual_row(3, "Is it benign?", "yes"), visual_row(4, "What is present?", "tumour")],
    "kvasir-vqa": [
        visual_row(5, "Is there a polyp?", "Yes", source="HyperKvasir", img_id="cl8k2"),
        visual_row(5, "Where?", "center; lower-left", source="HyperKvasir", img_id="cl8k2"),
    ],
    "pmc-vqa": [pmc_row("PMC1_F1.jpg", "B", "Focal uptake"), pmc_row("PMC2_F1.jpg", "C", "None")],
    "omnimedvqa": [
        omni_row(1),
        omni_row(2, option_C=None, option_D=None, gt_answer="normal."),
        {("modality" if key == "modality_type" else key): value for key, value in omni_row(3).items()},
    ],
    "pubmedvision": [pubmed_row(0), pubmed_row(1, image=["images/pmc_1_1.jpg"], modality="Hologram")],
    "medxpertqa": [expert_row("MM-1"), expert_row("MM-2", label="A")],
    "medqa": [medqa_row(0), medqa_row(1, label=0)],
    "medmcqa": [medmcqa_row("e9ad"), medmcqa_row("e9ae", cop=3)],
    "pubmedqa": [pubmedqa_row(21645374), pubmedqa_row(16418930, final_decision="no")],
    "mmlu-medical": [mmlu_row("Which bone?"), mmlu_row("Which nerve?", answer=0)],
    "medical-o1-verifiable-problem": [{O1_QUESTION: "Which drug?", O1_ANSWER: "Heparin"}],
    "healthbench": [health_row("5f3c"), health_row("5f3d", prompt=[{"role": "user", "content": "Is it safe?"}])],
    "medbullets": [bullets_row(20), bullets_row(30, answer_idx="E", answer="Nothing")],
    "supergpqa-medical": [graduate_row(1), graduate_row(2, options=["Renin", "Trypsin"], answer_letter="A")],
    "cmb-exam": [exam_row(1), exam_row(2, answer="A")],
    "medframeqa": [frame_row(60, image_3=picture(65), correct_answer="A"), frame_row(70, video_id="v2")],
    "gmai-mmbench": [bench_row(1), bench_row(2, E="Stool", answer="E")],
    "mimic-cxr": [
        {"dicom_id": "d1", "study_id": "50414267", "subject_id": "10000032", "split": "train", "ViewPosition": "PA"},
        {
            "dicom_id": "d2",
            "study_id": "50414267",
            "subject_id": "10000032",
            "split": "train",
            "ViewPosition": "LATERAL",
        },
        {"dicom_id": "d3", "study_id": "53189527", "subject_id": "10000764", "split": "train", "ViewPosition": "AP"},
        {"dicom_id": "d4", "study_id": "53911762", "subject_id": "10000898", "split": "test", "ViewPosition": "AP"},
    ],
    "iu-xray": [
        {
            "id": "CXR1_IM-1",
            "report": "The heart is normal.",
            "image_path": ["CXR1/0.png", "CXR1/1.png"],
            "split": "train",
        },
        {"id": "CXR2_IM-2", "report": "XXXX nodule.", "image_path": ["CXR2/0.png"], "split": "train"},
    ],
}
FILES: dict[str, dict[str, bytes]] = {
    "slake": {"imgs/xmlab1/source.jpg": png(10)},
    "pmc-vqa": {"images/PMC1_F1.jpg": png(11), "images/PMC2_F1.jpg": png(12)},
    "omnimedvqa": {"Images/Chest CT Scan/a.png": png(13)},
    "pubmedvision": {"images_0/pmc_1_0.jpg": png(14), "images_0/pmc_1_1.jpg": png(15)},
    "medxpertqa": {f"images/MM-{number}-{part}.jpeg": png(16 + number) for number in (1, 2) for part in "ab"},
    "iu-xray": {"images/CXR1/0.png": png(20), "images/CXR1/1.png": png(21), "images/CXR2/0.png": png(22)},
}


def write_parquet(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


def write_json(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def write_lines(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")


def table_text(rows: Sequence[Row], delimiter: str = ",") -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def beside(name: str, archive: str) -> Callable[[Path], None]:
    return lambda folder: write_zip(folder / archive, FILES[name])


def write_mimic(folder: Path, rows: Sequence[Row]) -> None:
    parts = {
        "split": ("dicom_id", "study_id", "subject_id", "split"),
        "metadata": ("dicom_id", "subject_id", "ViewPosition"),
    }
    for part, columns in parts.items():
        text = table_text([{column: row[column] for column in columns if column in row} for row in rows])
        (folder / f"mimic-cxr-2.0.0-{part}.csv.gz").write_bytes(gzip.compress(text.encode()))
    for row in rows:
        study = folder / "files" / f"p{row['subject_id'][:2]}" / f"p{row['subject_id']}" / f"s{row['study_id']}"
        study.mkdir(parents=True, exist_ok=True)
        study.with_suffix(".txt").write_text(REPORT, encoding="utf-8")
        (study / f"{row['dicom_id']}.jpg").write_bytes(png(30))


def write_iu(folder: Path, rows: Sequence[Row]) -> None:
    parts = {split: [row for row in rows if row.get("split") == split] for split in ("train", "val", "test")}
    (folder / "annotation.json").write_text(json.dumps(parts), encoding="utf-8")
    for name, content in FILES["iu-xray"].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def rows_and(
    write: Callable[[Path, Sequence[Row]], None], name: str, *more: Callable[[Path], None]
) -> Callable[..., None]:
    def writer(folder: Path, rows: Sequence[Row]) -> None:
        write(folder / name, rows)
        for step in more:
            step(folder)

    return writer


def write_tsv(path: Path, rows: Sequence[Row]) -> None:
    path.write_text(table_text(rows, "\t"), encoding="utf-8")


def write_tables(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(table_text(rows), encoding="utf-8")


def write_mmlu(folder: Path, rows: Sequence[Row]) -> None:
    for subset in ("anatomy", "clinical_knowledge", "college_biology", "college_medicine"):
        write_parquet(folder / subset / "test-00000-of-00001.parquet", rows)
    for subset in ("medical_genetics", "professional_medicine"):
        write_parquet(folder / subset / "test-00000-of-00001.parquet", rows[:1])


OPEN = "QA_information/Open-access/Chest CT Scan.json"
PUBMED = "PubMedVision_InstructionTuning_VQA.json"
WRITERS: dict[str, Callable[[Path, Sequence[Row]], None]] = {
    "slake": rows_and(write_json, "train.json", beside("slake", "imgs.zip")),
    "vqa-rad": rows_and(write_parquet, "data/train-00000-of-00001-eb8844602202be60.parquet"),
    "path-vqa": rows_and(write_parquet, "data/train-00000-of-00007.parquet"),
    "kvasir-vqa": rows_and(write_parquet, "data/00000.parquet"),
    "pmc-vqa": rows_and(write_tables, "train.csv", beside("pmc-vqa", "images.zip")),
    "omnimedvqa": rows_and(write_json, OPEN, beside("omnimedvqa", "pictures.zip")),
    "pubmedvision": rows_and(write_json, PUBMED, beside("pubmedvision", "images_0.zip")),
    "medxpertqa": rows_and(write_lines, "MM/test.jsonl", beside("medxpertqa", "images.zip")),
    "medqa": rows_and(write_lines, "train.json"),
    "medmcqa": rows_and(write_parquet, "data/train-00000-of-00001.parquet"),
    "pubmedqa": rows_and(write_parquet, "pqa_labeled/train-00000-of-00001.parquet"),
    "mmlu-medical": write_mmlu,
    "medical-o1-verifiable-problem": rows_and(write_json, "medical_o1_verifiable_problem.json"),
    "healthbench": rows_and(write_lines, "2025-05-07-06-14-12_oss_eval.jsonl"),
    "medbullets": rows_and(write_tables, "medbullets/medbullets_op5.csv"),
    "supergpqa-medical": rows_and(write_lines, "SuperGPQA-all.jsonl"),
    "cmb-exam": rows_and(write_json, "CMB-Exam/CMB-train/CMB-train-merge.json"),
    "medframeqa": rows_and(write_parquet, "data/test-00000-of-00002.parquet"),
    "gmai-mmbench": rows_and(write_tsv, "GMAI_mm_bench_VAL.tsv"),
    "mimic-cxr": write_mimic,
    "iu-xray": write_iu,
}
TESTS = ("omnimedvqa", "medxpertqa", "pubmedqa", "mmlu-medical", "healthbench", "medbullets", "supergpqa-medical")
SPLITS = {**dict.fromkeys((*TESTS, "medframeqa"), "test"), "gmai-mmbench": "val"}
"""The split that WRITERS writes, where it is not train."""


class FakeSource:
    """Rows out of memory, whatever is asked for; every picture is there."""

    place = "fake"
    local = True

    def __init__(self, rows: Sequence[Row], options: Mapping[str, str], lost: str = "") -> None:
        self.options, self._rows, self._lost = dict(options), rows, lost

    def rows(
        self, split: str, columns: Sequence[str], optional: Sequence[str] = (), config: Any = None, files: Any = None
    ) -> Iterator[Row]:
        for row in self._rows:
            yield {column: row.get(column) for column in (*columns, *optional)}

    def names(self, *patterns: str) -> list[str]:
        return [pattern for pattern in patterns if pattern != "annotation.json"]

    def member(self, name: str) -> bytes:
        if not name or name == self._lost:
            raise DataError(f"there is no file {name} beside the rows")
        return png(7)


def read(converter: Any, rows: list[Row], split: str = "train", **options: str) -> list[Sample | Refused]:
    """What a converter makes of rows, with its options as they are typed."""
    offered = getattr(converter, "OPTIONS", {})
    return list(converter.read(FakeSource(rows, resolve_options("x", offered, options)), split))


def one(converter: Any, row: Row, split: str = "train", **options: str) -> Any:
    """What a converter makes of one row."""
    (item,) = read(converter, [row], split, **options)
    return item
