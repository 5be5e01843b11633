# SPDX-License-Identifier: Apache-2.0
"""The room that shows: one page that stands alone, made of a finished evaluation's files or of a training run's.

`published` reads what others reported, with its sources. `content` works out what the page says, and what must be said
first. `page` renders it. For a training run, `run_files`, `run_dumps` and `run_rows` read what verl wrote, `run_signs`
knows the warnings, `run_panels` chooses the curves, `run_content` works out the page, `charts` draws and `run_page`
renders. Nothing here asks a model, changes a record or fetches anything.
"""

__all__: list[str] = []
