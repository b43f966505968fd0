"""What came of many attempts, and why some of them failed."""

from __future__ import annotations

from dataclasses import dataclass, fields

KINDS = ("right", "clear", "unclear", "crashed", "lost", "left")
"""How one attempt can end; each ends in exactly one of these ways."""

GOOD = ("right", "clear")

SHOWN = 12
"""Failures of a harness that the table lists."""


@dataclass(frozen=True)
class Counts:
    """How attempts ended; the six numbers behind `tried` add up to it."""

    tried: int = 0
    """Inputs given, or processes killed."""
    right: int = 0
    """Done, and everything that was checked is so."""
    clear: int = 0
    """Refused with the four parts of an `InputError`."""
    unclear: int = 0
    """A traceback, an error that does not say what to do, or a result that cannot be."""
    crashed: int = 0
    """The process died, hung or took more memory than it may."""
    lost: int = 0
    """Something acknowledged was gone, or something was written or run that must not be."""
    left: int = 0
    """The next run left something behind."""
    failures: tuple[str, ...] = ()
    """One line each: how to repeat it, and what came."""

    def __post_init__(self) -> None:
        """Refuse numbers that do not add up."""
        if self.tried != sum(getattr(self, kind) for kind in KINDS):
            raise ValueError(f"the counts do not add up: {self}")

    def __add__(self, other: Counts) -> Counts:
        """Add number by number; failures follow one another."""
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Counts)))

    @property
    def good(self) -> bool:
        """Whether something was tried and nothing failed."""
        return self.tried > 0 and self.tried == sum(getattr(self, kind) for kind in GOOD)


def one(kind: str, how: str = "", why: str = "") -> Counts:
    """Return the counts of a single attempt; `how` to repeat it and `why` it failed are kept."""
    failed = () if kind in GOOD else (f"{kind}: {why.strip()} [{how}]",)
    return Counts(tried=1, failures=failed, **{kind: 1})


def table(rows: dict[str, Counts]) -> str:
    """Return one line for each harness and one for all."""
    columns = ("tried", *KINDS)
    whole = sum(rows.values(), Counts())
    lines = [f"{'':22}" + "".join(f"{name:>9}" for name in columns)]
    for name, counts in (*rows.items(), ("all", whole)):
        lines.append(f"{name:22}" + "".join(f"{getattr(counts, c):9d}" for c in columns))
    for name, counts in rows.items():
        lines += [f"  {name}: {failure}" for failure in counts.failures[:SHOWN]]
        if len(counts.failures) > SHOWN:
            lines.append(f"  {name}: and {len(counts.failures) - SHOWN} more")
    return "\n".join(lines)
