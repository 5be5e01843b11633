# SPDX-License-Identifier: Apache-2.0
"""Writes the run's record from the process with the command line: a Hydra callback, used with verl's main program.

A recipe names it in `hydra.callbacks`. The record is written to the run's folder before Ray starts. The data files are
hashed in a thread, and then the record is written again with the hashes. A failure here is only a warning.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from medix_verl.recipe.data_files import hash_files
from medix_verl.runs.compose import compose_record
from medix_verl.runs.record import RunRecord, keep_earlier, write_record

__all__ = ["RunRecorder"]

_logger = logging.getLogger(__name__)
WAIT_S = 60.0
"""Seconds that a finished run waits for the hashes."""


class RunRecorder:
    """Hydra callback with those methods of `hydra.experimental.callback.Callback` that are used."""

    def __init__(self, wait_s: float = WAIT_S) -> None:
        """Set the initial state; writes nothing."""
        self.wait_s = wait_s
        self.thread: threading.Thread | None = None
        self.over = threading.Event()

    def on_job_start(self, config: Any, **_: Any) -> None:
        """Write the record, and start hashing."""
        from omegaconf import OmegaConf

        typed = OmegaConf.select(config, "hydra.overrides.task")
        # Not resolved: a word with ${oc.env:NAME} would be replaced by the variable's value.
        words = OmegaConf.to_container(typed, resolve=False) if OmegaConf.is_config(typed) else []
        assert isinstance(words, list)
        plain = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        folder = OmegaConf.select(plain, "trainer.default_local_dir")
        if not folder or os.environ.get("RANK", "0") != "0":  # only torchrun's first process writes
            return
        try:
            self.begin(compose_record(plain, [str(word) for word in words]), Path(str(folder)).expanduser())
        except OSError as cause:
            _logger.warning("no record of this run can be written into %s: %s", folder, cause)

    def begin(self, record: RunRecord, folder: Path) -> None:
        """Write a record without hashes, and later, from a thread, with them."""
        keep_earlier(folder)
        write_record(record, folder)
        self.thread = threading.Thread(target=self._finish, args=(record, folder), name="medix-record", daemon=True)
        self.thread.start()

    def _finish(self, record: RunRecord, folder: Path) -> None:
        try:
            write_record(replace(record, data=hash_files(record.data, self.over.is_set)), folder)
        except OSError as cause:
            _logger.warning("the record in %s stays without the data files' hashes: %s", folder, cause)

    def on_job_end(self, **_: Any) -> None:
        """Wait for the thread for a limited time; files not hashed by then are marked in the record."""
        if self.thread is not None:
            self.thread.join(self.wait_s)
            self.over.set()
            self.thread.join(self.wait_s)

    def __getattr__(self, name: str) -> Any:
        """No-ops for Hydra's other callback methods."""
        if name.startswith("on_"):
            return lambda **_: None
        raise AttributeError(name)
