# SPDX-License-Identifier: Apache-2.0
"""Creates a user package from `template/`: `medix-verl new package NAME`."""

__all__: list[str] = []
