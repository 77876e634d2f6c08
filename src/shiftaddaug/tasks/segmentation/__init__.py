"""Semantic segmentation: one label, or a set of labels, for each pixel."""
