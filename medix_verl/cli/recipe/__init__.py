# SPDX-License-Identifier: Apache-2.0
"""The commands about recipes and this machine: `recipe` and `doctor`."""

__all__: list[str] = []
