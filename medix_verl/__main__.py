# SPDX-License-Identifier: Apache-2.0
"""`python -m medix_verl`, the same as the console script `medix-verl`."""

import sys

from medix_verl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
