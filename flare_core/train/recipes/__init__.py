"""The winners' systems as data. Start at `recipe`.

★ ADD A RECIPE: one file beside this one and one line in RECIPES. `recipe.Recipe` says what it
holds; `recipe_run` runs it. Every knob that is not this library's default names its source.
"""

from __future__ import annotations

import difflib

from flare_core.errors import InputError
from flare_core.train.recipes.flare22_aladdin5 import ALADDIN5_22
from flare_core.train.recipes.flare22_blackbean import BLACKBEAN_22
from flare_core.train.recipes.flare22_brananas import BRANANAS_22
from flare_core.train.recipes.flare22_phtrans import PHTRANS_22
from flare_core.train.recipes.flare23_aladdin5 import ALADDIN5_23
from flare_core.train.recipes.flare23_blackbean import BLACKBEAN_23
from flare_core.train.recipes.flare23_citi import CITI_23
from flare_core.train.recipes.flare23_hanglok import HANGLOK_23
from flare_core.train.recipes.flare23_hmi306 import HMI306_23
from flare_core.train.recipes.flare24_lyy1 import LYY1_24
from flare_core.train.recipes.recipe import Recipe

RECIPES: dict[str, Recipe] = {
    "flare22-blackbean": BLACKBEAN_22,
    "flare22-aladdin5": ALADDIN5_22,
    "flare22-phtrans": PHTRANS_22,
    "flare22-brananas": BRANANAS_22,
    "flare23-aladdin5": ALADDIN5_23,
    "flare23-citi": CITI_23,
    "flare23-blackbean": BLACKBEAN_23,
    "flare23-hmi306": HMI306_23,
    "flare23-hanglok": HANGLOK_23,
    "flare24-lyy1": LYY1_24,
}

__all__ = ["RECIPES", "find_recipe"]


def find_recipe(key: str) -> Recipe:
    """Return a recipe by its name.

    Raises
    ------
    InputError
        If there is none; the nearest is suggested.
    """
    if key not in RECIPES:
        near = difflib.get_close_matches(key.lower(), RECIPES, n=1, cutoff=0.3)
        action = f"Did you mean {near[0]}?" if near else "flare recipes list tells about each."
        raise InputError("recipe", key, ", ".join(RECIPES), action)
    return RECIPES[key]
