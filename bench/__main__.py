"""``python -m bench [NAME]``: all measurements, or one."""

import sys
from importlib import import_module

NAMES = ("epoch", "queue", "overhead", "load", "variants")


def main() -> None:
    """Run what was asked for; options after the name go to it."""
    chosen = sys.argv[1:2] or list(NAMES)
    if unknown := set(chosen) - set(NAMES):
        sys.exit(f"there is no measurement {', '.join(unknown)}; choose {' or '.join(NAMES)}")
    sys.argv[1:2] = []
    for name in chosen:
        module = import_module(f"bench.{name}")
        print(f"## {name}\n\n{(module.__doc__ or '').splitlines()[0]}\n")
        module.main()
        print()


if __name__ == "__main__":
    main()
