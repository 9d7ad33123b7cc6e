"""Draws the pictures into a folder: ``python -m pictures FOLDER``, in docs."""

import sys
from pathlib import Path

from pictures import draw

draw(Path(sys.argv[1]))
