"""Interfaces that a plugin implements.

Every class here is abstract: it may be subclassed, never instantiated. Every class that a plugin
registers is final: it may be instantiated, never subclassed; to change one behaviour of it, wrap
it.

Letters used for shapes in every docstring of the package: `B` batch, `D` input dimension, `C`
clusters, `K` hidden units, `P` random features, `S` integration points, `T` times. A leading `...`
stands for any batch shape.
"""

from gmmdyn.component import Component as Component
from gmmdyn.component import Spec as Spec
from gmmdyn.interfaces.activation import Activation as Activation
from gmmdyn.interfaces.activation import ScalarFunction as ScalarFunction
from gmmdyn.interfaces.data_model import Batch as Batch
from gmmdyn.interfaces.data_model import CovarianceStructure as CovarianceStructure
from gmmdyn.interfaces.data_model import DataModel as DataModel
from gmmdyn.interfaces.data_model import GaussianMixture as GaussianMixture
from gmmdyn.interfaces.data_model import IsotropicMixture as IsotropicMixture
from gmmdyn.interfaces.data_model import PrincipalAxes as PrincipalAxes
from gmmdyn.interfaces.engine import Engine as Engine
from gmmdyn.interfaces.engine import Observer as Observer
from gmmdyn.interfaces.engine import Segment as Segment
from gmmdyn.interfaces.integrator import Errors as Errors
from gmmdyn.interfaces.integrator import Fields as Fields
from gmmdyn.interfaces.integrator import Integrator as Integrator
from gmmdyn.interfaces.integrator import Moments as Moments
from gmmdyn.interfaces.network import FeatureNetwork as FeatureNetwork
from gmmdyn.interfaces.network import Network as Network
from gmmdyn.interfaces.network import TwoLayerNetwork as TwoLayerNetwork
from gmmdyn.interfaces.theory import Theory as Theory
