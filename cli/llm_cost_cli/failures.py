"""Why a command ended without doing its work, and the exit code that says so.

0    done
1    the service refused the change, or a check found a difference
2    nothing was tried: the command line is wrong, or the service is away
130  interrupted
"""

from typing import Final

REFUSED: Final = 1
NOT_TRIED: Final = 2
INTERRUPTED: Final = 130


class CommandFailed(Exception):
    """The one line that a user reads, and the exit code."""

    def __init__(self, message: str, *, exit_code: int = REFUSED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
