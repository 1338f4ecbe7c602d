"""Gaussian expectations of one and two units, for whoever integrates over Gaussian fields.

Each formula stands once, in torch, and once more in `gmmdyn.gaussian.compiled` where a loop over
single numbers is the faster.
"""

from gmmdyn.gaussian.hermite import UnitCumulants as UnitCumulants
from gmmdyn.gaussian.hermite import UnitMoments as UnitMoments
from gmmdyn.gaussian.normal import cdf as cdf
from gmmdyn.gaussian.normal import cdf2 as cdf2
from gmmdyn.gaussian.normal import density as density
from gmmdyn.gaussian.normal import excess as excess
from gmmdyn.gaussian.piecewise_linear import PiecewiseLinear as PiecewiseLinear
from gmmdyn.gaussian.root import SLACK as SLACK
from gmmdyn.gaussian.root import covariance_factor as covariance_factor
from gmmdyn.gaussian.root import field_factor as field_factor
from gmmdyn.gaussian.units import hermite_coefficients as hermite_coefficients
from gmmdyn.gaussian.units import pair_covariance as pair_covariance
from gmmdyn.gaussian.units import projected_fields as projected_fields
from gmmdyn.gaussian.units import unit_cumulants as unit_cumulants
from gmmdyn.gaussian.units import unit_mean as unit_mean
from gmmdyn.gaussian.units import unit_moments as unit_moments
