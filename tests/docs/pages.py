"""Pages of the documentation and the Python in them; run as a program, it redraws figures."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
_FIGURE = re.compile(r"\]\((?:[\w./-]*/)?assets/([\w-]+\.(?:png|gif))\)")


def pages() -> list[Path]:
    """Return the README and every page."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Return the fenced blocks of a page in one language, each with the lines before it."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, match.start(2)), match[2])
        for match in _BLOCK.finditer(text)
        if match[1] == language
    ]


def run(page: Path) -> dict[str, object]:
    """Run the Python blocks of a page in order, in one namespace and in the working directory."""
    namespace: dict[str, object] = {"__name__": "__page__"}
    for line, code in blocks(page, "python"):
        # Empty lines before it, so that a traceback names the line of the page.
        exec(compile("\n" * line + code, str(page), "exec"), namespace)
    return namespace


def redraw() -> None:
    """Run each page that makes figures it shows, and put them into `docs/assets`."""
    for page in pages():
        shown = _FIGURE.findall(page.read_text(encoding="utf-8"))
        made = [name for name in shown if any(name in code for _, code in blocks(page, "python"))]
        if not made:
            continue
        here = Path.cwd()
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            os.chdir(folder)
            try:
                run(page)
            finally:
                os.chdir(here)
            for name in made:
                shutil.copy(Path(folder, name), DOCS / "assets" / name)
                print(f"{page.relative_to(ROOT)}: {name}")


if __name__ == "__main__":
    redraw()
