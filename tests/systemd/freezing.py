"""Stop one thread of a process while the others go on: what a hang in a driver looks like.

By ptrace(2), PTRACE_SEIZE and PTRACE_INTERRUPT. The tracer is a process of its own, because the kernel knows
one thread as the tracer; when it ends, the traced thread goes on.
"""

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator

SEIZE, INTERRUPT = 0x4206, 0x4207
WALL = 0x40000000  # __WALL of waitpid(2): a thread is waited for as well


@contextlib.contextmanager
def frozen(tid: int) -> Iterator[None]:
    """Keep the thread still inside the block; it may be gone at the end."""
    tracer = subprocess.Popen([sys.executable, __file__, str(tid)], stdout=subprocess.PIPE)
    assert tracer.stdout
    try:
        assert tracer.stdout.readline() == b"frozen\n", f"thread {tid} cannot be traced"
        yield
    finally:
        tracer.kill()
        tracer.wait(10)
        tracer.stdout.close()


def _trace(tid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    for request in (SEIZE, INTERRUPT):
        if libc.ptrace(request, tid, None, None) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.waitpid(tid, WALL)
    os.write(1, b"frozen\n")
    # A traced thread that was killed keeps its process from ending until the tracer has seen it.
    while not os.WIFSIGNALED(os.waitpid(tid, WALL)[1]):
        pass


if __name__ == "__main__":
    _trace(int(sys.argv[1]))
