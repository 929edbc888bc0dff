"""The unix socket at which clients reach a plugin: the host makes it, a process serves it."""

from __future__ import annotations

import os
import select
import socket
import weakref
from contextlib import suppress

from ..concurrency.system import after_fork

BACKLOG = 1024
_DRAFT = ".new"  # shorter than NAME.sock, whose length is limited


class PluginSocket:
    """A path with, at times, a listening socket of the host's.

    Args:
        path: where it is.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.listening: socket.socket | None = None
        _sockets.add(self)

    def listen(self) -> socket.socket:
        """Listen with a new socket. Connections that wait at the one before end, as its process has ended.

        The new socket replaces the other at its path at once: clients never find none.

        Raises:
            OSError: the socket cannot be made.
        """
        self.release()
        draft = os.path.join(os.path.dirname(self.path), _DRAFT)
        self.listening = made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)  # at once: a fork has to find it
        try:
            with suppress(FileNotFoundError):
                os.unlink(draft)
            made.bind(draft)
            os.chmod(draft, 0o600)
            made.listen(BACKLOG)
            os.rename(draft, self.path)
        except BaseException:
            self.release()
            raise
        return made

    def release(self) -> None:
        """Close the host's descriptor: if no process listens, connections that wait end, and new ones are refused."""
        if self.listening is not None:
            self.listening.close()
            self.listening = None

    def is_waited_for(self) -> bool:
        """Return whether a connection waits to be accepted."""
        if self.listening is None:
            return False
        poll = select.poll()
        poll.register(self.listening, select.POLLIN)
        return bool(poll.poll(0))

    def remove(self) -> None:
        """Remove the path and end connections that wait."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        self.release()

    def adopt(self, path: str) -> bool:
        """Put the socket that a program made at ``path`` in this place, if a process listens at it."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(path)
            except BlockingIOError:
                pass  # it listens, and is busy
            except OSError:
                return False
        os.rename(path, self.path)
        self.release()
        return True


_sockets: weakref.WeakSet[PluginSocket] = weakref.WeakSet()


def _forget() -> None:
    """Close the sockets in a process that the host forked: connections would wait there when the plugin has ended."""
    for each in list(_sockets):
        each.release()


after_fork(_forget)
