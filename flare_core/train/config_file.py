"""A training configuration as a JSON file that holds every knob of the run."""

from __future__ import annotations

from pathlib import Path

from flare_core.json_fields import decode, read_json_file, to_text
from flare_core.train.config import TrainConfig
from flare_core.train.strategies import strategy_of


def load_config(path: str | Path) -> TrainConfig:
    """Read a configuration; its paths (`data`, `unlabelled`, `init_from`) are relative to the file.

    Raises
    ------
    InputError
        If the file is missing, not JSON, or a field is unknown, missing or illegal; or the
        strategy is.
    """
    file = Path(path)
    value = read_json_file(
        file,
        argument="configuration",
        legal="a JSON file with the fields of TrainConfig",
        action="Check the path; benchmarks/default_model/ holds examples.",
    )
    if isinstance(value, dict):
        _resolve_paths(value, file.parent)
    config = decode(TrainConfig, value, str(file))
    strategy_of(config)
    return config


def config_text(config: TrainConfig) -> str:
    """Return the configuration as JSON text."""
    return to_text(config, config.name)


def _resolve_paths(value: dict[str, object], folder: Path) -> None:
    """Make the paths of a configuration absolute, in place; what is no path is refused later."""
    for name in ("data", "unlabelled"):
        places = value.get(name)
        if isinstance(places, list):
            value[name] = [
                str((folder / each).resolve()) if isinstance(each, str) else each for each in places
            ]
    start = value.get("init_from")
    if isinstance(start, str) and start:
        value["init_from"] = str((folder / start).resolve())
