"""LightningModules: the training step, metrics and schedules of the learning rate."""
