"""What a person chooses for a recipe's run, kept in its folder."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from flare_core import atomic
from flare_core.errors import InputError
from flare_core.home import ensure_folder
from flare_core.json_fields import decode, read_json_file, to_text
from flare_core.train.recipe_run.scale import find_scale, scaled
from flare_core.train.recipes import find_recipe
from flare_core.train.recipes.recipe import Recipe

OPTIONS = "recipe.json"
"""Its name in the run's folder."""


@dataclass(frozen=True)
class RecipeOptions:
    """Which recipe, on which cases, how large, and where."""

    recipe: str
    """A key of `recipes.RECIPES`."""
    _: KW_ONLY
    store: str = ""
    """Folder of the case store."""
    data: str = ""
    """Or a folder in one of FLARE's layouts; the run makes a store of it."""
    scale: str = "1"
    """A key of `scale.SCALES`."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``mps``."""
    precision: str = "auto"
    """``auto``, ``float32``, ``bf16`` or ``fp16``."""
    threads: int = 0
    """CPU threads; 0 is all."""
    seed: int = 0
    """Of every random draw."""

    def __post_init__(self) -> None:
        """Refuse what names no recipe, no scale, or not one source of cases."""
        find_recipe(self.recipe)
        find_scale(self.scale)
        if bool(self.store) == bool(self.data):
            came = f"{self.store} and {self.data}" if self.store else "neither"
            raise InputError(
                "--store, --data", came, "one of the two",
                "Name a case store, or a folder in one of FLARE's layouts.",
            )  # fmt: skip

    @property
    def scaled(self) -> Recipe:
        """The recipe as it is run."""
        return scaled(find_recipe(self.recipe), find_scale(self.scale))


def keep_options(folder: Path, options: RecipeOptions) -> None:
    """Write the options of a new run; refuse others than those of a run that is there.

    Raises
    ------
    InputError
        If the folder holds a run of another recipe, scale, seed or cases, or cannot be written.
    """
    path = ensure_folder(folder) / OPTIONS
    if not path.exists():
        atomic.write_text(path, to_text(options, "options of the recipe"))
        return
    was = read_options(folder)
    for name in ("recipe", "scale", "seed", "store", "data"):
        came, legal = getattr(options, name), getattr(was, name)
        if came != legal:
            raise InputError(
                f"-o {folder}", f"a run with {name} {legal!r}",
                f"a new folder, or {name} {legal!r}",
                "Choose another folder; a run goes on with what it began with.",
            )  # fmt: skip


def read_options(folder: Path) -> RecipeOptions:
    """Return the options of a run.

    Raises
    ------
    InputError
        If the folder holds none, or the file is damaged.
    """
    path = folder / OPTIONS
    value = read_json_file(
        path,
        argument="run of a recipe",
        legal=f"a folder with the {OPTIONS} that flare recipes run wrote",
        action="Check the path.",
    )
    return decode(RecipeOptions, value, str(path))
