"""When an output counts as exactly 0."""

# As a share of the sizes of its terms: units that cancel leave this much by rounding.
ZERO = 1e-13
