"""Fixed points of the order parameters' dynamics: the theory `state-evolution`."""
