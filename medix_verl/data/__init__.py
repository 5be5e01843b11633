# SPDX-License-Identifier: Apache-2.0
"""Data: the schema of a row, its storage, and its conversion into a prompt.

`schema` defines a valid row, `prompts` renders the prompt that training and evaluation share, `dataset` feeds rows to
verl, `source` reads published data sets; README.md lists the folders. Answers are not judged or scored here.
"""

__all__: list[str] = []
