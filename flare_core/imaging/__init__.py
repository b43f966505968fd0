"""Voxels in space: geometry, volumes, files, resampling. No organ, no network."""
