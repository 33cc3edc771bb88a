"""stdout and stderr: whether somebody listens, and what they cannot take."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn, TextIO

EXIT_UNHEARD = 141
"""As of a program that a closed pipe ends: 128 and the number of SIGPIPE."""


@contextmanager
def speaking() -> Iterator[None]:
    """Inside, what an output cannot encode is written as a number, and an output that takes no more ends the process.

    Where that is a closed pipe it ends without a word, as other programs do.
    """
    streams = [stream for stream in (sys.stdout, sys.stderr) if hasattr(stream, "reconfigure")]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    except OSError as error:
        if unheard(error):
            leave(error)
        raise
    finally:
        # what Python could not write it forgets: the fault is found once, and handed on
        if (fault := _fault(sys.stdout, None) or _fault(sys.stderr, None)) is not None:
            leave(fault)
        for stream, errors in zip(streams, before, strict=True):
            with suppress(ValueError):  # closed meanwhile
                stream.reconfigure(errors=errors)


def unheard(error: OSError | None = None) -> bool:
    """Whether what this process prints arrives nowhere any more.

    Args:
        error: of a write that may have been to an output; None where none is known. After it an end of line is tried,
            as Python forgets what it could not write.
    """
    if error is not None and error.filename is not None:
        return False
    return any(_fault(stream, error) is not None for stream in (sys.stdout, sys.stderr))


def leave(error: OSError | None = None) -> NoReturn:
    """Ends the process, whose output takes no more.

    Args:
        error: see `unheard`.

    Raises:
        SystemExit: always.
    """
    faults = {stream: _fault(stream, error) for stream in (sys.stdout, sys.stderr)}
    for stream, fault in faults.items():
        if fault is not None:
            with suppress(OSError, ValueError):  # else Python would try once more, and complain
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    worse = [fault for fault in faults.values() if fault is not None and not isinstance(fault, BrokenPipeError)]
    if not worse:
        raise SystemExit(EXIT_UNHEARD)
    print(f"ipr: error: <output>: {worse[0].strerror}; give another place to print to", file=sys.stderr)
    raise SystemExit(2)


def _fault(stream: TextIO | None, error: OSError | None) -> OSError | None:
    try:
        if stream is not None:
            stream.flush()
            if error is not None and stream is sys.stdout and not stream.isatty():
                os.write(stream.fileno(), b"\n")
    except ValueError:  # closed from within, or nothing of the system's (also an OSError to Python)
        pass
    except OSError as found:
        return found
    return None
