"""Small pictures of scans: the middle planes, made once in a thread and kept in the home's cache.

The file's name is the scan's hash, so a picture is never that of another scan.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import numpy.typing as npt
from FLARESegLib.qt.background import in_background
from FLARESegLib.qt.event_loop import EventLoop
from FLARESegLib.qt.signals import Signal

from flare_core.atomic import atomic_path
from flare_core.errors import FlareError

SIZE = 112
"""Width and height of one plane's picture, pixels."""
WINDOW_HU = (-160.0, 240.0)
"""Black and white."""
NAME_DIGITS = 32

Picture = npt.NDArray[np.uint8]


def small_path(folder: Path, sha256: str) -> Path:
    """Return the file of a scan's axial picture."""
    return folder / f"{sha256[:NAME_DIGITS]}-axial.png"


def wide_path(folder: Path, sha256: str) -> Path:
    """Return the file of a scan's axial, coronal and sagittal pictures side by side."""
    return folder / f"{sha256[:NAME_DIGITS]}.png"


def make_pictures(image: Path, folder: Path, sha256: str) -> None:
    """Write the pictures of a scan.

    Raises
    ------
    InputError
        If it cannot be read or the folder cannot be written.
    """
    from flare_core.imaging.files import read_volume  # SimpleITK; in a thread

    volume, _ = read_volume(image).canonical()  # (S, P, L)
    voxels, spacing = volume.array, volume.geometry.spacing_mm
    z, y, x = (n // 2 for n in voxels.shape)
    planes = (
        picture(voxels[z], (spacing[1], spacing[2])),
        picture(voxels[::-1, y], (spacing[0], spacing[2])),
        picture(voxels[::-1, :, x], (spacing[0], spacing[1])),
    )
    folder.mkdir(parents=True, exist_ok=True)
    _write(wide_path(folder, sha256), np.hstack(planes))
    _write(small_path(folder, sha256), planes[0])


def picture(plane: npt.NDArray[np.generic], spacing_mm: tuple[float, float]) -> Picture:
    """Return a plane in grey, `SIZE` x `SIZE`, as large as fits with its true proportions.

    Parameters
    ----------
    plane : (rows, columns)
        HU.
    spacing_mm : (float, float)
        Between rows and between columns.
    """
    extent = [count * mm for count, mm in zip(plane.shape, spacing_mm, strict=True)]
    scale = SIZE / max(extent)
    sizes = [max(1, min(SIZE, round(mm * scale))) for mm in extent]
    rows, columns = (
        np.minimum((np.arange(size) + 0.5) * count / size, count - 1).astype(int)
        for size, count in zip(sizes, plane.shape, strict=True)
    )
    low, high = WINDOW_HU
    grey = (plane[np.ix_(rows, columns)].astype(np.float32) - low) / (high - low)
    result = np.zeros((SIZE, SIZE), np.uint8)
    top, left = ((SIZE - size) // 2 for size in sizes)
    shown = np.round(255 * np.clip(grey, 0, 1)).astype(np.uint8)
    result[top : top + sizes[0], left : left + sizes[1]] = shown
    return result


def _write(path: Path, pixels: Picture) -> None:
    import SimpleITK as sitk

    with atomic_path(path) as part:
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("PNGImageIO")  # the part's name does not end in .png
        writer.SetFileName(str(part))
        writer.Execute(sitk.GetImageFromArray(np.ascontiguousarray(pixels)))


class Thumbnails:
    """Makes the pictures that are looked at, one after the other, the last wish first.

    Parameters
    ----------
    loop : EventLoop
        Calls later.
    folder : Path
        Of the pictures.
    """

    def __init__(self, loop: EventLoop, folder: Path) -> None:
        self.made = Signal()
        """Called with the hash of a scan whose pictures are there now."""
        self._loop = loop
        self.folder = folder
        self._waiting: deque[tuple[str, Path]] = deque()
        self._failed: set[str] = set()
        self._busy = False

    def small(self, sha256: str) -> Path | None:
        """Return the axial picture; None if it is not there."""
        path = small_path(self.folder, sha256)
        return path if path.is_file() else None

    def wide(self, sha256: str) -> Path | None:
        """Return the picture of three planes; None if it is not there."""
        path = wide_path(self.folder, sha256)
        return path if path.is_file() else None

    def want(self, scans: Iterable[tuple[str, Path]]) -> None:
        """Make the pictures of these scans (hash, file) that are not there; forget older wishes."""
        self._waiting = deque(
            (sha256, path)
            for sha256, path in scans
            if sha256 not in self._failed and self.small(sha256) is None
        )
        self._next()

    def close(self) -> None:
        """Make no more, and tell nobody."""
        self._waiting.clear()
        self.made.clear()

    def _next(self) -> None:
        if self._busy or not self._waiting:
            return
        self._busy = True
        sha256, path = self._waiting.popleft()
        in_background(
            self._loop,
            lambda: make_pictures(path, self.folder, sha256),
            lambda future: self._end(sha256, future),
        )

    def _end(self, sha256: str, future: Future[None]) -> None:
        self._busy = False
        try:
            future.result()
        except (FlareError, OSError, RuntimeError):  # a scan that cannot be read has no picture
            self._failed.add(sha256)
        else:
            self.made.emit(sha256)
        self._next()
