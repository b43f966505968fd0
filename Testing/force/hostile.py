"""Packages and checkpoints made to do harm: nothing of them may run, or be written outside.

A gadget, if it were called, makes a file beside the input; whatever else appears outside the home
folder is found by comparing names before and after.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flare_core.home import Home
from flare_core.models.archive import install
from flare_core.models.nnunet.checkpoint import load_safely
from flare_core.models.nnunet.convert import import_nnunet
from flare_core.models.nnunet.v1 import read_plans_pickle
from flare_core.models.package import load_package, read_weights
from flare_core.train.checkpoint import load_checkpoint, read_start
from force.children import Harm, Reader
from force.readers_models import nnunet_v1, nnunet_v2, package, put

MARK = "GADGET"
"""Name of the file that a gadget would make."""

PAYLOAD = "import pathlib;pathlib.Path({!r}).touch()"


def _pushed(value: object) -> bytes:
    """Return the opcodes for a constant."""
    return pickle.dumps(value, 2)[2:-1]


def call(function: str, *arguments: object) -> bytes:
    """Return the opcodes that would call ``module.name`` with arguments."""
    module, _, name = function.rpartition(".")
    return f"c{module}\n{name}\n".encode() + _pushed(tuple(arguments)) + b"R"


def gadgets(mark: str) -> dict[str, bytes]:
    """Return pickles that would make the file `mark` if anything in them were called."""
    code, shell = PAYLOAD.format(mark), f"touch '{mark}'"
    called = {
        "system": call("posix.system", shell),
        "os": call("os.system", shell),
        "exec": call("builtins.exec", code),
        "eval": call("builtins.eval", f"open({mark!r}, 'w')"),
        "open": call("builtins.open", mark, "w"),
        "io": call("io.open", mark, "w"),
        "popen": call("subprocess.Popen", ["touch", mark]),
        "getattr": b"cbuiltins\ngetattr\n(cos\nsystem\nX\x08\0\0\0__call__tR"
        + _pushed((shell,))
        + b"R",
        "runpy": call("runpy.run_path", mark),
        "numpy": call("numpy.testing._private.utils.runstring", code, {}),
        "torch": call("torch.hub.load_state_dict_from_url", "file:///etc/passwd"),
        "torch load": call("torch.serialization.load", mark),
        "import": call("importlib.import_module", "antigravity"),
        "ours": call("flare_core.atomic.write_text", mark, "x"),
        "path": call("pathlib.Path", mark),
    }
    odd = {
        "inst": f"(V{shell}\nios\nsystem\n".encode(),
        "obj": b"(cos\nsystem\n" + _pushed(shell) + b"o",
        "stack global": b"\x8c\x02os\x8c\x06system\x93" + _pushed((shell,)) + b"R",
        "dotted": b"\x8c\x0acollections\x8c\x13abc.sys.modules.get\x93" + _pushed(("os",)) + b"R",
        "newobj": b"\x8c\x0asubprocess\x8c\x05Popen\x93" + _pushed((["touch", mark],)) + b"\x81",
        "build": b"ccollections\nOrderedDict\n)R}X\x09\0\0\0__class__cos\nsystem\nsb",
        "extension": b"\x82\x01" + _pushed((shell,)) + b"R",
        "persistent": b"Pos.system\n",
        "state": call("collections.OrderedDict") + _pushed({"__setstate__": shell}) + b"b",
        "codecs": call("_codecs.encode", "x" * 50, "unicode_escape") + b"cos\nsystem\n\x85R",
        "laughs": laughs(26),
        "deep": b"]" * 100_000 + b"a" * 99_999,
        "long int": b"\x8b\xff\xff\xff\x7f" + b"1" * 100,
        "huge text": b"\x8d" + struct.pack("<Q", 2**62) + b"x",
        "huge array": b"cnumpy\nndarray\n" + _pushed(((2**40,),)) + b"R",
        "bytearray": call("builtins.bytearray", 2**36),
        "memo": b"]" + b"r\xff\xff\xff\xff",
    }
    return {name: b"\x80\x04" + body + b"." for name, body in {**called, **odd}.items()}


def laughs(levels: int) -> bytes:
    """Return a list of ten times the same list of ten times ...: a few hundred bytes."""
    body = b"]q\0"
    for level in range(levels):
        inner = b"h" + bytes([level])
        body += b"0](" + inner * 10 + b"e" + b"q" + bytes([level + 1])
    return body


def _in_torch_zip(data: bytes) -> bytes:
    """Put a pickle where torch's own format has its."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in (("data.pkl", data), ("version", b"3\n"), ("byteorder", b"little")):
            archive.writestr(f"archive/{name}", content)
    return stream.getvalue()


def _wrapped(data: bytes, chance: random.Random) -> bytes:
    """Put a gadget into a dict beside what a reader looks for, or leave it alone."""
    how = chance.randrange(3)
    if how == 0:
        return data
    body = data[2:-1]
    key = _pushed(chance.choice(("network_weights", "state_dict", "plans", "x")))
    return b"\x80\x04}" + key + body + b"s."


# --- where a hostile pickle may lie


def _hostile_pickle(folder: Path, chance: random.Random) -> Path:
    found = gadgets(str(folder / MARK))
    name = chance.choice(sorted(found))
    data = _wrapped(found[name], chance)
    kind = chance.choice(("plans.pkl", "legacy.pth", "zip.pth", "checkpoint.pt", "v1", "v2"))
    if kind in ("plans.pkl", "legacy.pth"):
        return _written(folder / kind, data)
    if kind in ("zip.pth", "checkpoint.pt"):
        return _written(folder / kind, _in_torch_zip(data))
    files = dict(nnunet_v1() if kind == "v1" else nnunet_v2())
    ends = chance.choice((".pkl", ".model")) if kind == "v1" else ".pth"
    for each in [n for n in files if n.endswith(ends)]:
        files[each] = data if ends == ".pkl" or chance.random() < 0.3 else _in_torch_zip(data)
    put(folder / kind / "Trainer__Plans__3d_fullres", files)
    return folder / kind


def _written(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _read_pickle(path: Path) -> None:
    if path.suffix == ".pkl":
        read_plans_pickle(path)
    elif path.suffix == ".pth":
        load_safely(path)
    elif path.suffix == ".pt":
        load_checkpoint(path)
        read_start(path)
    else:
        import_nnunet(path, home=Home(path.parent / "home"), name="x")


# --- archives

Entry = tuple[str, bytes, int]
"""Name, content, mode."""

LINK = stat.S_IFLNK | 0o777
DEVICE = stat.S_IFCHR | 0o666


def odd_entries(folder: Path) -> list[Entry]:
    """Return entries that would leave the folder, or be something else than a file."""
    away = str(folder / "outside")
    names = (
        "../outside", "../../outside", f"{away}", f"/{away}", "a/../../outside", "..\\..\\outside",
        "C:\\outside", "C:outside", "\\\\host\\share\\outside", "./outside/../../outside", "..",
        ".", "", "/", "a//b", "a\0b", "con", "a:b", "x" * 300, "a/" * 600 + "b", "card.json/x",
        "\u202egnp.exe", "outside.pth", "outside.py", "conftest.py", "sitecustomize.py",
        "~/outside", "model.json ", "CARD.JSON", "%2e%2e/outside",
    )  # fmt: skip
    entries: list[Entry] = [(name, b"harm", stat.S_IFREG | 0o777) for name in names]
    entries += [
        ("link", away.encode(), LINK), ("link", b"/etc/passwd", LINK),
        ("link/outside", b"x", 0o644), ("device", b"", DEVICE),
        ("bomb", bytes(300_000_000), 0o644), ("fold_0", b"x", 0o644),
    ]  # fmt: skip
    return entries


def _archive(folder: Path, chance: random.Random) -> Path:
    """A sound archive with one odd entry, or with an entry that lies about itself."""
    kind = chance.choice(("package", "nnunet"))
    inside = folder / "inside"
    inside.mkdir()
    files = (
        package()
        if kind == "package"
        else {f"T__P__3d_fullres/{n}": d for n, d in nnunet_v2().items()}
    )
    path = inside / f"{kind}.zip"
    odd = chance.choice(odd_entries(folder))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            if chance.random() < 0.1:  # an entry takes the place of a file that is needed
                _add(archive, (name, *odd[1:]))
            else:
                archive.writestr(name, data)
        if odd[0] == "link/outside":
            _add(archive, ("link", str(folder / "outside").encode(), LINK))
        _add(archive, odd)
    return path


def _add(archive: zipfile.ZipFile, entry: Entry) -> None:
    name, data, mode = entry
    info = zipfile.ZipInfo("x")
    info.filename = name  # the constructor would cut it at a NUL
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system, info.external_attr = 3, mode << 16
    archive.writestr(info, data)


def _read_archive(path: Path) -> None:
    home = Home(path.parent / "home")
    if path.name == "package.zip":
        install(path, home=home)
    else:
        import_nnunet(path, home=home, name="x")


# --- folders


def _linked_folder(folder: Path, chance: random.Random) -> Path:
    """A package or model folder with links, or with names that lead away."""
    inside = folder / "inside" / "T__P__3d_fullres"
    kind = chance.choice(("package", "v2"))
    put(inside, package() if kind == "package" else nnunet_v2())
    files = sorted(p for p in inside.rglob("*") if p.is_file())
    chosen = chance.choice(files)
    how = chance.randrange(4)
    if how <= 1 and chosen.suffix == ".json":
        names = ("../outside", "/etc/passwd", "..", "a/b", "\0", "", ".", "C:x", "x" * 300)
        text = chosen.read_text("utf-8")
        for old in ("organs.safetensors", "stub", "1.2.3", "Dataset001_Tiny", "liver"):
            text = text.replace(f'"{old}"', json.dumps(chance.choice(names)))
        chosen.write_text(text, "utf-8")
    else:
        chosen.unlink()
        goal = chance.choice(
            ("/etc/passwd", "/dev/zero", str(chosen), "/absent", "..", str(folder))
        )
        os.symlink(goal, chosen)
    return inside


def _read_folder(path: Path) -> None:
    if (path / "plans.json").exists() or (path / "dataset.json").exists():
        import_nnunet(path, home=Home(path.parent / "home"), name="x")
        return
    found = load_package(path)
    for stage in found.card.stages:
        for weights in found.weights_paths(stage):
            read_weights(weights)


def guarded(read: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Read, and look whether anything ran or was written beside the home folder."""

    def run(path: Path) -> None:
        top = next(p for p in path.parents if p.name == "in")
        before = _names(top)
        try:
            read(path)
        finally:
            if new := sorted(_names(top) - before):
                raise Harm(f"was made: {new[:3]}")

    return run


def _names(top: Path) -> set[str]:
    return {
        p.relative_to(top).as_posix()
        for p in top.rglob("*")
        if "home" not in p.relative_to(top).parts or p.name in ("outside", MARK)
    }


READERS: dict[str, Reader] = {
    "hostile-pickle": Reader("models", _hostile_pickle, guarded(_read_pickle)),
    "hostile-archive": Reader("models", _archive, guarded(_read_archive)),
    "hostile-folder": Reader("models", _linked_folder, guarded(_read_folder)),
}
"""Fuzzed readers by name."""
