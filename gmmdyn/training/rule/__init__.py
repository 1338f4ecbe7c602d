"""Online SGD of two-layer networks: the rule, written once, and what moves weights by it."""
