"""``qt.QProcess`` as PythonQt offers it (facts measured in Slicer 5.12), on top of subprocess.

Signals are connected by their C++ signature, and an unknown one gives False, not an exception;
keyword arguments are refused; what is read comes as an object with `data()`; a program that cannot
be started is told by `errorOccurred` alone.
"""

from __future__ import annotations

import types

from FLARESegLib.run.child_process import End, ThreadedChild

SIGNALS = (
    "readyReadStandardOutput()",
    "readyReadStandardError()",
    "finished(int,QProcess::ExitStatus)",
    "errorOccurred(QProcess::ProcessError)",
)


class QByteArray:
    """Bytes, PythonQt's way."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def data(self) -> bytes:
        return self._content


class QProcess:
    FailedToStart, NormalExit, CrashExit = 0, 0, 1

    def __init__(self, parent=None, /) -> None:
        self._slots = {}
        self._buffers = {"Output": b"", "Error": b""}
        self._child = ThreadedChild(self.loop)
        self._child.on_output.connect(lambda data: self._arrive("Output", data))
        self._child.on_errors.connect(lambda data: self._arrive("Error", data))
        self._child.on_end.connect(self._ended)
        self._error = ""

    def connect(self, signal, slot, /):
        if signal not in self.known:
            return False
        self._slots[signal] = slot
        return True

    def start(self, program, arguments, /):
        assert isinstance(arguments, (list, tuple))
        self._child.start(program, arguments)

    def write(self, data, /):
        assert isinstance(data, bytes)
        self._child.write(data)
        return len(data)

    def closeWriteChannel(self):  # noqa: N802
        self._child.close_input()

    def kill(self):
        self._child.kill()

    def deleteLater(self):  # noqa: N802
        self._slots = dict.fromkeys(SIGNALS, lambda *_: None)

    def waitForFinished(self, milliseconds, /):  # noqa: N802
        assert isinstance(milliseconds, int)
        return self._child.wait(milliseconds / 1000)

    def readAllStandardOutput(self):  # noqa: N802
        return self._take("Output")

    def readAllStandardError(self):  # noqa: N802
        return self._take("Error")

    def errorString(self):  # noqa: N802
        return self._error

    def _take(self, channel):
        data, self._buffers[channel] = self._buffers[channel], b""
        return QByteArray(data)

    def _arrive(self, channel, data):
        self._buffers[channel] += data
        self._slots[f"readyReadStandard{channel}()"]()

    def _ended(self, end: End):
        if end.reason:
            self._error = end.reason
            self._slots["errorOccurred(QProcess::ProcessError)"](self.FailedToStart)
            return
        crashed = end.code < 0
        if crashed:
            self._slots["errorOccurred(QProcess::ProcessError)"](1)
        status = self.CrashExit if crashed else self.NormalExit
        self._slots["finished(int,QProcess::ExitStatus)"](abs(end.code), status)


def qt_with(loop, known=SIGNALS):
    """Return a module ``qt`` whose processes live in this loop and know these signals."""
    return types.SimpleNamespace(
        QProcess=type("QProcess", (QProcess,), {"loop": loop, "known": known})
    )
