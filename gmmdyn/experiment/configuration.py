"""Experiments as YAML: what to run, in plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from gmmdyn import checks, presets, registry
from gmmdyn.algorithm import OnlineSGD
from gmmdyn.errors import ArgumentError, ConfigError
from gmmdyn.experiment.plain_values import plain
from gmmdyn.experiment.sections import (
    COMPONENTS,
    SECTIONS,
    component,
    component_class,
    section_options,
)
from gmmdyn.experiment.yaml_text import read_yaml, write_yaml
from gmmdyn.interfaces import Component, DataModel, GaussianMixture, Network, Theory
from gmmdyn.trajectory.time_units import Figures


@dataclass(frozen=True)
class Configuration:
    """An experiment and how to run it, in plain values.

    An option that is a component may be a name, or a mapping with a `name` and its options. The
    `means` of a data model may be a mapping as well: then means, and by default labels and priors,
    are those of that mixture. The network gets the `dim` and the number of outputs of the data
    model, and one that is informed of the mixture or centred on it its `mixture`, unless they are
    given.

    Attributes:
        data_model: `name` and options of the data model.
        network: `name` and options of the network.
        algorithm: options of `OnlineSGD`.
        simulation: keywords of `Experiment.simulate`.
        theory: `name` and options of the theory, or None to do without.
        figures: how the figures of the run are drawn: their `time_unit`.

    Raises:
        ConfigError: if a section is missing or malformed, or a key unknown.
        RangeError: if the unit of time is unknown.
    """

    data_model: Mapping[str, Any]
    network: Mapping[str, Any]
    algorithm: Mapping[str, Any]
    simulation: Mapping[str, Any] = field(default_factory=dict)
    theory: Mapping[str, Any] | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for section in SECTIONS:
            values = getattr(self, section)
            if section == "theory" and values is None:
                continue
            if not isinstance(values, Mapping):
                raise ConfigError(f"`{section}` is {values!r}; give a mapping of options.")
            for key in values:
                if not isinstance(key, str):
                    raise ConfigError(f"`{section}` has the key {key!r}, which is no name.")
            if section in COMPONENTS:
                if not isinstance(values.get("name"), str):
                    raise ConfigError(f"`{section}` needs the `name` of a component.")
                continue
            known = section_options(section)
            for key in values:
                if key not in known:
                    near = checks.suggestion(key, known)
                    raise ConfigError(f"`{section}` has no option `{key}`; {near}")
        if not isinstance(self.simulation.get("trainer", {}), Mapping | None):
            raise ConfigError("`trainer` must be a mapping of keywords of Lightning's Trainer.")
        for key in ("checkpoint", "resume"):
            if not isinstance(self.simulation.get(key), str | None):
                raise ConfigError(f"`{key}` is {self.simulation[key]!r}; give the path of a file.")
        Figures(**self.figures)

    @classmethod
    def from_mapping(cls, values: Any, where: str = "the configuration") -> Configuration:
        """Read plain values.

        Args:
            values: a mapping with the keys `SECTIONS`; `simulation`, `theory` and `figures` may be
                left out.
            where: what to call it in a message.

        Returns:
            The configuration.

        Raises:
            ConfigError: if it is no such mapping.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"{where} is no mapping with the keys {', '.join(SECTIONS)}.")
        for key in values:
            if key not in SECTIONS:
                near = checks.suggestion(str(key), SECTIONS)
                raise ConfigError(f"{where} has the unknown key `{key}`; {near}")
        for item in fields(cls)[:3]:
            if item.name not in values:
                raise ConfigError(f"{where} has no `{item.name}`; give a mapping of options.")
        optional = {key: values.get(key) or {} for key in ("simulation", "figures")}
        return cls(**{**values, **optional})

    @classmethod
    def load(cls, source: str | Path) -> Configuration:
        """Read a preset or a file.

        Args:
            source: the name of a preset, or the path of a YAML file.

        Returns:
            The configuration.

        Raises:
            ConfigError: if there is no such preset or file, or it is no configuration.
        """
        if str(source) in presets.available():
            text, where = presets.read(str(source)), f"the preset `{source}`"
        else:
            where = f"`{source}`"
            try:
                text = Path(source).read_text(encoding="utf-8")
            except (FileNotFoundError, NotADirectoryError):
                near = checks.suggestion(str(source), presets.available())
                raise ConfigError(f"{where} is neither a preset nor a YAML file; {near}") from None
            except OSError as error:
                raise ConfigError(f"{where} cannot be read: {error.strerror}.") from None
            except ValueError:
                raise ConfigError(f"{where} is no text in UTF-8; give a YAML file.") from None
        return cls.from_mapping(read_yaml(text, where), where)

    @classmethod
    def describing(
        cls, data_model: DataModel, network: Network, algorithm: OnlineSGD
    ) -> Configuration:
        """Describe an experiment that was built by names.

        Args:
            data_model: where samples come from.
            network: at its initial weights.
            algorithm: how it learns.

        Returns:
            A configuration that builds it again.

        Raises:
            ConfigError: if a part was made without the registry, so that it has no name, or the
                algorithm is of a subclass.
        """
        if type(algorithm) is not OnlineSGD:
            raise ConfigError(
                f"`algorithm` is a {type(algorithm).__name__}, which YAML cannot name; take "
                "OnlineSGD."
            )
        described: dict[str, dict[str, Any]] = {}
        components: dict[str, Component] = {"data_model": data_model, "network": network}
        for section, one in components.items():
            _must_have_name(section, one)
            assert one.spec is not None
            options = dict(one.spec.options)
            # An informed network gets the mixture of the experiment without being told.
            if options.get("mixture") is data_model:
                del options["mixture"]
            for key, value in options.items():
                _must_have_name(f"{section}.{key}", value)
            described[section] = {"name": one.spec.name, **plain(options)}
        return cls(**described, algorithm=asdict(algorithm))

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values, which `from_mapping` takes."""
        sections = {section: getattr(self, section) for section in SECTIONS}
        return {
            section: None if values is None else plain(values)
            for section, values in sections.items()
            if section != "figures" or values
        }

    def to_yaml(self) -> str:
        """Return a YAML document, which `load` reads."""
        return write_yaml(self.to_mapping())

    def updated(self, section: str, options: Mapping[str, Any]) -> Configuration:
        """Change options of one section.

        Args:
            section: one of `SECTIONS`.
            options: what to set. With a new `name`, options that the new component does not take
                are dropped; `duration` and `times` replace each other.

        Returns:
            The new configuration.

        Raises:
            UnknownComponentError: if there is no component of the new name.
            ConfigError: if an option is unknown.
        """
        values = dict(getattr(self, section) or {})
        if section in COMPONENTS and options.get("name", values.get("name")) != values.get("name"):
            known = registry.options_of(component_class(section, options["name"]))
            values = {key: value for key, value in values.items() if key in known}
        if section == "simulation":
            for one, other in (("duration", "times"), ("times", "duration")):
                if one in options and other not in options:
                    values.pop(other, None)
        return replace(self, **{section: {**values, **options}})

    def resolved(self) -> Configuration:
        """Fill in every default that is not None, so that later versions run the same.

        Returns:
            The configuration with all options.
        """
        filled = {}
        for section in SECTIONS:
            values = getattr(self, section)
            if values is not None:
                name = {"name": values["name"]} if section in COMPONENTS else {}
                known = section_options(section, values.get("name"))
                defaults = {
                    key: option.default
                    for key, option in known.items()
                    if option.default is not None and option.default is not option.empty
                }
                filled[section] = {**name, **defaults, **values}
        return replace(self, **filled)

    def components(self) -> tuple[DataModel, Network, OnlineSGD]:
        """Build what an experiment is made of; `Experiment.from_configuration` puts it together.

        Returns:
            Data model, network and algorithm.

        Raises:
            GmmdynError: if a name or option is unknown, or a value out of range.
        """
        data_model: DataModel = component("data_model", self.data_model)
        options = dict(self.network)
        known = registry.options_of(registry.get("network", options["name"]))
        if "dim" in known:
            options.setdefault("dim", data_model.dim)
        given = not isinstance(options.get("readout", ""), str)
        if isinstance(data_model, GaussianMixture) and data_model.outputs > 1 and not given:
            options.setdefault("outputs", data_model.outputs)
        informed = options.get("init") == "informed" or options.get("centring") == "mixture"
        if "mixture" in known and informed:
            options.setdefault("mixture", data_model)
        network: Network = component("network", options)
        missing = [key for key in ("learning_rate",) if key not in self.algorithm]
        if missing:
            raise ArgumentError(f"`algorithm` needs a value for `{missing[0]}`.")
        return data_model, network, OnlineSGD(**self.algorithm)

    def predictor(self) -> Theory | None:
        """Build the theory.

        Returns:
            The theory, or None if the configuration has none.

        Raises:
            GmmdynError: if a name or option is unknown, or a value out of range.
        """
        if self.theory is None:
            return None
        theory: Theory = component("theory", self.theory)
        return theory


def _must_have_name(where: str, value: Any) -> None:
    if isinstance(value, Component):
        if value.spec is None:
            raise ConfigError(
                f"`{where}` is a {type(value).__name__} made without the registry, which YAML "
                "cannot name; build it by a registered name."
            )
        for key, item in value.spec.options.items():
            _must_have_name(f"{where}.{key}", item)
