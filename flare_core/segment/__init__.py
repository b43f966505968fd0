"""CT file -> labels -> numbers. Start reading at `pipeline`."""
