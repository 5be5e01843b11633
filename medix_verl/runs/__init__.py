# SPDX-License-Identifier: Apache-2.0
"""What a training run leaves: its record, its checkpoints, and the model that is made of one."""
