# SPDX-License-Identifier: Apache-2.0
"""MedixDataset: feeds rows of the sample schema to verl's data loader and agent loops.

A recipe selects it with `data.custom_cls`. `data.train_files` lists parquet files, or one mixture file (see
`mixture.spec`). The prompt is rendered when a row is loaded, from the template `data.medix.prompt`, which evaluation
uses too; files contain no rendered prompts. Rows with no, one or many pictures may share a batch. A row that cannot be
read stops the run with an error that contains its id. Only prompts longer than `data.max_prompt_length` are dropped,
and these are counted. A run that is resumed on different rows is refused.

verl's own columns keep their meaning: `data_source`, `raw_prompt`, `reward_model.ground_truth`, `extra_info`.
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
from medix_verl.data.io.parquet import load_table
from medix_verl.data.mixture.plan import Plan, build
from medix_verl.data.mixture.spec import is_mixture, read_mixture
from medix_verl.data.pictures.images import naming_place
from medix_verl.data.pictures.messages import budget, open_message, to_message
from medix_verl.data.pictures.token_counts import image_size, picture_tokens, rule_of
from medix_verl.data.prompts import build_messages
from medix_verl.data.schema import check_file, from_row, read_meta
from medix_verl.errors import ConfigError, DataError
from medix_verl.types import Sample

__all__ = ["MedixDataset"]

_logger = logging.getLogger(__name__)
_FILE = "medix_file"
"""Column with the index, in `data_files`, of the row's file."""
_ROWS_AT_ONCE = 64
LOCAL_LOGGERS = frozenset({"console", "file", "tensorboard"})
"""verl's loggers that write only to this machine."""
_MIN_ROWS_A_PROCESS = 500
"""Minimum number of rows per process; with fewer, another process costs more time than it saves."""


class MedixDataset(RLHFDataset):
    """verl's RLHFDataset over parquet files of medix_verl.data.schema.

    Constructor arguments are RLHFDataset's. Keys of `data.medix` in the recipe: `prompt` (name of the template),
    `prepare` (the command that creates the files, shown if one is missing), `images` and `image_store` (see
    `pictures.messages`), `loggers` and `logged_generations` (the trainer's `logger` and `log_val_generations`: see
    `_check_loggers`).
    """

    data_files: list[str]
    original_data_files: list[str]
    named_files: list[str]
    """As listed in the configuration: a mixture is one file."""
    plan: Plan | None = None
    decoded: list[bool]
    """For each file, whether its pictures were decoded when it was written, so that loading need not decode them."""

    def _read_files_and_tokenize(self) -> None:
        """Upstream's reading, plus each row's file index, because picture paths are relative to the file's folder."""
        self.folders = [str(Path(path).resolve().parent) for path in self.original_data_files]
        frames, self.decoded = [], []
        for number, path in enumerate(self.data_files):
            check_file(path)
            frame, decoded = load_table(path)
            self.decoded.append(decoded)
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
        self._check_loggers(frame)
        self.dataframe = self.maybe_filter_out_long_prompts(frame)
        names = "\n".join(self.dataframe.select_columns("id")[:]["id"])
        self.identity = {"rows": len(self.dataframe), "ids": hashlib.sha256(names.encode()).hexdigest()}

    def _download(self, use_origin_parquet: bool = False) -> None:
        self.data_files = [_expanded(path) for path in self.data_files]
        self.original_data_files = [_expanded(path) for path in self.original_data_files]
        self.named_files = list(self.original_data_files)
        if any(is_mixture(path) for path in self.original_data_files):
            self._plan_mixture()
        for path in self.original_data_files:
            if "://" not in path and not Path(path).exists():
                command = self._setting("prepare", "medix-verl prepare")
                raise DataError(f"there is no data file {path}: type `{command}` to make it, or set data.train_files")
        super()._download(use_origin_parquet)

    def _check_loggers(self, frame: Any) -> None:
        """Refuse validation on credentialed rows if verl would send their texts to a tracking service.

        Raises:
            ConfigError: `trainer.log_val_generations` is above 0, and a logger of `trainer.logger` is not known to
                write only to this machine.
        """
        settings = self.config.get("medix") or {}
        loggers = settings.get("loggers") or ()
        away = [name for name in ([loggers] if isinstance(loggers, str) else loggers) if name not in LOCAL_LOGGERS]
        validated = {_expanded(path) for path in _listed(self.config.get("val_files"))}
        if not away or not (settings.get("logged_generations") or 0) > 0 or validated.isdisjoint(self.named_files):
            return
        for row in frame.select_columns(["id", "data_source", "meta"]):
            if is_credentialed(row["data_source"], read_meta(row["meta"], f"row {row['id']!r}")):
                raise ConfigError(
                    f"row {row['id']!r} of {self.named_files[0]} is credentialed, and trainer.log_val_generations="
                    f"{settings['logged_generations']} would send its texts away by trainer.logger={away[0]}: type "
                    "trainer.log_val_generations=0 (trainer.validation_data_dir keeps the answers on this machine)"
                )

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
        """State for the data loader's checkpoint: which rows, in which order."""
        return dict(self.identity)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Refuse to resume with rows other than the checkpoint's: the loader's position would be meaningless.

        Raises:
            ConfigError: The rows or their order differ.
        """
        if dict(state) != self.identity:
            raise ConfigError(
                f"the checkpoint was made on {state.get('rows')} rows, and these are {len(self)} others or in another "
                "order: give data.train_files (or the mixture file) of the stopped run, or trainer.resume_mode=disable"
            )

    def maybe_filter_out_long_prompts(self, dataframe: Any = None) -> Any:
        """Drop prompts longer than `data.max_prompt_length` tokens, including pictures, and log how many.

        Raises:
            DataError: A row cannot be read (upstream would print a traceback and drop it).
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
            # The cache key is the rows' content, which does not include pictures stored outside the file.
            load_from_cache_file=False if _has_paths(dataframe) else None,
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
        """One row for verl: messages, reference, metadata; pictures are in `raw_prompt` (see `pictures.messages`)."""
        row = self.dataframe[item]
        sample = from_row(row)
        return {
            "data_source": sample.data_source,
            "raw_prompt": self._messages(sample, row[_FILE]),
            "reward_model": {"style": "model", "ground_truth": sample.answer},
            "extra_info": _extra_info(sample, item),
            # verl requires one tensor per row, so that a batch always has one.
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
        items = []
        for number, ref in enumerate(sample.images, 1):
            with naming_place(number, len(sample.images)):
                known = self.decoded[file]
                items.append(to_message(ref, sample.id, self.folders[file], form, rule, store, known))
        return build_messages(sample, items, template=self._setting("prompt", "medix"))

    def _prompt_lengths(self, rows: dict[str, list[Any]]) -> list[int]:
        """Prompt tokens of several rows; pictures are opened only if the processor does not use our pixel rule."""
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


def _has_paths(frame: Any) -> bool:
    """Whether a row refers to a picture outside its file."""
    chunks = (chunk.flatten().field("path") for chunk in frame.data.column("images").chunks)
    return any(paths.null_count < len(paths) for paths in chunks)


def _listed(files: Any) -> list[str]:
    return [] if files is None else [files] if isinstance(files, str) else [str(path) for path in files]


def _expanded(path: Any) -> str:
    """Expand the tilde of a local path; verl would take it for a folder name."""
    return str(path) if "://" in str(path) else str(Path(path).expanduser())


def _extra_info(sample: Sample, index: int) -> dict[str, Any]:
    """Input of the reward manager; the keys are always the same, so that batches of several sources are compatible."""
    return {
        "index": index,
        "split": sample.split,
        "id": sample.id,
        "question": sample.question,
        "modality": sample.modality,
        "options": list(sample.options) if sample.options else None,
        "synonyms": list(sample.meta.get("synonyms") or ()),
        "tolerance": sample.meta.get("tolerance"),
        "label": sample.meta.get("label"),
        "credentialed": is_credentialed(sample.data_source, sample.meta),
    }
