"""``flare models``: which models there are; bring one in, look at it, pass it on, remove it.

    flare models list
    flare models show NAME
    flare models install NAME [--from FILE ...] [--mirror URL] [--yes]
    flare models install PACKAGE.zip
    flare models import FOLDER|ZIP [--name NAME] [--folds 0 1] [--map "Leber=liver"]
    flare models combine NAME --localiser MODEL --organs MODEL [--lesions MODEL]
    flare models export NAME -o PACKAGE.zip
    flare models verify [NAME]
    flare models remove NAME@VERSION

`install NAME` says source, size and licence and asks before it downloads anything; `import` reads
a model folder that nnU-Net trained (v1 or v2) without running anything of it; `export` makes one
file that `install` takes elsewhere. With ``--progress json``, `install`, `import` and `remove` tell
everything in JSON lines on standard output (see `models_report`). Exit codes: 0 done, 1 `verify`
found a damaged model, 2 the arguments or a file cannot be used, 130 stopped.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flare_core.cli.actions import Action, Options, add_actions
from flare_core.cli.models_report import (
    CONVERTING,
    REMOVING,
    UNPACKING,
    ModelReport,
    model_reporting,
)
from flare_core.cli.models_text import card_text, mib, table, wish_text
from flare_core.errors import Cancelled, InputError
from flare_core.home import Home, open_home
from flare_core.jobs.failure import EXIT_INTERNAL, json_line
from flare_core.jobs.progress import PROGRESS
from flare_core.paths import usable_path

if TYPE_CHECKING:
    from flare_core.models.catalogue import PublicModel
    from flare_core.models.package import Package

NAME = "models"
HELP = "list, install, import, export, verify or remove models"

Do = Callable[[argparse.Namespace, Home], int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-commands and their options."""
    add_actions(parser, ACTIONS, EVERYWHERE)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; return the exit code.

    Raises
    ------
    InputError
        If a model or an argument cannot be used.
    Cancelled
        If the person said no.
    """
    do: Do = arguments.do
    return do(arguments, open_home(arguments.home))


def list_models(arguments: argparse.Namespace, home: Home) -> int:
    """Print the built-in, installed and installable models."""
    from flare_core.models.listing import all_models

    rows = all_models(home)
    if arguments.json:
        sys.stdout.write("".join(json_line(row.fields()) for row in rows))
    else:
        print(table(rows))
    return 0


def show(arguments: argparse.Namespace, home: Home) -> int:
    """Print a model's card, or what the catalogue says of one that is not installed."""
    from flare_core.models.catalogue import PUBLIC
    from flare_core.models.package import installed_models, load_package

    installed = {name for name, _ in installed_models(home)}
    if arguments.model in PUBLIC and arguments.model not in installed:
        print(wish_text(PUBLIC[arguments.model], sizes=None))
        return 0
    package = load_package(arguments.model, home=home)
    print(package.card.to_json() if arguments.json else card_text(package))
    return 0


def install(arguments: argparse.Namespace, home: Home) -> int:
    """Install a package file, or a model of the catalogue after asking."""
    given = usable_path(arguments.model, "model")
    with model_reporting(arguments.progress) as report:
        if given.suffix == ".zip" or given.is_file():
            from flare_core.models.archive import install as unpack

            report.stage(UNPACKING, given.name)
            report.installed(unpack(given, home=home))
        else:
            report.installed(_install_public(arguments, home, report))
    return 0


def _install_public(arguments: argparse.Namespace, home: Home, report: ModelReport) -> Package:
    """Install a model of the catalogue, after asking if something is to be downloaded."""
    from flare_core.models.catalogue import public_model
    from flare_core.models.download import DownloadListener
    from flare_core.models.install import InstallOptions, install_public

    model = public_model(arguments.model)
    files = tuple(arguments.files or ())
    for_program = arguments.progress == "json"
    if not files and model.downloadable and not (for_program and arguments.yes):
        _ask(model, arguments, home)
    report.expect(len(model.archives))
    options = InstallOptions(
        files,
        arguments.mirror,
        arguments.exact,
        DownloadListener(report.bytes, on_file=report.file),
        on_archive=lambda name: report.stage(CONVERTING, name),
    )
    return install_public(model, home=home, options=options)


def import_folder(arguments: argparse.Namespace, home: Home) -> int:
    """Convert a model folder or zip of nnU-Net and install it."""
    from flare_core.models.nnunet.convert import About, import_nnunet

    about = About(
        licence=arguments.licence,
        stage=arguments.stage,
        orientation=arguments.orientation,
        exact=not arguments.quick,
        source=str(arguments.source.absolute()),
    )
    with model_reporting(arguments.progress) as report:
        report.stage(CONVERTING, arguments.source.name)
        package = import_nnunet(
            arguments.source,
            home=home,
            name=arguments.name,
            folds=arguments.folds,
            label_map=_label_map(arguments.map or ()),
            about=about,
        )
        report.installed(package)
    return 0


def combine_models(arguments: argparse.Namespace, home: Home) -> int:
    """Make one model of the stages of several."""
    from flare_core.models.combine import Chosen, Facts, combine
    from flare_core.models.package import load_package

    named = {stage: getattr(arguments, stage) for stage in ("localiser", "organs", "lesions")}
    chosen = []
    for stage, model in named.items():
        if model is not None:
            package = load_package(model, home=home)
            own = stage if package.card.stage(stage) else package.card.stages[0].name
            chosen.append(Chosen(package, own, stage))
    parts = ", ".join(f"{stage} of {model}" for stage, model in named.items() if model)
    facts = Facts(f"Combined: {parts}.")
    version = arguments.version
    package = combine(chosen, home=home, name=arguments.name, version=version, facts=facts)
    with model_reporting("none") as report:
        report.installed(package)
    return 0


def export(arguments: argparse.Namespace, home: Home) -> int:
    """Write a model as one file."""
    from flare_core.models.archive import pack
    from flare_core.models.package import load_package

    path = pack(load_package(arguments.model, home=home), arguments.output)
    print(f"{path}: {mib(path.stat().st_size)}")
    return 0


def verify(arguments: argparse.Namespace, home: Home) -> int:
    """Check sizes and hashes of one or all models; return 1 if one is damaged.

    Raises
    ------
    InputError
        If there is no such model.
    """
    from flare_core.models.listing import all_models
    from flare_core.models.package import load_package

    names = [arguments.model] if arguments.model else [
        row.name for row in all_models(home) if row.folder is not None
    ]  # fmt: skip
    damaged = 0
    for name in names:
        try:
            package = load_package(name, home=home)
        except InputError as error:
            if error.parts[0] == "model":  # there is none of that name
                raise
            damaged += 1
            print(f"{name}: damaged\n{error}", file=sys.stderr)
        else:
            print(f"{name}: sound ({package.fingerprint[:12]})")
    return EXIT_INTERNAL if damaged else 0


def remove(arguments: argparse.Namespace, home: Home) -> int:
    """Remove one version of an installed model.

    Raises
    ------
    InputError
        If it is not installed, or the system does not let go of its files.
    """
    from flare_core.models.listing import installed_folder

    with model_reporting(arguments.progress) as report:
        folder = installed_folder(home, arguments.model)
        _confirm(f"Remove {folder}?", arguments.yes)
        report.stage(REMOVING, arguments.model)
        doomed = folder.with_name(f".{folder.name}.removed")  # vanishes at once, then bit by bit
        try:
            shutil.rmtree(doomed, ignore_errors=True)
            folder.rename(doomed)
            shutil.rmtree(doomed)
        except OSError as error:
            raise InputError(
                str(folder), error.strerror or str(error), "a folder that this user may remove",
                "End the programs that use this model (Slicer among them), then remove it again.",
            ) from error  # fmt: skip
        report.removed(folder.parent.name, folder.name, folder)
    return 0


def _ask(model: PublicModel, arguments: argparse.Namespace, home: Home) -> None:
    """Say where from, how much and under which licence; go on only if the person agrees."""
    from flare_core.models.install import downloads
    from flare_core.models.remote_file import remote_size

    files = downloads(model, home, arguments.mirror)
    print(wish_text(model, sizes=[(file.url, remote_size(file)) for file in files]))
    _confirm("Download and install?", arguments.yes)


def _confirm(question: str, yes: bool) -> None:
    """Ask on the terminal; without one, only ``--yes`` is an answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError(
            "--yes", "nothing, and nobody to ask", "--yes, or a terminal",
            "Read the lines above, then run the command again with --yes.",
        )  # fmt: skip
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise Cancelled("Nothing was changed.")


def _label_map(pairs: tuple[str, ...]) -> dict[str, str | None] | None:
    """Return ``THEIRS=OURS`` pairs as a map; nothing behind the sign: none of our organs."""
    table_: dict[str, str | None] = {}
    for pair in pairs:
        theirs, sign, ours = pair.rpartition("=")
        if not sign or not theirs:
            action = 'As in --map "Leber=liver" "Milz=spleen" "Tisch="'
            raise InputError("--map", pair, "THEIRS=OURS", action)
        table_[theirs] = ours or None
    return table_ or None


EVERYWHERE: Options = (("--home", {"metavar": "FOLDER", "help": "where installed models are"}),)

_MODEL = ("model", {"metavar": "MODEL", "help": "name, or name@version"})
_YES = ("--yes", {"action": "store_true", "help": "do not ask"})
_JSON = ("--json", {"action": "store_true", "help": "for programs"})
_PROGRESS = ("--progress", {"choices": PROGRESS, "default": "bar",
                            "help": "show it or not; json: for programs"})  # fmt: skip

ACTIONS: tuple[Action, ...] = (
    ("list", list_models, "models that are there or can be installed", (_JSON,)),
    ("show", show, "everything about a model", (_MODEL, _JSON)),
    ("install", install, "install a model of the catalogue, or a package file", (
        ("model", {"metavar": "NAME|PACKAGE.zip", "help": "see flare models list"}),
        ("--from", {"dest": "files", "nargs": "+", "type": Path, "metavar": "FILE",
                    "help": "files that are here already: nothing is downloaded"}),
        ("--mirror", {"metavar": "URL", "help": "folder with the publisher's files"}),
        ("--exact", {"action": "store_true", "help": "labels as nnU-Net's own, slower"}),
        _YES, _PROGRESS,
    )),
    ("import", import_folder, "convert a model folder that nnU-Net trained", (
        ("source", {"type": Path, "metavar": "FOLDER|ZIP", "help": "model folder, or a zip of it"}),
        ("--name", {"metavar": "NAME", "help": "name here (default: data set and configuration)"}),
        ("--folds", {"nargs": "+", "metavar": "N", "help": "these folds only"}),
        ("--map", {"nargs": "+", "metavar": "THEIRS=OURS", "help": "their label, our organ"}),
        ("--licence", {"default": "unknown: ask who trained it", "help": "of the weights"}),
        ("--stage", {"default": "organs", "help": "organs, localiser or lesions"}),
        ("--orientation", {"metavar": "SPL", "help": "axes of its training images"}),
        ("--quick", {"action": "store_true", "help": "our resampling: faster, nearly the same"}),
        _PROGRESS,
    )),
    ("combine", combine_models, "one model out of the stages of several", (
        ("name", {"metavar": "NAME", "help": "name of the new model"}),
        ("--localiser", {"metavar": "MODEL", "help": "whose localiser"}),
        ("--organs", {"metavar": "MODEL", "required": True, "help": "whose organ stage"}),
        ("--lesions", {"metavar": "MODEL", "help": "whose lesion stage"}),
        ("--version", {"default": "1.0.0", "help": "version of the new model"}),
    )),
    ("export", export, "write a model as one file", (
        _MODEL, ("-o,--output", {"type": Path, "required": True, "metavar": "PACKAGE.zip"}),
    )),
    ("verify", verify, "check sizes and hashes", (
        ("model", {"nargs": "?", "metavar": "MODEL", "help": "default: all"}),
    )),
    ("remove", remove, "remove one version of an installed model", (_MODEL, _YES, _PROGRESS)),
)  # fmt: skip
"""Sub-command, what it does, help, and its own options."""
