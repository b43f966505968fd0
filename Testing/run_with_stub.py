"""Run a self-training run whose teacher is a stub: started by torchrun in a test."""

from __future__ import annotations

import sys
from pathlib import Path

import stub_models  # registers the stub's network
from flare_core.train.rounds.run import run_rounds

if __name__ == "__main__":
    assert stub_models.RUNTIME.device == "cpu"
    run_rounds(Path(sys.argv[1]))
