"""A child process that speaks JSON lines with its parent: both ends of the pipes.

Pictures come from strangers and go through C libraries that can crash, loop for ever or grow. A thread cannot
be killed, a process can. So all such work runs in a child, and the parent trusts nothing that it says: lines
are bounded and parsed strictly, memory is watched from outside, and its end is forced when it does not come.

The parent's end is `Child`, the child's end is `Parent`. The child dies with its parent in two ways: the
kernel kills it (PR_SET_PDEATHSIG, prctl(2)), and its standard input ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from drivers.picture_files import PIXELS_MAX

Message = dict[str, Any]

LINE_BYTES_MAX: Final = 64 * 1024
READ_BYTES: Final = 64 * 1024
LAST_WORDS_BYTES: Final = 2048
END_GRACE_S: Final = 0.5  # what a healthy child needs to go after it is asked to
REAP_S: Final = 2.0  # a process that a driver holds in the kernel outlives even SIGKILL; do not wait for it
NICENESS: Final = 5  # decoding gives way to the turnstile
PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
MIB: Final = 1024 * 1024
PACKAGE_ROOT: Final = Path(__file__).resolve().parent.parent

# One decoding thread and few allocator arenas: the child has one job, and memory is what a small board lacks.
# The select timeout (seconds) bounds a read from a camera that stopped; OpenCV waits 10 s by itself.
LIBRARY_SETTINGS: Final = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(PIXELS_MAX),
    "OPENCV_LOG_LEVEL": "ERROR",
    "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": "2",
    "MALLOC_ARENA_MAX": "2",
}


class GarbledLineError(Exception):
    """The child wrote something that is not one bounded JSON object per line."""


class Child:
    """The parent's end: a running child process, its messages, its memory and its end.

    `module` is what `python -m` runs. Not safe to use from two threads; and the thread that makes it must
    live as long as the child, because the kernel ties PR_SET_PDEATHSIG to that thread.
    """

    def __init__(self, module: str, *, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._line_bytes_max = line_bytes_max
        # A process group of its own: Ctrl-C reaches the parent alone, which then ends the child in order.
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module, no shell
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            bufsize=0,
            process_group=0,
        )
        self._partial = b""
        self._last_words = b""
        self._selector = selectors.DefaultSelector()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            self._selector.register(stream, selectors.EVENT_READ)
        self._epitaph: str | None = None
        self.ended = False  # the child has closed its output: nothing more will come

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def send(self, message: Mapping[str, object]) -> bool:
        """Write one message; False when the child no longer listens."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(_line(message))
        except (BrokenPipeError, ValueError):
            return False
        return True

    def receive(self, timeout_s: float) -> list[Message]:
        """Return the messages that have come within `timeout_s`, possibly none; raises GarbledLineError."""
        for key, _ in self._selector.select(timeout_s):
            chunk = os.read(key.fd, READ_BYTES)
            if not chunk:
                self._selector.unregister(key.fileobj)
            if key.fileobj is self._process.stderr:
                self._last_words = (self._last_words + chunk)[-LAST_WORDS_BYTES:]
            else:
                self.ended = not chunk
                self._partial += chunk
        *lines, self._partial = self._partial.split(b"\n")
        if len(self._partial) > self._line_bytes_max:
            raise GarbledLineError(f"a line of more than {self._line_bytes_max} bytes")
        return [self._parse(line) for line in lines]

    def _parse(self, line: bytes) -> Message:
        if len(line) > self._line_bytes_max:
            raise GarbledLineError(f"a line of more than {self._line_bytes_max} bytes")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise GarbledLineError(f"a line that is not JSON ({type(error).__name__})") from error
        if not isinstance(message, dict):
            raise GarbledLineError("a line that is not a JSON object")
        return message

    def memory_mb(self) -> float:
        """Return the resident memory in MiB as the kernel counts it; 0 when the child is gone."""
        return resident_mb(self.pid)

    def end(self, *, now: bool = False) -> str:
        """End the child and return in words how it ended; by force, if it does not go or `now` is set.

        Leaves no zombie, unless the kernel itself holds the process (a driver that hangs). May be repeated.
        """
        if self._epitaph is None:
            self._close_input()
            if not now:
                self._process.terminate()
                self._reap(END_GRACE_S)
            self._process.kill()
            self._reap(REAP_S)
            self._epitaph = self._how_it_ended()
            self._close_output()
        return self._epitaph

    def wait(self) -> str:
        """Let a child that has `ended` its output go by itself; return in words how it ended."""
        self._reap(END_GRACE_S)
        return self.end()

    def _reap(self, timeout_s: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)

    def _close_input(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _close_output(self) -> None:
        self._selector.close()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def _how_it_ended(self) -> str:
        status = self._process.poll()
        if status is None:
            return "cannot be ended: it hangs in the kernel"
        how = f"exit status {status}" if status >= 0 else f"killed by {_signal_name(-status)}"
        words = self._last_line()
        return f"{how} ({words})" if words else how

    def _last_line(self) -> str:
        assert self._process.stderr is not None
        os.set_blocking(self._process.stderr.fileno(), False)  # a grandchild could hold it open
        self._last_words += self._process.stderr.read(READ_BYTES) or b""
        line = self._last_words.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return "".join(c for c in line if c.isprintable())[:200]


class Parent:
    """The child's end: it takes over the pipes and makes the process a well-behaved child.

    Standard output belongs to the messages alone: what C libraries print there goes to standard error.
    """

    def __init__(self) -> None:
        self._output = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        _die_with_parent()
        os.nice(NICENESS)
        # A core dump would put visitors' pictures on the card.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def tell(self, message: Mapping[str, object]) -> None:
        """Write one message to the parent; a parent that is gone ends this process."""
        try:
            self._output.write(_line(message))
            self._output.flush()
        except BrokenPipeError:
            os._exit(0)

    def hear(self) -> Message | None:
        """Wait for one message of the parent; None when it is gone or ends the conversation."""
        line = sys.stdin.buffer.readline()
        return json.loads(line) if line else None

    def leave(self, status: int) -> NoReturn:
        """End this process now, whatever its other threads do in C code."""
        self._output.flush()
        os._exit(status)


def bound_memory(growth_mb: int) -> None:
    """Let the address space grow by at most `growth_mb` MiB from here on; allocations beyond it fail.

    Call it when the libraries are loaded and before the first foreign byte is parsed. It is relative because
    what libraries map differs by hundreds of MiB between boards while being touched hardly at all.
    """
    mapped_pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    limit = mapped_pages * resource.getpagesize() + growth_mb * MIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def resident_mb(pid: int | str = "self") -> float:
    """Return the resident memory of a process in MiB (proc(5), statm); 0 when there is none."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]
    except (OSError, IndexError):
        return 0.0
    return int(pages) * resource.getpagesize() / MIB


def _line(message: Mapping[str, object]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


def _environment() -> dict[str, str]:
    """Return the child's environment; its import path finds this package from wherever the parent runs it."""
    path = os.pathsep.join(filter(None, (str(PACKAGE_ROOT), os.environ.get("PYTHONPATH"))))
    return os.environ | LIBRARY_SETTINGS | {"PYTHONPATH": path}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _die_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
