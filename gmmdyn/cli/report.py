"""One page on a run: what was asked, what came out, and what it takes to run it again."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gmmdyn.errors import DataError
from gmmdyn.trajectory import Trajectory
from gmmdyn.trajectory.files import write_text

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; font-size: .85rem; line-height: 1.35; }
table { border-collapse: collapse; font-size: .9rem; }
td { padding: .15rem .8rem .15rem 0; vertical-align: top; }
img { max-width: 100%; }
"""
_TITLES = {"simulation": "Simulation", "theory": "Theory"}


def write_report(run: str | Path, table: str) -> Path:
    """Write `report.html` into the directory of a run: one file, with its figures in it.

    Args:
        run: the directory, with `config.yaml`, results (`.nc`) and figures (`.png`).
        table: the results as text.

    Returns:
        The path of the report.

    Raises:
        DataError: if there is no such directory, or a result in it cannot be read.
        OutputError: if the report cannot be written.
    """
    folder = Path(run)
    try:
        configuration = (folder / "config.yaml").read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"`{run}` has no `config.yaml`; give the directory of a run.") from error
    header = [line[2:] for line in configuration.splitlines() if line.startswith("# ")]
    body = [f"<h1>{html.escape(_title(folder, configuration))}</h1>"]
    body += [f"<p>{html.escape(line)}</p>" for line in header]
    body += ["<h2>Results</h2>", f"<pre>{html.escape(table)}</pre>"]
    for figure in sorted(folder.glob("*.png")):
        data = base64.b64encode(figure.read_bytes()).decode("ascii")
        name = figure.stem.replace("_", " ")
        body += [
            f"<h2>{html.escape(name.capitalize())}</h2>",
            f'<img alt="{html.escape(name)}" src="data:image/png;base64,{data}">',
        ]
    for source, title in _TITLES.items():
        path = folder / f"{source}.nc"
        if path.is_file():
            metadata = Trajectory.load(path).metadata
            body += [f"<h2>{title}</h2>", _rows(metadata)]
    body += ["<h2>Configuration</h2>", f"<pre>{html.escape(configuration)}</pre>"]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f"<title>{html.escape(_title(folder, configuration))}</title>\n"
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )
    return write_text(folder / "report.html", page)


def _title(folder: Path, configuration: str) -> str:
    from gmmdyn.experiment.yaml_text import read_yaml

    values = read_yaml(configuration, f"`{folder / 'config.yaml'}`")
    sections = values if isinstance(values, Mapping) else {}
    names = [(sections.get(key) or {}).get("name") for key in ("data_model", "network", "theory")]
    if "random_features" in sections:
        names = ["analytic errors of random features"]
    return "gmmdyn: " + " · ".join(str(name) for name in names if name)


def _rows(metadata: Mapping[str, Any]) -> str:
    """What is known of how a trajectory was made, but for the experiment, which stands below."""
    rows = []
    for key, value in metadata.items():
        if key == "experiment":
            continue
        pairs = value.items() if isinstance(value, Mapping) else [("", value)]
        for name, item in pairs:
            label = f"{key} {name}".strip().replace("_", " ")
            text = item if isinstance(item, str) else json.dumps(item)
            rows.append(f"<tr><td>{html.escape(label)}</td><td>{html.escape(text)}</td></tr>")
    return "<table>\n" + "\n".join(rows) + "\n</table>"
