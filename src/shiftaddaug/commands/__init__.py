"""What the files of src/ run."""

import time

STARTED = time.time()
"""When this process began to import, seconds since the epoch."""
