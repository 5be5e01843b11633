# SPDX-License-Identifier: Apache-2.0
"""What several tests need: files of data sets, servers, folders of runs. pyproject.toml puts `tests` on the path."""
