"""What the FLARE23 paper reports as the lesion-wise specificity: the precision."""

from __future__ import annotations

from flare_core.evaluate.metrics.descriptor import Metric
from flare_core.evaluate.metrics.lesion_precision import LESION_PRECISION, lesion_precision

# Specificity needs true negatives, and there is no counting the lesions that are rightly not
# there. The paper's methods list precision, its Fig. 4a and text say "specificity" for the same
# row of numbers; whoever compares with it finds them under its name.
LESION_SPECIFICITY = Metric(
    key="lesion_specificity",
    name="Lesion-wise specificity as in the FLARE23 paper (it is the precision)",
    unit="1",
    direction="higher",
    empty=LESION_PRECISION.empty,
    missing=0.0,
    function=lesion_precision,
    most=1.0,
    lesion_only=True,
    source="FLARE23 paper, Fig. 4a",
)
