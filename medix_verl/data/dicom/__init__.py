# SPDX-License-Identifier: Apache-2.0
"""DICOM: opens files within size limits, decodes frames for display, sorts series, checks for patient data."""

__all__: list[str] = []
