"""The folder of a case store: whether it may be written to, and whether it is on a network."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import tempfile
from pathlib import Path

NETWORK_SYSTEMS = (
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "9p", "ceph", "glusterfs", "lustre",
    "gpfs", "beegfs", "davfs", "fuse",
)  # fmt: skip
"""File systems of other machines, as Linux calls them; ``fuse`` stands for ``fuse.sshfs`` and the
like. SQLite's write-ahead log needs memory that all readers share, which these do not offer."""

_DRIVE_REMOTE = 4
"""What Windows calls a drive of another machine."""


def is_writable(folder: Path) -> bool:
    """Whether files can be made in an existing folder; tried, as permissions do not tell all."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def offers_locks(folder: Path) -> bool:
    """Whether files in a folder can be locked; True where that cannot be told."""
    try:
        import fcntl
    except ImportError:  # Windows always does
        return True
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
    return True


def is_on_network(folder: Path) -> bool:
    """Whether the folder may be on another machine, where only simple file locks are safe."""
    if sys.platform == "win32":
        return _is_remote_drive(folder)
    if sys.platform == "darwin":
        return folder.resolve().as_posix().startswith("/Volumes/")  # shares and removable disks
    try:
        mounts = Path("/proc/mounts").read_text("utf-8", "replace")
    except OSError:
        return True  # unknown: the safe choice is only a little slower
    return is_network_system(system_of(folder.resolve().as_posix(), mounts))


def system_of(path: str, mounts: str) -> str:
    r"""Return the file system that holds an absolute path, from the text of ``/proc/mounts``.

    Examples
    --------
    >>> mounts = "/dev/sda1 / ext4 rw 0 0\nnas:/x /data nfs4 rw 0 0\n"
    >>> system_of("/data/store", mounts), system_of("/database", mounts)
    ('nfs4', 'ext4')
    """
    best, found = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        place = fields[1].replace("\\040", " ")
        inside = path == place or path.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):  # a later mount on the same place hides the earlier
            best, found = place, fields[2]
    return found


def is_network_system(name: str) -> bool:
    """Whether a file system's name is that of a network's.

    Examples
    --------
    >>> is_network_system("fuse.sshfs"), is_network_system("nfs4"), is_network_system("ext4")
    (True, True, False)
    """
    return name.partition(".")[0] in NETWORK_SYSTEMS


def _is_remote_drive(folder: Path) -> bool:
    place = os.path.abspath(folder)
    if place.startswith("\\\\"):
        return True
    root = os.path.splitdrive(place)[0] + "\\"
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 - exists on Windows only
    return int(kernel.GetDriveTypeW(root)) == _DRIVE_REMOTE
