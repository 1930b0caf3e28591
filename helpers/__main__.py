"""The same work without a notebook: `python -m helpers COMMAND`, a file of workbench/commands each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from helpers.workbench.commands import registry


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command: 0, or the code that its `run` gives; 2 and one sentence on stderr where the input is bad.

    >>> main(["quantize", "nowhere/model.onnx"])
    2
    """
    parser = argparse.ArgumentParser(prog="python -m helpers", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, module in registry().items():
        command = commands.add_parser(name, help=module.run.__doc__, description=module.run.__doc__)
        command.set_defaults(run=module.run)
        module.add_arguments(command)
    args = parser.parse_args(argv)
    try:
        return args.run(args) or 0
    except (ValueError, OSError, ImportError, RuntimeError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
