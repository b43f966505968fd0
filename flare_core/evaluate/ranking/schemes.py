"""What each FLARE edition ranks: metrics, their direction, what counts as equal. Data only.

Sources: the FLARE challenge papers (Ma et al., Med Image Anal 2022, Lancet Digit Health 2024 and
"The FLARE 2023 Challenge"). A scheme of one's own is a JSON file with the same fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from flare_core.anatomy.label_schemes import as_listed
from flare_core.errors import InputError
from flare_core.evaluate.protocols import edition
from flare_core.json_fields import read_json_file
from flare_core.paths import usable_path

MIB_PER_GB = 1024


@dataclass(frozen=True)
class MetricRule:
    """How one metric is ranked."""

    key: str
    """Name in tables."""
    title: str
    """Name for people."""
    higher_is_better: bool
    """Direction."""
    columns: tuple[str, ...]
    """Names of the column that holds it; the first that is there is taken."""
    organ_mean_of: str = ""
    """Without such a column: the mean over the organs of this metric (lesions left out)."""
    tolerance: float | None = None
    """Values that are at least this good count as equal."""
    tolerance_column: str = ""
    """If given, the tolerance is about this column: where it is at most `tolerance`, the metric
    counts as 0. (An area under a memory curve is tolerated by the memory, not by the area.)"""
    unit: str = ""
    """Unit of the values, for people; empty for a plain number."""


@dataclass(frozen=True)
class Scheme:
    """What is ranked, each metric with the same weight."""

    key: str
    """Name in options."""
    title: str
    """Name for people."""
    metrics: tuple[MetricRule, ...]
    """In the order of tables."""

    def record(self) -> dict[str, Any]:
        """Return plain values that `scheme_from` takes back."""
        return asdict(self)


def _accuracy(group: str, title: str, measure: str) -> MetricRule:
    """Return the rule of a score over the organs or of lesions."""
    column = f"{group}_{measure}"
    organs = group == "organ"
    return MetricRule(
        key=column,
        title=f"{title} {measure.upper()}",
        higher_is_better=True,
        columns=(column, f"organs_mean_{measure}") if organs else (column,),
        organ_mean_of=measure if organs else "",
    )


def _resource(key: str, title: str, column: str, unit: str) -> MetricRule:
    """Return the rule of something of which less is better."""
    return MetricRule(key, title, higher_is_better=False, columns=(column,), unit=unit)


ORGAN_DSC, ORGAN_NSD = _accuracy("organ", "Organ", "dsc"), _accuracy("organ", "Organ", "nsd")
LESION_DSC, LESION_NSD = _accuracy("lesion", "Lesion", "dsc"), _accuracy("lesion", "Lesion", "nsd")

RUNTIME = _resource("runtime", "Run time", "runtime_s", "s")
GPU_MEMORY = _resource("gpu_memory", "GPU memory", "gpu_stable_max_mib", "MiB")
AUC_GPU = _resource("auc_gpu", "AUC GPU", "auc_gpu_mib_s", "MiB s")
AUC_CPU = _resource("auc_cpu", "AUC CPU", "auc_cpu_percent_s", "% s")

_LIMITS_23 = edition("flare23").limits
RUNTIME_23 = replace(RUNTIME, tolerance=_LIMITS_23.tolerated_s)
AUC_GPU_23 = replace(
    AUC_GPU,
    tolerance=(_LIMITS_23.tolerated_gpu_gb or 0.0) * MIB_PER_GB,
    tolerance_column="gpu_max_mib",
)

FLARE21 = Scheme(
    "flare21",
    "FLARE 2021: DSC, NSD, run time, maximum GPU memory",
    (ORGAN_DSC, ORGAN_NSD, RUNTIME, GPU_MEMORY),
)
FLARE22 = Scheme(
    "flare22",
    "FLARE 2022: DSC, NSD, run time, areas under GPU memory and CPU curves",
    (ORGAN_DSC, ORGAN_NSD, RUNTIME, AUC_GPU, AUC_CPU),
)
FLARE23 = Scheme(
    "flare23",
    "FLARE 2023: organ and lesion DSC and NSD, run time, area under the GPU memory curve",
    (ORGAN_DSC, ORGAN_NSD, LESION_DSC, LESION_NSD, RUNTIME_23, AUC_GPU_23),
)

SCHEMES: dict[str, Scheme] = {one.key: one for one in (FLARE21, FLARE22, FLARE23)}
"""Every scheme by its key."""


def find_scheme(name: str) -> Scheme:
    """Return the scheme called `name`, or read it from a JSON file of that name.

    Raises
    ------
    InputError
        If there is neither, or the file is no scheme.

    Examples
    --------
    >>> [rule.key for rule in find_scheme("flare22").metrics]
    ['organ_dsc', 'organ_nsd', 'runtime', 'auc_gpu', 'auc_cpu']
    """
    if (known := as_listed(name, SCHEMES)) in SCHEMES:
        return SCHEMES[known]
    path = usable_path(name, "--scheme")
    if not path.is_file():
        legal = f"{', '.join(SCHEMES)}, or a JSON file"
        raise InputError("--scheme", repr(name), legal, "Choose one, or correct the path.")
    legal = "a JSON file with a scheme"
    return scheme_from(read_json_file(path, argument=name, legal=legal, action=_ADVICE), name)


def scheme_from(facts: Any, source: str = "scheme") -> Scheme:
    """Build a scheme from plain values, as `Scheme.record` returns them.

    Raises
    ------
    InputError
        If something is missing, unknown or of the wrong kind.
    """
    if not isinstance(facts, Mapping) or not isinstance(facts.get("metrics"), (list, tuple)):
        raise InputError(source, "no list of metrics", "fields key, title, metrics", _ADVICE)
    rules = tuple(_rule_from(each, source) for each in facts["metrics"])
    keys = [rule.key for rule in rules]
    if not rules or len(set(keys)) < len(keys):
        came = f"metrics {', '.join(keys) or 'none'}"
        raise InputError(source, came, "at least one metric, each key once", _ADVICE)
    key = str(facts.get("key") or "own")
    return Scheme(key, str(facts.get("title") or key), rules)


_ADVICE = "ranking.json of an earlier run has a field `scheme` to start from."
_KINDS: dict[str, tuple[type, ...]] = {
    "key": (str,),
    "title": (str,),
    "higher_is_better": (bool,),
    "columns": (list, tuple),
    "organ_mean_of": (str,),
    "tolerance": (int, float, type(None)),
    "tolerance_column": (str,),
    "unit": (str,),
}
_REQUIRED = ("key", "higher_is_better", "columns")


def _rule_from(facts: Any, source: str) -> MetricRule:
    if not isinstance(facts, Mapping):
        raise InputError(source, f"the metric {facts!r}", "an object with fields", _ADVICE)
    wrong = [name for name in facts if name not in _KINDS or not _fits(name, facts[name])]
    wrong += [name for name in _REQUIRED if name not in facts]
    if wrong:
        came = f"a metric {facts.get('key', '')!r} with unusable or missing {', '.join(wrong)}"
        raise InputError(source, came, f"fields {', '.join(_KINDS)}", _ADVICE)
    tolerance = facts.get("tolerance")
    return MetricRule(
        key=facts["key"],
        title=facts.get("title") or facts["key"],
        higher_is_better=facts["higher_is_better"],
        columns=tuple(str(name).lower() for name in facts["columns"]),
        organ_mean_of=facts.get("organ_mean_of", "").lower(),
        tolerance=None if tolerance is None else float(tolerance),
        tolerance_column=facts.get("tolerance_column", "").lower(),
        unit=facts.get("unit", ""),
    )


def _fits(name: str, value: Any) -> bool:
    if isinstance(value, bool) and name != "higher_is_better":
        return False
    return isinstance(value, _KINDS[name]) and (name != "columns" or bool(value))
