# SPDX-License-Identifier: Apache-2.0
"""The demo's questions: about pictures of installed wheels, and text questions from an installed ontology."""

__all__: list[str] = []
