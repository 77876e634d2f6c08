"""A run's life: its settings, and the steps prepare, fit, deploy, test and report; its checkpoints."""
