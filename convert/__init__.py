"""Checkpoint conversion from PyTorch to Flax; the only part of the project that needs PyTorch."""
