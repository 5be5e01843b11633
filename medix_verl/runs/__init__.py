# SPDX-License-Identifier: Apache-2.0
"""Output of a training run: its record, its checkpoints, and the model exported from one."""
