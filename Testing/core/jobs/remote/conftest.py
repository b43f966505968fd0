"""What these tests share."""

from __future__ import annotations

from served import certificate as certificate
