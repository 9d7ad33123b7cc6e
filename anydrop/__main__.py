"""Lets ``python -m anydrop`` run the command line."""

import sys

from anydrop.cli import main

sys.exit(main())
