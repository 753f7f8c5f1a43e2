"""`just chaos [COUNT] [FIRST SEED]`."""

import sys

from tests.chaos.everything import main

if __name__ == "__main__":
    sys.exit(main())
