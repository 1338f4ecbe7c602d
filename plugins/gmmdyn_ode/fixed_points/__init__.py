"""Many fixed points: along a parameter, and from many starts."""
