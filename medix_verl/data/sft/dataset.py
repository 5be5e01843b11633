# SPDX-License-Identifier: Apache-2.0
"""MedixSFTDataset: feeds the rows of `medix-verl prepare ... --sft` to verl's SFT trainer.

A recipe selects it with `data.custom_cls`. verl's MultiTurnSFTDataset renders each turn separately; the template of a
thinking model (Qwen3-VL-Thinking, Qwen3.5) then removes the thinking from the assistant's turn, and the sequence
differs from a rollout's. Here the prompt is rendered as for a rollout, including the opening of the reply, and the
assistant's text follows exactly as the policy should generate it. Everything else (positions, padding, collation) is
verl's.

Refused, with the remedy: a file that was not written for SFT, a file whose prompt does not match the thinking format of
the model's template, and a row that is longer than `data.max_length`, which verl would truncate or fail on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset
from verl.utils.tokenizer import build_multimodal_processor_inputs

from medix_verl.chat_template import read_template, refuse_unknown
from medix_verl.data.io.parquet import load_table
from medix_verl.data.pictures.images import naming_place
from medix_verl.data.pictures.messages import budget, open_message, to_message
from medix_verl.data.schema import from_row
from medix_verl.data.sft.file import check_sft_file, misfit, read_messages, read_stamp
from medix_verl.data.sft.rows import PLACE
from medix_verl.errors import ConfigError, DataError
from medix_verl.types import Sample

__all__ = ["MedixSFTDataset"]

END = "medixendofturn"
"""A marker text that no template contains; it locates what the template appends to an assistant's turn."""


class MedixSFTDataset(MultiTurnSFTDataset):
    """verl's MultiTurnSFTDataset over files of medix_verl.data.sft.file.

    Constructor arguments are verl's. Additional keys of `data`: `mm_processor_kwargs` and `image_patch_size`, as for
    reinforcement learning. `medix.images` and `medix.image_store` do not apply: no picture is sent to another process.
    """

    tokenizer: Any
    processor: Any
    parquet_files: list[str]

    def __init__(self, parquet_files: Any, tokenizer: Any, config: Any, **others: Any) -> None:
        """As upstream."""
        self.config = config
        super().__init__(parquet_files, tokenizer, config, **others)

    def _download(self) -> None:
        self.parquet_files = [
            path if "://" in str(path) else str(Path(path).expanduser()) for path in self.parquet_files
        ]
        for path in self.parquet_files:
            if "://" not in path and not Path(path).is_file():
                raise DataError(
                    f"there is no data file {path}: type medix-verl prepare ... --sft, or set data.train_files"
                )
        self.folders = [str(Path(path).resolve().parent) for path in self.parquet_files]
        super()._download()

    def _read_files_and_process(self) -> None:
        """Memory-map the rows; only the texts of the turns are kept in memory."""
        self.settings: dict[str, Any] = dict(self.apply_chat_template_kwargs)
        if isinstance(self.enable_thinking_default, bool):
            self.settings["enable_thinking"] = self.enable_thinking_default
        self.mm_processor_kwargs = dict(self.config.get("mm_processor_kwargs") or {})
        self.speaker = self.processor if self.processor is not None else self.tokenizer
        self.thinking = refuse_unknown(read_template(self.speaker, self.settings)[1])
        self.closing = closing_of(self.speaker, self.tokenizer, self.settings)
        self.tables: list[Any] = []
        self.turns: list[list[tuple[str, str]]] = []
        places: list[tuple[int, int]] = []
        for number, path in enumerate(self.parquet_files):
            check_sft_file(path)
            self._check_form(path)
            self.tables.append(load_table(path))
            self.turns.append(read_messages(path))
            places += [(number, row) for row in range(len(self.turns[-1]))]
        if 0 < self.max_samples < len(places):
            places = places[: self.max_samples]
        # Upstream takes a row from it and passes it to _build_messages.
        self.dataframe = pd.DataFrame(places, columns=["file", "row"])
        self.messages = places
        self.tools = self.enable_thinking = None

    def _check_form(self, path: str) -> None:
        """Refuse a file whose texts do not start where the model's replies start."""
        stamp = read_stamp(path)
        asked = str((self.config.get("medix") or {}).get("prompt") or stamp.prompt)
        if asked != stamp.prompt:
            raise ConfigError(
                f"{path} was written with the prompt {stamp.prompt}, and data.medix.prompt={asked}: type "
                f"data.medix.prompt={stamp.prompt}, or prepare it with --sft-prompt {asked}"
            )
        if why := misfit(path, self.thinking):
            raise ConfigError(why)

    def _build_messages(self, example: dict[str, Any]) -> list[dict[str, Any]]:
        """The turns of a row; its pictures are opened and resized as for a rollout."""
        file, row = int(example["file"]), int(example["row"])
        sample = from_row(self.tables[file].rows[row])
        asked, said = self.turns[file][row]
        content: list[dict[str, Any]] = [{"type": "image", "image": one} for one in self._pictures(sample, file)]
        content.append({"type": "text", "text": asked.removeprefix(PLACE * len(sample.images))})
        return [
            {"role": "user", "content": content, "row": sample.id},
            {"role": "assistant", "content": [{"type": "text", "text": said}], "row": sample.id},
        ]

    def _pictures(self, sample: Sample, file: int) -> list[Any]:
        rule = budget(self.image_patch_size or 1, self.mm_processor_kwargs)
        opened = []
        for number, ref in enumerate(sample.images, 1):
            with naming_place(number, len(sample.images)):
                decoded = self.tables[file].decoded
                item = to_message(ref, sample.id, self.folders[file], "encoded", rule, None, decoded)
                opened.append(open_message(item, rule))
        return opened

    def _process_single_message(
        self,
        index: int,
        message: dict[str, Any],
        full_message: list[Any],
        tools: Any = None,
        enable_thinking: bool | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Tokens of one turn, the loss mask, the attention mask and the pictures' tensors."""
        if message["role"] == "assistant":
            ids = [*self.tokenizer.encode(message["content"][0]["text"], add_special_tokens=False), *self.closing]
            found = torch.tensor(ids, dtype=torch.long)
            return found, torch.ones_like(found), torch.ones_like(found), {}
        inputs = self._prompt_inputs(message)
        found = inputs.pop("input_ids")[0]
        inputs.pop("attention_mask", None)
        return found, torch.zeros_like(found), torch.ones_like(found), inputs

    def _prompt_inputs(self, message: dict[str, Any]) -> dict[str, Any]:
        turn: dict[str, Any] = {"role": "user", "content": message["content"]}
        pictures = [part["image"] for part in turn["content"] if part["type"] == "image"]
        if self.processor is None:
            turn["content"] = message["content"][-1]["text"]
            if pictures:
                raise DataError(
                    f"row {message['row']!r} has a picture, and the model reads none; give rows without any"
                )
        text = self.speaker.apply_chat_template([turn], add_generation_prompt=True, tokenize=False, **self.settings)
        if self.processor is None:
            return dict(self.tokenizer(text, add_special_tokens=False, return_tensors="pt"))
        return dict(
            build_multimodal_processor_inputs(
                self.processor,
                text=[text],
                images=pictures or None,
                videos=None,
                audio=None,
                mm_processor_kwargs=self.mm_processor_kwargs,
            )
        )

    def sanity_check(self, input_ids: torch.Tensor, messages: list[dict[str, Any]], *_: Any) -> None:
        """Check only the length; upstream's check compares with the template of the whole conversation."""
        if len(input_ids) > self.max_length:
            raise DataError(
                f"row {messages[0]['row']!r} has {len(input_ids)} tokens, pictures and answer included: more than "
                f"data.max_length={self.max_length}; raise it, or prepare with --max-prompt-tokens N"
            )


def closing_of(speaker: Any, tokenizer: Any, settings: dict[str, Any]) -> list[int]:
    """The tokens with which a template ends the assistant's turn, up to and including the rollout's stop token.

    Raises:
        ConfigError: The template ends the turn without a special token.
    """
    turns: list[dict[str, Any]] = [{"role": "user", "content": "x"}, {"role": "assistant", "content": END}]
    try:
        text = str(speaker.apply_chat_template(turns, tokenize=False, **settings))
    except Exception:  # noqa: BLE001 - templates raise any type, and some accept content only as a list of parts
        turns = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
        text = str(speaker.apply_chat_template(turns, tokenize=False, **settings))
    ids = tokenizer.encode(text.rpartition(END)[2], add_special_tokens=False)
    special = set(tokenizer.all_special_ids) | {tokenizer.eos_token_id}
    stop = next((place for place, token in enumerate(ids) if token in special), None)
    if stop is None:
        raise ConfigError(
            "the chat template ends the assistant's turn with no special token; give model.custom_chat_template"
        )
    return [int(token) for token in ids[: stop + 1]]
