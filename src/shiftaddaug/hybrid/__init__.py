"""Width-sliced layers: one shared weight, of which the target is the leading slice."""
