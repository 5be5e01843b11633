# SPDX-License-Identifier: Apache-2.0
"""Converters of a user's own data: a table of questions, with picture files or a folder of DICOM files."""

__all__: list[str] = []
