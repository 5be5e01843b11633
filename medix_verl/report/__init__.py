# SPDX-License-Identifier: Apache-2.0
"""The room that shows: one page that stands alone, made of a finished evaluation's files.

`published` reads what others reported, with its sources. `content` works out what the page says, and what must be said
first. `page` renders it. Nothing here asks a model, changes a record or fetches anything.
"""

__all__: list[str] = []
