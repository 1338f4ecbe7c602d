"""The compiled loops of all engines are kept on disk as long as none of their parts changes."""

from pathlib import Path

from gmmdyn import compiler

kept_while_unchanged = compiler.kept_with(
    path
    for folder in (Path(__file__).parent, Path(compiler.__file__).parent)
    for path in folder.glob("**/_*.py")
)
