"""Arguments before their types are known: which command, which configuration, which names.

The options of a run depend on its components, and these on the arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gmmdyn import checks
from gmmdyn.errors import ConfigError

FLAGS = ("--help", "-h", "--overwrite", "--retry-failed", "--version")


@dataclass(frozen=True)
class Arguments:
    """The words of a command line, sorted.

    Attributes:
        positional: words that belong to no option, in order.
        flags: options that take no value.
        values: options and their values, in order; `--x=1` and `--x 1` are the same.
    """

    positional: tuple[str, ...]
    flags: tuple[str, ...]
    values: tuple[tuple[str, str], ...]

    @classmethod
    def sort(cls, words: Sequence[str]) -> Arguments:
        """Sort words.

        Args:
            words: the words.

        Returns:
            The arguments.

        Raises:
            ConfigError: if an option has no value.
        """
        positional: list[str] = []
        flags: list[str] = []
        values: list[tuple[str, str]] = []
        rest = iter(words)
        for word in rest:
            name, equals, value = word.partition("=")
            if word in FLAGS:
                flags.append(word)
            elif not word.startswith("-"):
                positional.append(word)
            elif equals:
                values.append((name, value))
            else:
                following = next(rest, "--")
                if following.startswith("--"):
                    raise ConfigError(f"`{word}` is no option, or one that needs a value after it.")
                values.append((word, following))
        return cls(tuple(positional), tuple(flags), tuple(values))

    def last(self, option: str) -> str | None:
        """Return the value of an option.

        Args:
            option: with its dashes.

        Returns:
            The last value that it is given, or None.
        """
        found = [value for name, value in self.values if name == option]
        return found[-1] if found else None

    def check_known(self, known: Sequence[str]) -> None:
        """Refuse options that there are not.

        Args:
            known: the options there are, with their dashes.

        Raises:
            ConfigError: naming the option, and the nearest one.
        """
        for name in (*self.flags, *(name for name, _ in self.values)):
            if name not in known and name not in ("--help", "-h"):
                # A forgotten section is the usual slip: --variance for --data_model.variance.
                whole = (full for full in known if full.endswith(f".{name.lstrip('-')}"))
                near = next(whole, None) or checks.nearest(name, known)
                hint = "" if near is None else f"did you mean `{near}`? "
                raise ConfigError(f"there is no option `{name}`; {hint}`--help` lists them.")

    def words(self) -> list[str]:
        """Return the words again, an option and its value in one, which argparse cannot mistake."""
        return [*self.positional, *self.flags, *(f"{name}={value}" for name, value in self.values)]
