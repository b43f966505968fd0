"""What we look for: organs, their codes, and the numbers other label files give them.

Data and small functions of the standard library; no voxels and no network here.
"""

from flare_core.anatomy.organs import ALL_TARGETS, LESION, ORGANS, Organ, organ, parse_organs

__all__ = ["ALL_TARGETS", "LESION", "ORGANS", "Organ", "organ", "parse_organs"]
