"""A worker on another computer: ``flare serve`` there, ``flare segment --on HOST:PORT`` here.

Start at `client`: an `Engine` whose networks run elsewhere. `wire` says what travels, `access` who
may, `server` answers, `turns` is its queue. Reading and writing of files stay with the client, so
that no path ever travels; voxels and geometry do, and of a patient nothing else.
"""
