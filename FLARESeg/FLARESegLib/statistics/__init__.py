"""The organs' statistics in the scene and in the panel: table and chart. Start at `panel`."""
