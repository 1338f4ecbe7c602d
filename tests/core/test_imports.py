"""The import rules of the architecture, and what importing costs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import gmmdyn as gd
from gmmdyn import registry
from gmmdyn.registry import hookspecs

ROOT = Path(gd.__file__).parent
PLUGINS = ROOT.parent / "plugins"


def imports(path: Path):
    """Every module that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


CORE = sorted(ROOT.rglob("*.py"))
OWN = sorted(PLUGINS.rglob("*.py")) if PLUGINS.is_dir() else []


def test_there_are_files_to_look_at():
    assert len(CORE) > 25
    assert len(OWN) > 10 or not PLUGINS.is_dir()


def test_the_core_imports_no_plugin():
    for path in CORE:
        assert not [name for name in imports(path) if name.startswith("gmmdyn_")], path


def strings(path: Path):
    """Every string in the code of a file: no docstrings, which may give examples."""
    tree = ast.parse(path.read_text())
    told = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


def test_the_core_knows_no_plugin_by_name():
    """Neither its package nor a theory or command of it, but for the default theory."""
    theories = set(registry.available("theory")) - {"ode"}
    packages = {path.name for path in PLUGINS.iterdir()} if PLUGINS.is_dir() else set()
    packages -= set(dir(hookspecs))  # a hook may have the name of a package
    unknown = theories | packages | {"fixed-point", "random-features", "random_features"}
    assert len(unknown) > 5
    for path in CORE:
        for text in strings(path):
            assert not any(name in text for name in unknown), (path, text)


def test_plugins_import_public_names_and_never_each_other():
    shared = {
        "checks",
        "cli",
        "compiler",
        "errors",
        "experiment",
        "interfaces",
        "gaussian",
        "gaussian.compiled",
        "gaussian.normal",
        "gaussian.root",
        "gaussian.error_function",
        "gaussian.piecewise_linear",
        "gaussian.piecewise_linear_pairs",
        "plot",
        "registry",
        "sweeping",
        "trajectory.files",
        "trajectory.fluctuations",
    }
    public = {"gmmdyn", *(f"gmmdyn.{name}" for name in shared)}
    for path in OWN:
        own = path.relative_to(PLUGINS).parts[0]
        for name in imports(path):
            if name.split(".")[0].startswith("gmmdyn"):
                assert name in public or name.split(".")[0] == own, (path, name)


def test_interfaces_import_values_and_errors_only():
    allowed = {"interfaces", "component", "errors", "algorithm", "gaussian", "trajectory"}
    for path in (ROOT / "interfaces").glob("*.py"):
        for name in imports(path):
            if name.startswith("gmmdyn."):
                assert name.split(".")[1] in allowed, (path, name)


def modules():
    """Path of each module of the core, by its name."""
    named = {}
    for path in CORE:
        words = path.relative_to(ROOT.parent).with_suffix("").parts
        named[".".join(words[:-1] if words[-1] == "__init__" else words)] = path
    return named


def imported_modules(path, known):
    """The modules of the core that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                yield below if below in known else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("level", [2, 9], ids=["folders", "modules"])
def test_no_import_goes_round_in_a_circle_not_even_a_late_one(level):
    known = modules()
    graph = {}
    for name, path in known.items():
        # The public names are imported by the package when they are first used.
        if name == "gmmdyn":
            continue
        for other in imported_modules(path, known):
            first, second = (".".join(x.split(".")[:level]) for x in (name, other))
            if other in known and other != "gmmdyn" and first != second:
                graph.setdefault(first, set()).add(second)
    assert list(TopologicalSorter(graph).static_order())  # a CycleError names the circle


@pytest.mark.parametrize(
    ("package", "home"), [("pytorch_lightning", "training"), ("matplotlib", "plot")]
)
def test_heavy_packages_have_one_home(package, home):
    for path in CORE:
        if home not in path.relative_to(ROOT).parts:
            assert package not in {name.split(".")[0] for name in imports(path)}, path


def test_lightning_the_other_package_is_never_imported():
    for path in [*CORE, *OWN]:
        assert "lightning" not in {name.split(".")[0] for name in imports(path)}, path


def test_the_public_names_are_one_list():
    for name in gd.__all__:
        assert getattr(gd, name) is not None
    typed = set()
    for node in ast.walk(ast.parse((ROOT / "__init__.py").read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gmmdyn."):
            typed |= {(alias.name, node.module.removeprefix("gmmdyn.")) for alias in node.names}
    assert typed == set(gd._HOME.items())
    with pytest.raises(AttributeError, match="no attribute `Trajektory`"):
        _ = gd.Trajektory


def test_importing_gmmdyn_imports_nothing_heavy():
    code = (
        "import sys, gmmdyn\n"
        "heavy = {'torch', 'pytorch_lightning', 'matplotlib', 'xarray', 'numba', 'scipy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))


def test_no_public_name_is_also_a_module():
    """Importing the module would put it in the place of the function."""
    modules = {path.stem for path in ROOT.glob("*.py")} | {
        path.name for path in ROOT.iterdir() if path.is_dir()
    }
    assert not modules & set(gd._HOME)


def test_looking_up_a_component_imports_no_trainer_and_no_compiler():
    code = (
        "import sys, gmmdyn\n"
        "gmmdyn.data_model('xor', dim=4)\n"
        "heavy = {'pytorch_lightning', 'matplotlib', 'numba', 'sklearn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
