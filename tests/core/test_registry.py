"""Registration: every fault gets its sentence."""

from __future__ import annotations

import sys
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

import gmmdyn as gd
from gmmdyn import registry
from gmmdyn.errors import ArgumentError, PluginError, UnknownComponentError


def install(folder: Path, name: str, code: str, entries: dict[str, str], version="1.2"):
    """Lay down a distribution as pip would, and return it."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name.replace('-', '_')}.py").write_text(code)
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = "\n".join(f"{key} = {value}" for key, value in entries.items())
    (info / "entry_points.txt").write_text(f"[gmmdyn]\n{lines}\n")
    return PathDistribution(info)


@pytest.fixture
def collect(tmp_path, monkeypatch):
    """Collect the built-in plugins and those laid down in a temporary folder."""
    monkeypatch.syspath_prepend(tmp_path)

    def run(*plugins):
        own = [install(tmp_path, *plugin) for plugin in plugins]
        return registry.collect(registry.discover(own))

    yield run
    for name, module in list(sys.modules.items()):  # no others: numpy is imported once or never
        if str(tmp_path) in str(getattr(module, "__file__", "")):
            del sys.modules[name]


SOFTPLUS = """
import torch
from gmmdyn import Activation, hookimpl

class Softplus(Activation):
    def forward(self, x):
        return torch.nn.functional.softplus(x)

    def derivative(self, x):
        return torch.sigmoid(x)

@hookimpl
def gmmdyn_activations():
    return {"softplus": Softplus}
"""


def test_a_plugin_of_ones_own_is_found(collect):
    found = collect(("my-softplus", SOFTPLUS, {"softplus": "my_softplus"}))
    entry = found["activation", "softplus"]
    assert (entry.plugin, entry.distribution, entry.version) == ("softplus", "my-softplus", "1.2")
    assert entry.cls.__name__ == "Softplus"


def test_two_distributions_with_one_plugin_name(collect):
    with pytest.raises(PluginError, match="`softplus` is declared by both `one` and `two`"):
        collect(("one", SOFTPLUS, {"softplus": "one"}), ("two", SOFTPLUS, {"softplus": "two"}))


def test_two_plugins_with_one_component_name(collect):
    with pytest.raises(PluginError, match=r"`two` registers .*`softplus`, which `one` has"):
        collect(("one", SOFTPLUS, {"a": "one"}), ("two", SOFTPLUS, {"b": "two"}))


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import no_such_module", "`broken` of `dist` cannot be loaded: ModuleNotFoundError"),
        ("raise SystemError('x')", "cannot be loaded: SystemError: x"),
        (SOFTPLUS.replace("gmmdyn_activations", "gmmdyn_activation"), "hook that does not exist"),
        (SOFTPLUS.replace("def derivative", "def slope"), "is abstract; it lacks: derivative"),
        (SOFTPLUS.replace('"softplus": Softplus', '"softplus": 3'), "no subclass of Activation"),
        (SOFTPLUS.replace("return {", "return 3 # {"), "failed: TypeError"),
    ],
)
def test_broken_plugins_are_named(collect, code, sentence):
    with pytest.raises(PluginError, match=sentence):
        collect(("dist", code, {"broken": "dist"}))


def test_an_entry_point_to_nowhere_is_named(collect):
    with pytest.raises(PluginError, match="cannot be loaded: AttributeError"):
        collect(("dist", SOFTPLUS, {"broken": "dist:nothing"}))


def test_no_plugin_at_all_says_how_to_install(collect):
    with pytest.raises(PluginError, match=r"pip install -e \."):
        collect()


def test_the_same_distribution_twice_on_the_path_is_no_clash(tmp_path):
    distribution = install(tmp_path, "one", SOFTPLUS, {"softplus": "one"})
    assert len(registry.discover([distribution, distribution])) == 1


def test_built_ins_come_in_by_entry_points_only():
    plugins = {entry.plugin for entry in registry.registrations()}
    assert {"activations", "mixtures", "networks", "integrators", "ode"} <= plugins
    assert {entry.distribution for entry in registry.registrations()} == {"gmmdyn"}


def test_unknown_names_list_the_names_and_the_nearest():
    with pytest.raises(UnknownComponentError) as caught:
        gd.activation("rellu")
    assert str(caught.value).startswith("no activation is called `rellu`; did you mean `relu`?")
    assert "erf" in str(caught.value)


def test_unknown_and_missing_keywords_are_named():
    with pytest.raises(ArgumentError, match="`xor` takes no keyword `varience`; did you mean"):
        gd.data_model("xor", dim=10, varience=1)
    with pytest.raises(ArgumentError, match="`isotropic` needs a value for `means`"):
        gd.data_model("isotropic")
    with pytest.raises(ArgumentError, match="`relu` takes no keyword `leak`"):
        gd.activation("relu", leak=0.1)


def test_a_component_knows_how_it_was_built():
    built = gd.data_model("xor", dim=10, variance=0.3)
    assert built.spec.name == "xor"
    assert built.spec.options == {"dim": 10, "variance": 0.3}


def test_every_registered_name_is_kebab_case():
    for entry in registry.registrations():
        assert entry.name == entry.name.lower().replace("_", "-").replace(" ", "-")
