"""Synthetic tumours, and things that only look like tumours, painted into real or phantom scans.

Start in `generate`: `add_lesions(image, labels, spacing_mm, random, settings)`. From there

    settings   how many, how large, in which organs: one frozen object, and presets by size
    phase      contrast phase of a scan, told from its organs
    kinds      ★ ADD A KIND OF TUMOUR OR DECOY: one row (HU by phase, shape, rim, necrosis, ...)
    place      where: in which organ, how deep, off the vessels
    tissue     lung, bone, inner fat, muscle: hosts without a label, for the whole body
    look       the appearance of one of them, drawn from its kind's row
    shape      its form and the push on what surrounds it
    texture    its inside
    paint      all of that, into the lesion's own box
    dome       the one decoy that is no body: partial volume at an organ's upper end
    records    what comes back
    noise      smooth random fields, the scan's own noise

The room uses `anatomy`, `errors`, numpy and scipy, and no file beside it, so that
training, phantoms and benchmarks may all use it.

Sources: Hu et al. 2023, "Label-Free Liver Tumor Segmentation" (CVPR): place, ellipsoids, texture,
push; Chen et al. 2024, "Towards Generalizable Tumor Synthesis" (CVPR): one generator for early
tumours of several organs; Lai et al. 2024, "From Pixel to Cancer: Cellular Automata in Computed
Tomography" (MICCAI): growth that stops at hard neighbours and dies inside.
"""
