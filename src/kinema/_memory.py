"""Keeping freed memory: what a command does first of all, before torch is loaded; importing the library never does it.

glibc hands large blocks back to the kernel when they are freed, so that a network on a CPU pays page faults for the same
memory in every step: up to two thirds of its time. The price of keeping it is resident memory.
"""

from __future__ import annotations

import ctypes
import os
import sys

# Names of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for this process; True where it was done.

    Does nothing where the C library is another one, or where the environment says `KINEMA_KEEP_MEMORY=0`.
    """
    if os.environ.get("KINEMA_KEEP_MEMORY", "1") == "0" or not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):  # musl has a mallopt that does nothing
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 256 << 20))
    return all([libc.mallopt(name, value) == 1 for name, value in settings])
