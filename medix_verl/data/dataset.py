# SPDX-License-Identifier: Apache-2.0
"""MedixDataset: rows of the sample schema as verl's data loader and agent loops want them.

A recipe selects it through `data.custom_cls`. The prompt is rendered when a row is loaded, from the template that
`data.medix.prompt` names and that evaluation uses too, so that a file never freezes a prompt. Text-only, one-image
and many-image rows may share a batch. A row that cannot be read stops the run and is named by its id; nothing is
dropped in silence but prompts longer than `data.max_prompt_length`, and these are counted.

verl's own columns stay verl's: `data_source`, `raw_prompt`, `reward_model.ground_truth`, `extra_info`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.utils.tokenizer import build_multimodal_processor_inputs

from medix_verl.data.images import load_image
from medix_verl.data.prompts import build_messages
from medix_verl.data.schema import check_file, from_row
from medix_verl.errors import DataError
from medix_verl.types import Sample

__all__ = ["MedixDataset"]

_logger = logging.getLogger(__name__)
_FILE = "medix_file"
"""Column of the number, in `data_files`, of the file that a row comes from."""


class MedixDataset(RLHFDataset):
    """verl's RLHFDataset over parquet files of medix_verl.data.schema.

    Constructor arguments are RLHFDataset's. Keys of `data.medix` in the recipe: `prompt` (template's name) and
    `prepare` (the command that makes the files, shown when one is missing).
    """

    data_files: list[str]
    original_data_files: list[str]

    def _read_files_and_tokenize(self) -> None:
        """Upstream's reading, with the number of its file in each row: relative picture paths start there."""
        self.folders = [str(Path(path).resolve().parent) for path in self.original_data_files]
        frames = []
        for number, path in enumerate(self.data_files):
            check_file(path)
            frame = datasets.load_dataset("parquet", data_files=path)["train"]
            frames.append(frame.add_column(_FILE, [number] * len(frame)))
        frame = datasets.concatenate_datasets(frames)
        if 0 < self.max_samples < len(frame):
            chosen: Any = np.arange(self.max_samples)
            if self.shuffle:
                chosen = np.random.default_rng(self.seed).choice(len(frame), self.max_samples, replace=False)
            _logger.info("%d of %d rows were chosen", self.max_samples, len(frame))
            frame = frame.select(chosen.tolist())
        self.dataframe = self.maybe_filter_out_long_prompts(frame)

    def _download(self, use_origin_parquet: bool = False) -> None:
        self.data_files = [_expanded(path) for path in self.data_files]
        self.original_data_files = [_expanded(path) for path in self.original_data_files]
        for path in self.original_data_files:
            if "://" not in path and not Path(path).exists():
                command = self._setting("prepare", "medix-verl prepare")
                raise DataError(f"there is no data file {path}: type `{command}` to make it, or set data.train_files")
        super()._download(use_origin_parquet)

    def maybe_filter_out_long_prompts(self, dataframe: Any = None) -> Any:
        """Drop prompts longer than `data.max_prompt_length` tokens, pictures included, and say how many.

        Raises:
            DataError: a row cannot be read (upstream would print a traceback and drop it).
        """
        if not self.filter_overlong_prompts:
            return dataframe
        before = len(dataframe)
        kept = dataframe.filter(
            lambda row: self._prompt_length(row) <= self.max_prompt_length,
            num_proc=self.num_workers if before > 1000 else None,
            desc=f"Filtering prompts longer than {self.max_prompt_length} tokens",
        )
        if len(kept) == 0:
            raise DataError(
                f"all {before} prompts of {self.data_files} are longer than data.max_prompt_length="
                f"{self.max_prompt_length} tokens: raise it, or lower the pictures' size"
            )
        if len(kept) < before:
            _logger.warning(
                "%d of %d prompts are longer than %d tokens and were left out",
                before - len(kept),
                before,
                self.max_prompt_length,
            )
        return kept

    def __getitem__(self, item: int) -> dict[str, Any]:
        """One row for verl: messages, reference and bookkeeping; pictures as RGB images inside `raw_prompt`."""
        row = self.dataframe[item]
        sample = from_row(row)
        return {
            "data_source": sample.data_source,
            "raw_prompt": self._messages(sample, row[_FILE]),
            "reward_model": {"style": "model", "ground_truth": sample.answer},
            "extra_info": _extra_info(sample, item),
            # verl asks for one tensor a row, so that a batch is never without any.
            "dummy_tensor": torch.tensor([0], dtype=torch.uint8),
            "index": item,
            "tools_kwargs": {},
            "interaction_kwargs": {},
        }

    def _messages(self, sample: Sample, file: int) -> list[dict[str, Any]]:
        images = [load_image(image, sample.id, self.folders[file]) for image in sample.images]
        return build_messages(sample, images, template=self._setting("prompt", "medix"))

    def _prompt_length(self, row: dict[str, Any]) -> int:
        messages = self._messages(from_row(row), row[_FILE])
        template = dict(self.apply_chat_template_kwargs)
        speaker = self.processor or self.tokenizer
        text = speaker.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, **template)
        images, videos, audios = self._process_multi_modal_info(messages, self.image_patch_size, self.config)
        if not images:
            return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        inputs = build_multimodal_processor_inputs(
            self.processor,
            text=[text],
            images=images,
            videos=videos,
            audio=audios,
            mm_processor_kwargs=self.mm_processor_kwargs,
        )
        return len(inputs["input_ids"][0])

    def _setting(self, name: str, default: str) -> str:
        return str((self.config.get("medix") or {}).get(name) or default)


def _expanded(path: Any) -> str:
    """A local path without its tilde, which verl would take for a folder's name."""
    return str(path) if "://" in str(path) else str(Path(path).expanduser())


def _extra_info(sample: Sample, index: int) -> dict[str, Any]:
    """What the reward manager reads; always the same keys, so that batches of several sources agree."""
    return {
        "index": index,
        "split": sample.split,
        "id": sample.id,
        "question": sample.question,
        "modality": sample.modality,
        "options": list(sample.options) if sample.options else None,
        "synonyms": list(sample.meta.get("synonyms") or ()),
        "tolerance": sample.meta.get("tolerance"),
    }
