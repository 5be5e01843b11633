# SPDX-License-Identifier: Apache-2.0
"""The console script `medix-verl`: `main` dispatches; each other module is one subcommand.

A subcommand's module defines `add_arguments(parser)` and `run(args) -> int`, and is imported only when it is used.
Only this package prints, and only here are errors turned into one line and an exit status.
"""

__all__: list[str] = []
