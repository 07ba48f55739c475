"""`python -m synthcohort`, for launchers that start modules, such as torchrun."""

import sys

from synthcohort.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
