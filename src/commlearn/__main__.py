"""`python -m commlearn` runs the command line."""

import sys

from commlearn.cli import main

sys.exit(main())
