"""``python -m flare_core`` is the ``flare`` command.

Python itself puts the current folder on the search path here and looks into it before this file
runs; `flare_core/__init__.py` takes it away again. Whoever starts it in a folder of data should use
``flare``, or ``python -P -m flare_core`` (Python 3.11 and later).
"""

from __future__ import annotations

import sys

from flare_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
