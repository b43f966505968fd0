"""Synthetic tumours, and things that only look like tumours, painted into real or phantom scans.

Start in `generate`: `add_lesions(image, labels, spacing_mm, random, settings)`. From there

    settings   how many, how large, in which organs: one frozen object, and presets by size
    phase      contrast phase of a scan, told from its organs
    kinds      ★ ADD A KIND OF TUMOUR OR DECOY: one row (HU by phase, shape, rim, necrosis, ...)
    place      where: in which organ or tissue without a label, how deep, off the vessels
    appearance how one of them looks, drawn from its kind's row
    shape      its form, the push on what surrounds it, and the noise that both are drawn with
    paint      its inside, and all of that into the lesion's own box
    mix        lesions of real scans, pasted into scans without one

The room uses `anatomy`, `errors`, numpy and scipy, and no file beside it, so that
training, phantoms and benchmarks may all use it.

Sources: Hu et al. 2023, "Label-Free Liver Tumor Segmentation" (CVPR): place, ellipsoids, texture,
push; Chen et al. 2024, "Towards Generalizable Tumor Synthesis" (CVPR): one generator for early
tumours of several organs; Lai et al. 2024, "From Pixel to Cancer: Cellular Automata in Computed
Tomography" (MICCAI): growth that stops at hard neighbours and dies inside.
"""
