"""Face generators as Flax NNX modules, used as pure functions."""
