"""Timings and comparisons; none of them is a test."""
