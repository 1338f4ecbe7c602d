"""The compiled loops of all engines are kept on disk as long as none of their parts changes."""

from pathlib import Path

from gmmdyn.compilation import kept_with

kept = kept_with(Path(__file__).parents[1].glob("**/_*.py"))
