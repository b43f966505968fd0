"""What these tests share."""

from __future__ import annotations

from engine_fixtures import calls as calls
from engine_fixtures import scans as scans
