"""The documentation: its code runs, and it covers what there is."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
import torch
from pages import DOCS, ROOT, blocks, pages, run

import gmmdyn as gd
from gmmdyn import interfaces, registry, testing, training
from gmmdyn.cli.commands import COMMANDS
from gmmdyn.registry import hookspecs

REFERENCE = "\n".join(page.read_text() for page in sorted((DOCS / "reference").glob("*.md")))
DIRECTIVES = set(re.findall(r"^::: ([\w.]+)$", REFERENCE, re.MULTILINE))
WITH_CODE = [page for page in pages() if blocks(page, "python")]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_there_are_pages_with_code():
    assert {name_of(page) for page in WITH_CODE} >= {
        "README.md",
        "docs/tutorial/first-curve.md",
        "docs/how-to/add-an-activation.md",
        "docs/how-to/add-a-mixture.md",
    }


def printed(page: Path) -> list[str]:
    """What stands in a text block right after a Python block."""
    return re.findall(
        r"^```python\n(?:(?!```).*\n)+```\n\n```text\n((?:(?!```).*\n)+)```",
        page.read_text(),
        re.MULTILINE,
    )


def test_some_pages_say_what_is_printed():
    assert sum(len(printed(page)) for page in WITH_CODE) > 5


# A Trainer of the user's own says what Lightning thinks of a stream as a data loader.
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*:UserWarning:pytorch_lightning")
@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_the_code_of_a_page_runs_and_prints_what_it_says(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        run(page)
    output = capsys.readouterr().out
    for text in printed(page):
        assert text in output


@pytest.mark.parametrize("name", gd.__all__)
def test_every_public_name_is_in_the_reference(name):
    # The function `compare` shares its name with its module, so it goes by the longer one.
    assert {f"gmmdyn.{name}", f"gmmdyn.{name}.{name}"} & DIRECTIVES


@pytest.mark.parametrize("module", [interfaces, training], ids=lambda module: module.__name__)
def test_every_class_of_a_public_package_is_in_the_reference(module):
    tree = ast.parse(Path(module.__file__).read_text())
    names = [a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names]
    assert len(names) > 5
    for name in names:
        assert {f"{module.__name__}.{name}", f"gmmdyn.{name}"} & DIRECTIVES, name


def test_every_built_in_component_is_in_the_reference():
    ours = [entry for entry in registry.registrations() if entry.distribution == "gmmdyn"]
    assert len(ours) > 10
    for entry in ours:
        package = entry.cls.__module__.split(".")[0]
        assert f"{package}.{entry.cls.__name__}" in DIRECTIVES, entry.name
        assert f"| `{entry.name}` | [`{entry.cls.__name__}`]" in REFERENCE, entry.name


def test_every_hook_is_documented_with_its_signature():
    tree = ast.parse(Path(hookspecs.__file__).read_text())
    hooks = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert len(hooks) == len(registry.KINDS)
    for hook in hooks:
        signature = f"{hook.name}({ast.unparse(hook.args)}) -> {ast.unparse(hook.returns)}"
        assert f"`{signature}`" in REFERENCE
        assert f"gmmdyn.registry.hookspecs.{hook.name}" in DIRECTIVES


def test_every_command_is_documented():
    text = (DOCS / "reference/command-line.md").read_text()
    for name, command in COMMANDS.items():
        assert f"| `gmmdyn {name}" in text
        for option in command.options:
            assert f"`{option}" in text, option


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    listed = re.findall(r": ([\w/.-]+\.md)$", navigation, re.MULTILINE)
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in pages()[1:])


def test_the_site_loads_nothing_from_elsewhere():
    text = (ROOT / "mkdocs.yml").read_text()
    assert "://" not in text
    assert "font: false" in text
    for file in [*DOCS.rglob("*.css"), DOCS / "assets/math.js"]:
        assert "//" not in re.sub(r"^// .*$", "", file.read_text(), flags=re.MULTILINE), file


def test_time_is_updates_over_d_everywhere():
    """It is so with mini-batches too, where there are more samples."""
    texts = [*pages(), *ROOT.glob("gmmdyn/**/*.py"), *ROOT.glob("plugins/**/*.py")]
    assert len(texts) > 100
    for text in texts:
        assert not re.search(r"samples\s?/\s?\$?D\b", text.read_text()), name_of(text)


def test_figures_of_the_pages_are_there():
    for page in pages():
        for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text()):
            assert (page.parent / target).is_file(), (name_of(page), target)


def test_the_plugin_of_the_how_to_page_registers(tmp_path, monkeypatch):
    """Its two files, put where pip would put them."""
    page = DOCS / "how-to/add-an-activation.md"
    (_, toml), *_ = blocks(page, "toml")
    (module,) = [code for _, code in blocks(page, "python") if "hookimpl" in code]
    project = tomllib.loads(toml)
    ((entry, target),) = project["project"]["entry-points"]["gmmdyn"].items()
    (tmp_path / f"{target}.py").write_text(module)
    info = tmp_path / "gmmdyn_softplus-0.1.0.dist-info"
    info.mkdir()
    name, version = project["project"]["name"], project["project"]["version"]
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[gmmdyn]\n{entry} = {target}\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = registry.collect(registry.discover([PathDistribution(info)]))
    monkeypatch.delitem(sys.modules, target)
    registration = found["activation", "softplus"]
    assert registration.distribution == "gmmdyn-softplus"
    testing.check_activation(registration.cls())


def test_the_readme_has_two_commands_for_a_fresh_machine():
    commands = [
        line
        for _, code in blocks(ROOT / "README.md", "sh")
        for line in code.splitlines()
        if " -m venv " in line
    ]
    assert len(commands) == 2
    assert commands[0].endswith("gmmdyn compare xor")
    assert commands[1].endswith("pytest -n auto")
    for command in commands:
        assert "-c requirements/constraints-cpu.txt" in command
    assert (ROOT / "requirements/constraints-cpu.txt").is_file()
