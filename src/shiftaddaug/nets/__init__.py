"""Networks as data: plans, sub-networks of a supernet, and the target cut out of it."""
