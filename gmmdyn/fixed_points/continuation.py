"""A fixed point followed along a parameter."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gmmdyn import checks
from gmmdyn.config import Configuration
from gmmdyn.errors import ConfigError, ConvergenceError
from gmmdyn.experiment import Experiment
from gmmdyn.fixed_points.dataset import assemble
from gmmdyn.interfaces import Theory
from gmmdyn.order_parameters import OrderParameters
from gmmdyn.plain_values import plain
from gmmdyn.sweeping.axes import full_name
from gmmdyn.trajectory import Trajectory

if TYPE_CHECKING:
    import xarray as xr

_THEORY = "state-evolution"


def follow_fixed_point(
    source: str | Path | Configuration | Experiment,
    along: str,
    values: Iterable[float],
    *,
    initial: OrderParameters | None = None,
    **options: Any,
) -> xr.Dataset:
    r"""Follow a fixed point along a parameter, such as $\kappa$, $\sigma^2$ or $\eta$.

    The first one is looked for from the start. Each further one is looked for near the last by
    Newton's method; where that finds none, or finds that the fixed point has lost its stability,
    the flow is followed from the last one to where it now leads. So the branch is that of slowly
    changing the parameter, and where it ends in a jump the jump is made.

    Args:
        source: a preset, a YAML file, a configuration, or an experiment that was built by names.
        along: the parameter, as `"algorithm.weight_decay"` or by its own name.
        values: its values, in the order in which to go, at least one.
        initial: where to start; the initial weights of the network by default.
        **options: keywords of the theory `state-evolution`.

    Returns:
        All fixed points with the parameter as their first dimension: both errors and their
        integration errors, `Q`, `R`, `v`, `residual`, `stability`, `eigenvalue` (real parts,
        largest first), and `message`, which says why one is missing or did not converge.

    Raises:
        ConfigError: if there is no such parameter, or it has no values.
        IncompatibleError: if the theory does not describe the experiment.

    Examples:
        ```python
        import numpy as np
        found = gd.follow_fixed_point("xor", "weight_decay", np.geomspace(0.1, 1e-5, 9))
        found["pmse"]
        ```
    """
    base = configuration_of(source)
    section, option = full_name(along, base)
    wanted = plain(list(values))
    if not wanted:
        raise ConfigError("`values` is empty; give at least one value of the parameter.")
    for value in wanted:
        checks.number(along, value)
    if section not in ("data_model", "network", "algorithm"):
        raise ConfigError(f"`{along}` is no parameter of the experiment, whose fixed points move.")
    base, theory, newton = theories(base, options)
    found: list[Trajectory | None] = []
    messages: list[str] = []
    last: Trajectory | None = None
    for value in wanted:
        changed = base.updated(section, {option: value})
        if option == "dim":
            changed = changed.updated("network", {"dim": value})
        experiment = changed.experiment()
        trajectory, message = _next(experiment, theory, newton, last, initial)
        found.append(trajectory)
        messages.append(message)
        if trajectory is not None and not message:
            last = trajectory
    about = {"along": f"{section}.{option}", "base": base.to_mapping()}
    if section != "data_model" and found[0] is not None:
        about["bayes_error"] = found[0].metadata.get("bayes_error", {}).get("value")
    return assemble(option, wanted, found, messages, about)


def _next(
    experiment: Experiment,
    theory: Theory,
    newton: Theory,
    last: Trajectory | None,
    initial: OrderParameters | None,
) -> tuple[Trajectory | None, str]:
    start = initial
    if last is not None and last["v"].any():  # nothing leads away from a network without weights
        start = last.order_parameters(0)
        try:
            near = experiment.solve(newton, initial=start)
            lost = last.metadata["stability"] == "stable" != near.metadata["stability"]
            if not lost:
                return near, ""
        except ConvergenceError:
            pass
    try:
        return experiment.solve(theory, initial=start), ""
    except ConvergenceError as error:
        return error.partial, str(error)


def configuration_of(source: str | Path | Configuration | Experiment) -> Configuration:
    """Return the configuration of what a caller gives for an experiment.

    Args:
        source: a preset, a YAML file, a configuration, or an experiment that was built by names.

    Returns:
        A configuration whose theory finds fixed points.

    Raises:
        ConfigError: if it is none of these.
    """
    if isinstance(source, Configuration):
        base = source
    elif isinstance(source, Experiment):
        base = Configuration.describing(source)
    else:
        base = Configuration.load(source)
    if (base.theory or {}).get("name") != _THEORY:
        base = base.updated("theory", {"name": _THEORY})
    return base


def theories(base: Configuration, options: dict[str, Any]) -> tuple[Configuration, Theory, Theory]:
    """Build the theory as asked for, and once more for Newton's method.

    Args:
        base: with the theory.
        options: keywords of the theory.

    Returns:
        The configuration with the options, the theory, and the one that looks near its start.
    """
    from gmmdyn.components import theory as build

    given = {key: value for key, value in options.items() if key != "integrator"}
    base = base.updated("theory", plain(given)) if given else base
    described = {key: value for key, value in (base.theory or {}).items() if key != "name"}
    if "integrator" in options:  # may be an object
        described["integrator"] = options["integrator"]
    return base, build(_THEORY, **described), build(_THEORY, **{**described, "method": "newton"})
