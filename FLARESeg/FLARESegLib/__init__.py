"""What the FLARESeg module is made of.

Start at `panel` for what a person sees, at `logic` for what the Python console calls. `scene` is
nodes in and nodes out, `run` a run and its worker; `statistics`, `correction` and `models` are a
section of the panel each, `qt` is what all of them need of Qt. Only files with widgets may show a
dialog, and none when Slicer is being tested; the rest runs under slicer-core as well.
"""
