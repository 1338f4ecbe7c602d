"""The compiled kernels are kept on disk as long as none of their parts changes."""

from pathlib import Path

import gmmdyn.gaussian.compiled
from gmmdyn.compiler import kept_with

kept = kept_with([*Path(__file__).parent.glob("_*.py"), gmmdyn.gaussian.compiled.__file__])
