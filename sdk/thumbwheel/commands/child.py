"""`python -m thumbwheel.commands.child PARENT MODULE [ARGUMENT …]`: run a module that must not outlive its parent.

The kernel sends SIGTERM when the parent dies, even by SIGKILL (Linux; elsewhere nothing watches). The setting survives
the exec into the module's own interpreter.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def tied(module: str, *arguments: str) -> list[str]:
    """Command that runs `python -m module` until it ends or the process that asked for this does."""
    return [sys.executable, "-m", "thumbwheel.commands.child", str(os.getpid()), module, *arguments]


def main(parent: int, module: str, *arguments: str) -> None:
    """Tie this process to `parent` and become `python -m module`; leaves at once when the parent is gone."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit("the parent has gone")
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
