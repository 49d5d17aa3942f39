"""The heap of the C library: one for all threads.

glibc gives threads heaps of their own, up to eight for each core, and what one of them frees no other can use. Files pass
through many threads in pieces of up to some megabytes, and every heap keeps what the largest of them took. With one heap the
threads wait for each other a little where they ask for memory, which is not measurable, and a daemon through which large files
pass takes about 10 MiB less.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8


def share() -> None:
    """Let the threads share one heap; to be called before there are any. Without effect where the C library has no such thing."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
