"""Memory that is given back and asked for again costs a CPU more time than many layers."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h of the GNU C library


def keep_freed_memory() -> bool:
    """Lets this process keep what it frees, instead of having the kernel clear it anew for every tensor.

    Training at 64 pixels, batch 64, took 30,000 page faults a step, 5 to 10 % of its time
    (docs/decisions/0021-networks.md). False where the C library is not GNU's: nothing changes then. Source: mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 << 20))
    return all(mallopt(name, value) == 1 for name, value in settings)
