"""Data sets in and out of a case store, in the folder layouts that other programs use.

In: `import_dataset` (FLARE21 to 24, plain folders, nnU-Net raw). Out: `export_nnunet`,
`export_flare22`, and `datasets.case.save_cases` for a list to train from.
"""

from __future__ import annotations

from flare_core.datasets.exchange_export import Exported as Exported
from flare_core.datasets.exchange_export import export_flare22 as export_flare22
from flare_core.datasets.exchange_export import export_nnunet as export_nnunet
from flare_core.datasets.exchange_import import Imported as Imported
from flare_core.datasets.exchange_import import ImportSettings as ImportSettings
from flare_core.datasets.exchange_import import import_dataset as import_dataset
