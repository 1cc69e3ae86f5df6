"""Gives the memory of large blocks back to the system as soon as they are freed."""

from __future__ import annotations

import ctypes

# mallopt(3), from glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
THRESHOLD = 128 * 1024  # bytes; glibc's own, before it adapts


def return_large_blocks() -> bool:
    """Fix glibc's thresholds for this process; return whether that was possible.

    By itself glibc raises them to the largest block that was freed, so that bodies of requests come
    to lie in each thread's heap between small blocks that last, and those heaps never shrink.
    Other C libraries have no mallopt(3), and are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    mapped, trimmed = mallopt(M_MMAP_THRESHOLD, THRESHOLD), mallopt(M_TRIM_THRESHOLD, THRESHOLD)
    return bool(mapped and trimmed)
