"""CASES -> MODEL. Start reading at `loop`; every knob is in `config`."""
