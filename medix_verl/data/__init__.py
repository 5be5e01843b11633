# SPDX-License-Identifier: Apache-2.0
"""The data room: what a row is, how it is stored, and how it becomes a prompt.

`schema` says what a valid row is, `parquet` writes and reads files of such rows, `images` turns a row's picture
references (also DICOM) into pictures, `prompts` renders the one prompt that training and evaluation share, and `jsonl`
reads text files of records.
Nothing here judges, scores or talks to a service.
"""

__all__: list[str] = []
