"""How the process keeps memory between training steps."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the C library keep what a training step frees for the next one, instead of giving it back to the kernel.

    By default glibc returns large blocks at once, and every step faults its activations in anew, page by page
    (tens of thousands of page faults for an augmented step). The process then holds its peak until it ends.

    Returns:
        Whether the C library has such settings (glibc).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _NEVER))
