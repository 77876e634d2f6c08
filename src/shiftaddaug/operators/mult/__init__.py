"""mult: the ordinary convolution and linear layer."""
