"""The report of a run."""

from __future__ import annotations

import html
import re

from gmmdyn.cli import main


def test_a_report_has_all_of_a_run_in_one_file(tmp_path, capsys):
    run = tmp_path / "run"
    words = ["compare", "xor", "--simulation.times=[0, 1]", "--simulation.replicas=2"]
    words += ["--data_model.dim=50", "--network.activation=linear", "--simulation.test_size=100"]
    assert main([*words, f"--output={run}"]) == 0
    table = capsys.readouterr().out.partition("written to")[0].strip()
    page = (run / "report.html").read_text()
    assert html.escape(table) in page
    assert page.count("data:image/png;base64,") == 2
    # Nothing is loaded from elsewhere.
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "gmmdyn compare xor" in page
    assert "versions torch" in page
    assert html.escape((run / "config.yaml").read_text()) in page
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").read_text() == page


def test_a_directory_that_is_no_run_is_named(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "holds no results" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
