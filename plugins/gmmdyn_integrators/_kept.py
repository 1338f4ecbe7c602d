"""The compiled kernels are kept on disk as long as none of their parts changes."""

from pathlib import Path

import gmmdyn.gaussian
from gmmdyn.compiler import kept_with

_PARTS = Path(__file__).parent, Path(gmmdyn.gaussian.__file__).parent
kept = kept_with(file for folder in _PARTS for file in folder.glob("*.py"))
