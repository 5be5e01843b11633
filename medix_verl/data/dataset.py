# SPDX-License-Identifier: Apache-2.0
"""MedixDataset: rows of the sample schema as verl's data loader and agent loops want them.

A recipe selects it through `data.custom_cls`. `data.train_files` names parquet files, or one mixture file (see
`mixture_spec`). The prompt is rendered when a row is loaded, from the template that `data.medix.prompt` names and that
evaluation uses too, so that a file never freezes a prompt. Text-only, one-image and many-image rows may share a batch.
A row that cannot be read stops the run and is named by its id; nothing is dropped in silence but prompts longer than
`data.max_prompt_length`, and these are counted. A run that is resumed on other rows than it was stopped on is refused.

verl's own columns stay verl's: `data_source`, `raw_prompt`, `reward_model.ground_truth`, `extra_info`.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.utils.tokenizer import build_multimodal_processor_inputs

from medix_verl.credentialed import is_credentialed
from medix_verl.data.in_flight import budget, open_message, to_message
from medix_verl.data.lengths import image_size, picture_tokens, rule_of
from medix_verl.data.mixture import Plan, build
from medix_verl.data.mixture_spec import is_mixture, read_mixture
from medix_verl.data.prompts import build_messages
from medix_verl.data.schema import SAMPLE_SCHEMA, check_file, from_row
from medix_verl.errors import ConfigError, DataError
from medix_verl.types import Sample

__all__ = ["MedixDataset"]

_logger = logging.getLogger(__name__)
_FILE = "medix_file"
"""Column of the number, in `data_files`, of the file that a row comes from."""
_ROWS_AT_ONCE = 64
_MIN_ROWS_A_PROCESS = 500
"""Below this, a further process costs more than it saves."""


class MedixDataset(RLHFDataset):
    """verl's RLHFDataset over parquet files of medix_verl.data.schema.

    Constructor arguments are RLHFDataset's. Keys of `data.medix` in the recipe: `prompt` (template's name), `prepare`
    (the command that makes the files, shown when one is missing), `images` and `image_store` (see `in_flight`).
    """

    data_files: list[str]
    original_data_files: list[str]
    plan: Plan | None = None

    def _read_files_and_tokenize(self) -> None:
        """Upstream's reading, with the number of its file in each row: relative picture paths start there."""
        self.folders = [str(Path(path).resolve().parent) for path in self.original_data_files]
        frames = []
        for number, path in enumerate(self.data_files):
            check_file(path)
            # Features are given, so that a column without a value in one file is of the type that it has in another.
            features = datasets.Features.from_arrow_schema(SAMPLE_SCHEMA)
            frame = datasets.load_dataset(
                "parquet", data_files=path, columns=SAMPLE_SCHEMA.names, features=features, split="train"
            )
            frames.append(frame.add_column(_FILE, np.full(len(frame), number)))
        frame = datasets.concatenate_datasets(frames)
        if self.plan is not None:
            starts = np.cumsum([0, *(len(part) for part in frames[:-1])])
            frame = frame.select(starts[self.plan.table[:, 0]] + self.plan.table[:, 1])
        if 0 < self.max_samples < len(frame):
            chosen: Any = np.arange(self.max_samples)
            if self.shuffle:
                chosen = np.random.default_rng(self.seed).choice(len(frame), self.max_samples, replace=False)
            _logger.info("%d of %d rows were chosen", self.max_samples, len(frame))
            frame = frame.select(chosen.tolist())
        self.dataframe = self.maybe_filter_out_long_prompts(frame)
        names = "\n".join(self.dataframe.select_columns("id")[:]["id"])
        self.identity = {"rows": len(self.dataframe), "ids": hashlib.sha256(names.encode()).hexdigest()}

    def _download(self, use_origin_parquet: bool = False) -> None:
        self.data_files = [_expanded(path) for path in self.data_files]
        self.original_data_files = [_expanded(path) for path in self.original_data_files]
        if any(is_mixture(path) for path in self.original_data_files):
            self._plan_mixture()
        for path in self.original_data_files:
            if "://" not in path and not Path(path).exists():
                command = self._setting("prepare", "medix-verl prepare")
                raise DataError(f"there is no data file {path}: type `{command}` to make it, or set data.train_files")
        super()._download(use_origin_parquet)

    def _plan_mixture(self) -> None:
        if len(self.original_data_files) > 1:
            raise ConfigError(
                f"data.train_files is {self.original_data_files}: a mixture file stands alone; name the others in it"
            )
        name = self.original_data_files[0]
        self.plan = build(read_mixture(name))
        if self.plan.ordered and self.config.get("shuffle"):
            raise ConfigError(
                f"{name} is a curriculum and data.shuffle=true would undo its order: set data.shuffle=false"
            )
        for item in self.plan.report:
            _logger.info("mixture: %s gives %d of %d usable rows", item.path, item.given, item.usable)
        self.original_data_files = list(self.plan.files)
        self.data_files = list(self.plan.files)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint of the data loader keeps: which rows, in which order."""
        return dict(self.identity)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Refuse to go on with other rows than the checkpoint's: the loader's place in them would mean nothing.

        Raises:
            ConfigError: They are others.
        """
        if dict(state) != self.identity:
            raise ConfigError(
                f"the checkpoint was made on {state.get('rows')} rows, and these are {len(self)} others or in another "
                "order: give data.train_files (or the mixture file) of the stopped run, or trainer.resume_mode=disable"
            )

    def maybe_filter_out_long_prompts(self, dataframe: Any = None) -> Any:
        """Drop prompts longer than `data.max_prompt_length` tokens, pictures included, and say how many.

        Raises:
            DataError: a row cannot be read (upstream would print a traceback and drop it).
        """
        if not self.filter_overlong_prompts:
            return dataframe
        before = len(dataframe)
        processes = min(self.num_workers or 1, before // _MIN_ROWS_A_PROCESS)
        kept = dataframe.filter(
            lambda rows: [length <= self.max_prompt_length for length in self._prompt_lengths(rows)],
            batched=True,
            batch_size=_ROWS_AT_ONCE,
            num_proc=processes if processes > 1 else None,
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
        """One row for verl: messages, reference and bookkeeping; pictures inside `raw_prompt` (see `in_flight`)."""
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

    @classmethod
    def _process_multi_modal_info(
        cls, messages: list[dict[str, Any]], image_patch_size: int, config: Any
    ) -> tuple[Any, Any, Any]:
        """Open the pictures of a prompt in the agent loop, which calls this through `process_multi_modal_info`."""
        items = [part for message in messages if isinstance(message["content"], list) for part in message["content"]]
        if any(part.get("type") in ("video", "audio") for part in items):
            return super()._process_multi_modal_info(messages, image_patch_size, config)
        rule = budget(image_patch_size, config.get("mm_processor_kwargs"))
        images = [open_message(part, rule) for part in items if part.get("type") == "image"]
        return images or None, None, None

    def _messages(self, sample: Sample, file: int) -> list[dict[str, Any]]:
        form, store = self._setting("images", "encoded"), self._setting("image_store", "")
        rule = budget(self.image_patch_size, self.mm_processor_kwargs)
        items = [to_message(ref, sample.id, self.folders[file], form, rule, store) for ref in sample.images]
        return build_messages(sample, items, template=self._setting("prompt", "medix"))

    def _prompt_lengths(self, rows: dict[str, list[Any]]) -> list[int]:
        """Tokens of several rows' prompts; pictures are opened only where the processor has another rule than ours."""
        count = len(rows["id"])
        batch = [{column: values[number] for column, values in rows.items()} for number in range(count)]
        rule = rule_of(self.processor, self.mm_processor_kwargs)
        if self.processor is not None and rule is None:
            return [self._processed_length(row) for row in batch]
        samples = [from_row(row) for row in batch]
        template = self._setting("prompt", "medix")
        texts = [self._chat_text(build_messages(s, [""] * len(s.images), template)) for s in samples]
        lengths = [len(ids) for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]]
        for number, (sample, row) in enumerate(zip(samples, batch, strict=True)):
            if rule is not None:
                sizes = [image_size(ref, sample.id, self.folders[row[_FILE]]) for ref in sample.images]
                lengths[number] += picture_tokens(sizes, rule, sample.id)
        return lengths

    def _processed_length(self, row: dict[str, Any]) -> int:
        messages = self._messages(from_row(row), row[_FILE])
        images, videos, audios = self._process_multi_modal_info(messages, self.image_patch_size, self.config)
        inputs = build_multimodal_processor_inputs(
            self.processor,
            text=[self._chat_text(messages)],
            images=images,
            videos=videos,
            audio=audios,
            mm_processor_kwargs=self.mm_processor_kwargs,
        )
        return len(inputs["input_ids"][0])

    def _chat_text(self, messages: list[dict[str, Any]]) -> str:
        settings = dict(self.apply_chat_template_kwargs)
        if self.tool_schemas is not None:
            settings["tools"] = self.tool_schemas
        speaker = self.processor or self.tokenizer
        return str(speaker.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, **settings))

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
        "credentialed": is_credentialed(sample.data_source, sample.meta),
    }
