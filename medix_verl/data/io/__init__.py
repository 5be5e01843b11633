# SPDX-License-Identifier: Apache-2.0
"""Read data set files (listings, archives, row formats) and read and write files of samples."""

__all__: list[str] = []
