"""Small helpers around Qt: dialogs, timers, threads, tables, translation."""
