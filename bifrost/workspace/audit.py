"""The last line: no real I/O from inside a run, whichever library does it.

Shims and stand-ins meet what user code names itself. A library that a run may use could still open a file or a socket: the
interpreter tells of that beforehand (an audit event, PEP 578), and the hook here refuses it. It is armed only where a run's
code is being executed, and lets the interpreter's own reading pass: imports, sources for tracebacks, time zones.

Not everything is told: on Python 3.11 neither `time.sleep`, nor threads, nor whether a file exists.
"""

from __future__ import annotations

import sys
import zoneinfo
from types import FrameType
from typing import Any, Final

from bifrost.workspace import determinism, guard

REFUSED: Final = frozenset({
    "open", "os.chmod", "os.chown", "os.exec", "os.fork", "os.forkpty", "os.kill", "os.link", "os.listdir", "os.mkdir", "os.posix_spawn",
    "os.putenv", "os.remove", "os.rename", "os.rmdir", "os.scandir", "os.spawn", "os.symlink", "os.system", "os.truncate", "os.unsetenv",
    "os.utime", "os.walk", "glob.glob", "shutil.copyfile", "shutil.copytree", "shutil.move", "shutil.rmtree", "tempfile.mkdtemp",
    "tempfile.mkstemp", "pathlib.Path.glob", "fcntl.flock", "fcntl.lockf", "mmap.__new__", "pty.spawn", "subprocess.Popen", "signal.pthread_kill",
    "socket.__new__", "socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostname", "socket.sendto",
    "sqlite3.connect", "urllib.Request", "http.client.connect", "ftplib.connect", "smtplib.connect", "imaplib.open", "poplib.connect",
    "telnetlib.Telnet.open", "nntplib.connect", "webbrowser.open", "ctypes.dlopen", "_thread.start_new_thread", "time.sleep", "syslog.syslog"})
"""Audit events of I/O: https://docs.python.org/3/library/audit_events.html."""

_INTERPRETERS = ("<frozen importlib", "<frozen zipimport", "<frozen runpy")
_READERS = frozenset({"linecache", "tokenize", "traceback", "importlib.metadata", "zoneinfo._common"})


def _is_time_zone(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether `zoneinfo`, which reads from native code and so has no frame, reads a time zone."""
    return event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(zoneinfo.TZPATH)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in REFUSED or determinism.current() is None or _is_time_zone(event, arguments):
        return
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the way to ask who calls
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if frame.f_code.co_filename.startswith(_INTERPRETERS) or name in _READERS:
            return
        if name.partition(".")[0] == guard.PACKAGE:
            shown = repr(arguments[0]) if arguments and isinstance(arguments[0], str | bytes) else ""
            determinism.refuse(f"{event}({shown})")
        frame = frame.f_back


_installed = False


def install() -> None:
    """Arm the hook in this process, for good: an audit hook cannot be taken out again. Safe to call again."""
    global _installed  # noqa: PLW0603 - the interpreter's hooks are the process's
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)
