# SPDX-License-Identifier: Apache-2.0
"""Settings of `medix.on_save: [export, evaluate]`, the actions after each save of a checkpoint, and their checks.

The options are in `medix.on_save_options`; medix_verl.runs.saves.after_save runs the actions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any

from medix_verl.evaluation.assemble import TaskChoices
from medix_verl.evaluation.models.generation import GenerationSpec
from medix_verl.evaluation.tasks.table import TaskSpec, by_task, select
from medix_verl.judge.spec import JudgeSpec
from medix_verl.specs import Count, Positive, Section, Text, Words, spec

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["ACTIONS", "CALLBACK", "OnSaveSpec", "on_save_faults", "read_on_save"]

ACTIONS = ("export", "evaluate")
CALLBACK = "medix_verl.runs.saves.on_save.AnnounceCheckpoint"
"""Value of `trainer.checkpoint_callback_class`, which verl has since 0.9.1."""


@spec("medix.on_save_options")
class OnSaveSpec(Section):
    """Actions after a save, and their limits."""

    actions: Annotated[tuple[str, ...], Words(ACTIONS)] = field(default=(), metadata={"label": "medix.on_save"})
    limit_s: Positive = 3600.0
    """Time limit in seconds for all actions on one checkpoint."""
    devices: str = ""
    """Visible accelerators, as in CUDA_VISIBLE_DEVICES; empty: none, because the run uses them."""
    tasks: tuple[Text, ...] = ()
    """Tasks of `medix-verl evaluate`: names, or files of own tasks."""
    limit: Count | None = None
    """Questions per task; None is all."""
    sources: Mapping[str, str] | None = None
    """Task -> local copy of its data set."""
    judge: Mapping[str, Any] | None = None
    """As reward.medix.judge; None is the rule judge."""
    generation: Mapping[str, Any] | None = None
    """Generation settings: temperature, max_tokens and so on."""
    serve_args: tuple[Text, ...] = ()
    """Further words for `vllm serve`."""

    def __post_init__(self) -> None:
        if "evaluate" in self.actions:
            by_task(self.sources or {}, self.chosen)
            _ = self.judge_spec, self.generation_spec
            TaskChoices(limit=self.limit)

    @property
    def chosen(self) -> list[TaskSpec]:
        """The tasks; raises ConfigError if one is unknown or none is named."""
        return select(self.tasks)

    @property
    def judge_spec(self) -> JudgeSpec | None:
        """The judge; None is the rule judge."""
        return JudgeSpec.from_mapping(self.judge) if self.judge else None

    @property
    def generation_spec(self) -> GenerationSpec:
        """The generation settings."""
        return GenerationSpec.from_mapping(self.generation or {})


def read_on_save(config: DictConfig) -> OnSaveSpec:
    """Read the actions after a save from a configuration.

    Raises:
        ConfigError: An action or task is unknown, or a key or value is not accepted.
    """
    from omegaconf import OmegaConf

    actions, options = (OmegaConf.select(config, f"medix.{key}") for key in ("on_save", "on_save_options"))
    plain: Any = OmegaConf.to_container(options, resolve=True) if OmegaConf.is_config(options) else {}
    listed: Any = OmegaConf.to_container(actions, resolve=True) if OmegaConf.is_config(actions) else actions or ()
    return OnSaveSpec.from_mapping({"actions": listed, **plain})


def on_save_faults(config: DictConfig, spec: OnSaveSpec, has_callback: bool) -> Iterator[str]:
    """Reasons why the actions after a save would not run.

    Args:
        config: Composed, with verl's own keys.
        spec: Read from it.
        has_callback: Whether the installed verl has checkpoint callbacks.
    """
    if not spec.actions:
        return
    if not has_callback:
        yield f"medix.on_save is {list(spec.actions)}, for which verl is too old; pip install 'verl>=0.9.1', or type []"
    trainer = config.trainer
    named, wanted = trainer.get("checkpoint_callback_class"), f"medix.on_save is {list(spec.actions)}"
    if named != CALLBACK:
        yield (
            f"{wanted} and trainer.checkpoint_callback_class {named or 'null'}, so nothing would be done after a save; "
            f"type ++trainer.checkpoint_callback_class={CALLBACK}, or medix.on_save=[]"
        )
    if not trainer.get("save_freq") or trainer.save_freq < 1:
        yield f"{wanted} and trainer.save_freq {trainer.save_freq}, so nothing is saved; type trainer.save_freq=STEPS"
