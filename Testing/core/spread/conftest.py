"""What these tests share."""

from __future__ import annotations

from cluster_fixtures import mortal_workers as mortal_workers
from cluster_fixtures import proof as proof
from cluster_fixtures import workers as workers
