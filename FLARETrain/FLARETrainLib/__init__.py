"""FLARETrain's library; START HERE: `panel` for what a person sees, `logic` for what it does.

Files marked so import only what they need: ``logic``, ``run_*``, ``case_*`` and ``thumbnails`` run
without Slicer; ``opening``, ``adding`` and ``curve_nodes`` need node classes; ``*_panel`` and
``case_table`` need Slicer's widgets. What the two modules share is in FLARESegLib.
"""
