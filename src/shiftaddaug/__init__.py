"""shiftaddaug: train multiplication-free networks as sub-networks of multiplicative ones.

Importing the package imports nothing heavy: a command reads and checks its configuration before torch.
"""

__version__ = "0.1.0"
