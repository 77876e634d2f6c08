"""What the files of src/ run."""
