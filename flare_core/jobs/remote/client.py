"""START HERE: an engine whose networks run on another computer.

pack the voxels -> connect, prove the token -> ask -> send -> wait for the turn -> labels, numbers.
`engine_on` gives it to whatever runs a case: the command line, a batch, the warm worker. Reading
scans and writing files stay here.

Invariant: a run that is stopped, refused or cut off leaves nothing here, and nothing there.
"""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from flare_core.anatomy.organs import ALL_TARGETS, parse_organs
from flare_core.errors import InputError
from flare_core.jobs import engine as engines
from flare_core.jobs.engine import Engine, IsCancelled
from flare_core.jobs.progress import OnProgress, within
from flare_core.jobs.remote import wire
from flare_core.jobs.remote.access import Access
from flare_core.jobs.remote.asked import choices_of
from flare_core.jobs.remote.connection import Connection, spoilt
from flare_core.segment.progress import Progress

if TYPE_CHECKING:
    from flare_core.imaging.volume import Volume
    from flare_core.segment.belief import ClassScores
    from flare_core.segment.pipeline import Segmentation
    from flare_core.segment.settings import Settings

SENT, TURN, DONE = 0.15, 0.18, 0.95
"""Parts of a run's progress: until the scan is sent, until its turn comes, until the result is
made."""

PLACE = "position {position} of {of} in the queue"
"""Stage of a run that waits."""

LONGEST_STAGE = 80
"""Letters of a stage that a server names."""


def engine_on(access: Access, here: Engine, *, scores: bool = False) -> Engine:
    """Return an engine that reads here and segments there.

    Parameters
    ----------
    here : Engine
        Reads.
    scores : bool
        Fetch what the network believed too, for corrections by strokes.
    """
    return Engine(here.read, partial(check, access), partial(segment, access, scores))


def check(access: Access, settings: Settings) -> None:
    """Find out that a server is there, takes the token and has the model.

    Raises
    ------
    InputError
        If not.
    """
    with closing(Connection(access)) as connection:
        connection.ask({"command": "check", "settings": choices_of(settings)}, "ok")


def segment(
    access: Access,
    scores: bool,
    image: Volume,
    settings: Settings,
    on_progress: OnProgress,
    cancelled: IsCancelled,
) -> Segmentation:
    """Have a scan segmented: see `flare_core.segment.pipeline.segment_ct`.

    Raises
    ------
    InputError
        If the server cannot be reached or refuses; or as there.
    NothingFound
        If no abdominal organ is in the scan.
    Cancelled
        If `cancelled` returned True.
    """
    over = threading.Event()

    def tell(progress: Progress) -> None:
        if not over.is_set():
            on_progress(progress)

    connection = Connection(access)
    talk = _Talk(connection, image, scores, tell)
    try:
        return engines.wait_for(engines.in_background(lambda: talk.whole(settings)), cancelled)
    finally:
        over.set()
        connection.hang_up()  # which ends the talk, if it goes on


class _Talk:
    """One scan's conversation with a server."""

    def __init__(
        self, connection: Connection, image: Volume, scores: bool, tell: OnProgress
    ) -> None:
        self._line, self._image, self._scores, self._tell = connection, image, scores, tell

    def whole(self, settings: Settings) -> Segmentation:
        """Return what came of it."""
        with closing(self._line):
            self._hand_over(settings)
            found = self._result(self._wait())
        return replace(found, notes=(*found.notes, *_servers_model(found, settings)))

    def _hand_over(self, settings: Settings) -> None:
        """Send the scan, once the server wants it."""
        self._tell(Progress("packing the scan", 0.0))
        parcel, data = wire.packed(self._image.array)
        request = {
            "command": "segment",
            "image": {**parcel.fields(), **wire.grid_fields(self._image.geometry)},
            "settings": choices_of(settings),
            "scores": self._scores,
        }
        self._line.ask(request, "send")
        sending = within(0.0, SENT, self._tell)
        self._line.send(data, lambda share: sending(Progress("sending the scan", share)))

    def _wait(self) -> dict[str, Any]:
        """Return the result's line, once it comes."""
        running = within(TURN, DONE, self._tell)
        while True:
            answer = self._line.hear()
            event = answer.get("event")
            if event == "result":
                return answer
            if event == "queued":
                self._tell(
                    Progress(PLACE.format(position=answer["position"], of=answer["of"]), SENT)
                )
            elif event == "progress":
                running(_progress_of(answer))

    def _result(self, answer: dict[str, Any]) -> Segmentation:
        """Receive and check what was made."""
        from flare_core.segment.lesion_list import Lesion
        from flare_core.segment.pipeline import Segmentation
        from flare_core.segment.statistics import rows_from_json

        self._tell(Progress("receiving the result", DONE))
        try:
            labels = self._labels(answer["labels"])
            scores = None if answer["scores"] is None else self._beliefs(answer["scores"])
            rows, lesions = rows_from_json(answer["rows"]), answer["lesions"]
            parse_organs([row.organ for row in rows])  # none that we do not know
            return Segmentation(
                labels,
                rows,
                {str(key): float(value) for key, value in answer["timings_s"].items()},
                {**answer["provenance"], "computed_on": self._line.access.address},
                (*self._image.notes, *map(str, answer["notes"])),
                None if lesions is None else tuple(map(Lesion.from_dict, lesions)),
                scores,
            )
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise spoilt(self._line.access, f"{type(error).__name__}: {error}") from error

    def _labels(self, fields: object) -> Volume:
        """Receive the label map."""
        parcel = wire.Parcel.of(fields, "the server's labels")
        shape = self._image.geometry.shape
        if (parcel.shape, parcel.type) != (shape, "uint8"):
            raise spoilt(self._line.access, f"labels of {parcel.shape}, {parcel.type}")
        array = wire.unpacked(parcel, self._line.receive(parcel.bytes), "the server's labels")
        if array.max() > max(target.id for target in ALL_TARGETS):
            raise spoilt(self._line.access, f"a label {array.max()}, which is no organ")
        return self._image.with_array(array)

    def _beliefs(self, fields: dict[str, Any]) -> ClassScores:
        """Receive what the network believed."""
        from flare_core.segment.belief import MOST_BYTES, ClassScores

        name = "the server's scores"
        parcel = wire.Parcel.of(fields, name, 4)
        organs = fields["organs"]
        known = {0, *(target.id for target in ALL_TARGETS)}
        if (
            parcel.type != "float16"
            or parcel.size > 2 * MOST_BYTES
            or len(organs) != parcel.shape[0]
            or not known.issuperset(organs)
        ):
            raise spoilt(self._line.access, f"scores of {parcel.shape}, {parcel.type}")
        geometry = wire.grid_of(fields, (parcel.shape[1], parcel.shape[2], parcel.shape[3]), name)
        array = wire.unpacked(parcel, self._line.receive(parcel.bytes), name)
        return ClassScores(np.asarray(array, np.float16), tuple(organs), geometry)


def _servers_model(found: Segmentation, settings: Settings) -> tuple[str, ...]:
    """Return a note where the server's own model was not the one that the name stands for here."""
    used = found.provenance.get("settings")
    if not isinstance(used, dict) or used.get("model") == settings.model:
        return ()
    name, version = found.provenance.get("model"), found.provenance.get("model_version")
    return (f"The server's own model: {name} {version}.",)


def _progress_of(answer: dict[str, Any]) -> Progress:
    """Return the progress that a server tells; what is not as it should be is left out."""
    fraction, left = answer.get("fraction"), answer.get("seconds_left")
    share = float(fraction) if isinstance(fraction, (int, float)) else 0.0
    seconds = float(left) if isinstance(left, (int, float)) else None
    return Progress(
        str(answer.get("stage", ""))[:LONGEST_STAGE], min(1.0, max(0.0, share)), seconds
    )
