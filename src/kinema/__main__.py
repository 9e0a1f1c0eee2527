"""`python -m kinema`: the same as the command."""

import sys

from kinema.cli import main

if __name__ == "__main__":
    sys.exit(main())
