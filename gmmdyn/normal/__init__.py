"""Normal probabilities of one and two variables, for plugins that integrate over Gaussian fields.

Three forms of the same formulas: of tensors (any device, differentiable), of arrays, and of single
numbers within compiled code, `gmmdyn.normal.compiled`.
"""

from gmmdyn.normal.arrays import excess as excess
from gmmdyn.normal.tensors import cdf2 as cdf2
from gmmdyn.normal.tensors import density as density
