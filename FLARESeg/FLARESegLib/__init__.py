"""What the FLARESeg module is made of.

Scene code (MRML nodes in, nodes out) is in volumes, results, corrections and statistics_nodes and
runs under slicer-core as well. The run is in logic, run and worker_process. Widgets are in panel
and the files it names; only they may show a dialog, and none when Slicer is being tested.
"""
