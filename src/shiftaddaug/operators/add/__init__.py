"""add: the negated l1 distance between a patch and a filter."""
