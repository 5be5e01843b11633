# SPDX-License-Identifier: Apache-2.0
"""verl's checkpoint callback (`trainer.checkpoint_callback_class`): records in the run's folder that a step was saved.

It runs in verl's trainer, where an exception would stop the training; so it only writes a small file, and any error is
a warning. The work itself is done by medix_verl.runs.saves.after_save, in the process with the command line.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from medix_verl.runs.saves.outcomes import Outcome, write_outcome

__all__ = ["AnnounceCheckpoint"]

_logger = logging.getLogger(__name__)


class AnnounceCheckpoint:
    """Has the methods of verl.trainer.ppo.checkpoint_callback.CheckpointCallback."""

    def __init__(self, config: Any = None) -> None:
        """Store whether any action is configured.

        Args:
            config: The trainer's whole configuration.
        """
        self.wanted = bool(config is not None and (config.get("medix") or {}).get("on_save"))

    def on_save(self, trainer: Any, global_step: int, checkpoint_dir: str, **_: Any) -> None:
        """Announce a checkpoint."""
        if not self.wanted:
            return
        try:
            write_outcome(Path(checkpoint_dir).absolute().parent, Outcome(global_step))
        except Exception as cause:  # noqa: BLE001 - work on a checkpoint must not stop the training
            _logger.warning("nothing will be done with the checkpoint of step %s: %s", global_step, cause)
