"""``python -m flare_core`` is the ``flare`` command."""

from __future__ import annotations

import sys

from flare_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
