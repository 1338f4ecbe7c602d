"""Conformance checks for plugin authors: what gmmdyn's own components must pass too.

Each check raises AssertionError with a sentence. Use them in the tests of a plugin:

    gmmdyn.testing.check_activation(Softplus())
"""

from gmmdyn.testing.dynamics import check_engine as check_engine
from gmmdyn.testing.dynamics import check_network as check_network
from gmmdyn.testing.dynamics import check_theory as check_theory
from gmmdyn.testing.parts import check_activation as check_activation
from gmmdyn.testing.parts import check_data_model as check_data_model
from gmmdyn.testing.parts import check_integrator as check_integrator
from gmmdyn.testing.parts import check_loss as check_loss
