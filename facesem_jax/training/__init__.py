"""Training of the generator and the decomposer, as pure functions of pytrees."""
