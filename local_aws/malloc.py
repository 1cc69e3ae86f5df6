"""Returns freed memory to the system right away if the block was large."""

from __future__ import annotations

import ctypes

# mallopt(3), from glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
THRESHOLD = 128 * 1024  # bytes; glibc's initial value


def return_large_blocks() -> bool:
    """Fix glibc's thresholds for this process; return whether that worked.

    By default, glibc raises the thresholds to the size of the largest freed block. Request bodies
    then land in each thread's heap, between small blocks that stay, and the heaps never shrink.
    Other C libraries have no mallopt(3); nothing changes there.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    mapped, trimmed = mallopt(M_MMAP_THRESHOLD, THRESHOLD), mallopt(M_TRIM_THRESHOLD, THRESHOLD)
    return bool(mapped and trimmed)
