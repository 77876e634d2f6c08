"""What happens between steps and epochs: schedules, checkpoints, diagnostics."""
