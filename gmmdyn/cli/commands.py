"""The commands that every theory and every engine shares, and all that there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, final

from gmmdyn.cli.arguments import Arguments
from gmmdyn.cli.command import AXIS, CONFIGURATION, DATA, OUTPUT, TIME_UNIT, Command
from gmmdyn.cli.registered import plugin_commands
from gmmdyn.errors import PluginError

_RUN = ("run", "the directory of the run")


class _Run(Command):
    """Run an experiment."""

    positional: ClassVar[tuple[str, str] | None] = CONFIGURATION
    options: ClassVar[Mapping[str, str]] = {**OUTPUT, **DATA, **TIME_UNIT}
    configurable: ClassVar[bool] = True
    what: ClassVar[tuple[str, ...]]

    @final
    def run(self, arguments: Arguments) -> None:
        """Run it and write one directory."""
        from gmmdyn.cli.overrides import configured
        from gmmdyn.cli.runs import run_experiment

        configuration = configured(self, arguments)
        if configuration is not None:
            run_experiment(self, arguments, configuration, self.what)


@final
class Compare(_Run):
    """The command `compare`."""

    summary = "Simulate, predict, and put both on one plot."
    what = ("simulate", "solve")


@final
class Simulate(_Run):
    """The command `simulate`."""

    summary = "Simulate online SGD."
    what = ("simulate",)


@final
class Solve(_Run):
    """The command `solve`."""

    summary = "Predict by theory alone."
    what = ("solve",)


@final
class Sweep(Command):
    """The command `sweep`."""

    summary = "Solve or simulate at every point of a grid of parameters."
    positional = CONFIGURATION
    configurable = True
    options: ClassVar[Mapping[str, str]] = {
        "--over": f"a parameter and its values: {AXIS}; once for each parameter",
        "--run": "`solve` (default) or `simulate`",
        "--workers": "processes on this machine (default: one a core)",
        "--scheduler": "the address of a Dask scheduler, or `local` for a cluster here",
        "--retry-failed": "flag: run points again that failed before",
        "--output": "the directory to write, or one that holds the same sweep, to go on with",
        "--overwrite": "flag: replace another sweep in the directory",
        **DATA,
    }

    def run(self, arguments: Arguments) -> None:
        """Sweep, and write one directory."""
        from gmmdyn.cli.sweeps import run_sweep

        run_sweep(self, arguments)


@final
class Plot(Command):
    """The command `plot`."""

    summary = "Draw the figures of a run again."
    positional = _RUN
    options: ClassVar[Mapping[str, str]] = {
        "--time-unit": "of the figures: t, t*sqrt(D) or t*D (default: that of the run)"
    }

    def run(self, arguments: Arguments) -> None:
        """Draw them, and print the table."""
        from gmmdyn.cli.again import draw_again

        draw_again(Path(arguments.positional[0]), arguments.last("--time-unit"))


@final
class Report(Command):
    """The command `report`."""

    summary = "Write the report of a run again."
    positional = _RUN

    def run(self, arguments: Arguments) -> None:
        """Write it."""
        from gmmdyn.cli.again import report_again

        report_again(Path(arguments.positional[0]))


@final
class Presets(Command):
    """The command `presets`."""

    summary = "List the configurations that come with gmmdyn."

    def run(self, arguments: Arguments) -> None:
        """List them."""
        from gmmdyn.cli.listing import list_presets

        list_presets()


@final
class Plugins(Command):
    """The command `plugins`."""

    summary = "List the components and commands that installed plugins provide."

    def run(self, arguments: Arguments) -> None:
        """List them."""
        from gmmdyn.cli.listing import list_plugins

        list_plugins()


_OWN: Mapping[str, type[Command]] = {
    "compare": Compare,
    "simulate": Simulate,
    "solve": Solve,
    "sweep": Sweep,
    "plot": Plot,
    "report": Report,
    "presets": Presets,
    "plugins": Plugins,
}


def command(name: str) -> Command | None:
    """Return a command.

    Args:
        name: what was typed.

    Returns:
        The command, or None if there is none of that name.

    Raises:
        PluginError: if a plugin with commands cannot be loaded.
    """
    return _OWN[name](name) if name in _OWN else commands().get(name)


def commands() -> dict[str, Command]:
    """Return all commands: those of gmmdyn, then those of plugins.

    Returns:
        The commands by name.

    Raises:
        PluginError: if a plugin with commands cannot be loaded, or takes a name that is taken.
    """
    found = {name: cls(name) for name, cls in _OWN.items()}
    for name, entry in sorted(plugin_commands().items()):
        if name in found:
            raise PluginError(
                f"`{entry.distribution}` registers the command `{name}`, which gmmdyn has already."
            )
        found[name] = entry.cls(name)
    return found
