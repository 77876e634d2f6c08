"""A run's life: what has no effect in it, what identifies it, how much memory it needs."""
