"""Commands of plugins: every fault gets its sentence, and listing them loads nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import PathDistribution

import pytest

from gmmdyn.cli import main
from gmmdyn.cli.commands import commands
from gmmdyn.cli.registered import GROUP, collect, plugin_commands
from gmmdyn.errors import PluginError
from gmmdyn.registry.entry_points import discover

HELLO = """
from gmmdyn import hookimpl
from gmmdyn.cli import Command

class Hello(Command):
    summary = "Greet."
    options = {"--to": "whom", "--loudly": "flag: in capitals"}

    def run(self, arguments):
        print(arguments.last("--to") or "nobody")

@hookimpl
def gmmdyn_commands():
    return {"hello": Hello}
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Lay down a distribution as pip would, and let the program find it and no other."""
    monkeypatch.syspath_prepend(tmp_path)

    def run(code, name="hello_plugin"):
        (tmp_path / f"{name}.py").write_text(code)
        info = tmp_path / f"{name}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {name}\n")
        found = collect(discover([PathDistribution(info)], GROUP))
        for module in ("registered", "commands"):
            monkeypatch.setattr(f"gmmdyn.cli.{module}.plugin_commands", lambda: found)
        return found

    yield run
    for name, module in list(sys.modules.items()):
        if str(tmp_path) in str(getattr(module, "__file__", "")):
            del sys.modules[name]


def test_a_command_of_ones_own_has_help_options_and_hints(install, capsys):
    install(HELLO)
    assert main(["hello", "--to", "you"]) == 0
    assert capsys.readouterr().out == "you\n"
    assert main(["hello", "--help"]) == 0
    text = capsys.readouterr().out
    for part in ("gmmdyn hello", "Greet.", "--to", "whom", "in capitals"):
        assert part in text
    for words, sentence in (
        (["hello", "--too=x"], "no option `--too`; did you mean `--to`?"),
        (["hello", "xor"], "`gmmdyn hello` has no use for `xor`"),
        (["helo"], "no command `helo`; did you mean `hello`?"),
    ):
        assert main(words) == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import no_such_module", "cannot be loaded: ModuleNotFoundError"),
        (HELLO.replace("gmmdyn_commands", "gmmdyn_command"), "hook that does not exist"),
        (HELLO.replace("gmmdyn_commands", "gmmdyn_theories"), "there are: gmmdyn_commands"),
        (HELLO.replace("def run", "def ran"), "command `hello`, whose class is abstract; .*run"),
        (HELLO.replace('"hello": Hello', '"hello": 3'), "no subclass of Command"),
    ],
)
def test_broken_commands_are_named(install, code, sentence):
    with pytest.raises(PluginError, match=sentence):
        install(code)


def test_no_plugin_takes_the_name_of_a_command_of_gmmdyn(install, capsys):
    install(HELLO.replace('"hello"', '"solve"'))
    assert main(["--help"]) == 1
    assert "`hello_plugin` registers the command `solve`" in capsys.readouterr().err


def test_the_built_in_plugins_come_in_by_the_same_door():
    assert set(plugin_commands()) == {"fixed-point", "random-features"}
    assert set(plugin_commands()) < set(commands())
    for entry in plugin_commands().values():
        assert entry.cls.__module__.partition(".")[0] not in ("gmmdyn", "")


@pytest.mark.parametrize(
    "words", [["--help"], ["fixed-point", "--help"], ["random-features", "--help"], ["fixed"]]
)
def test_listing_commands_imports_nothing_heavy(words):
    code = (
        "import sys\n"
        "from gmmdyn.cli import main\n"
        f"main({words})\n"
        "heavy = {'torch', 'numpy', 'scipy', 'matplotlib', 'xarray', 'numba'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
