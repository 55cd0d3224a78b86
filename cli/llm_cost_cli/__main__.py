"""`llm-cost`: read the command line, run the command, say what went wrong in one line."""

import io
import sys
from collections.abc import Sequence

from llm_cost_cli.arguments import parser
from llm_cost_cli.failures import INTERRUPTED, CommandFailed


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a character still shows the rest of the table.
        sys.stdout.reconfigure(errors="replace")
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except CommandFailed as failure:
        print(f"llm-cost: {failure}", file=sys.stderr)
        return failure.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe, `head` say, has seen enough
        return 0
    except KeyboardInterrupt:
        print("llm-cost: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
