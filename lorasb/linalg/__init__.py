"""Matrices alone: decompositions and measures."""
