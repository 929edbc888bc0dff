"""Make this process look like one on Windows: remove what Python lacks there. Import it before extframe.

The names are those that the documentation of Python 3.10 to 3.13 marks "Availability: Unix" or "not Windows", as far as
a program of this kind may use them. Knows no extframe.
"""

# ruff: noqa: E501 - lists of names

from __future__ import annotations

import _socket
import asyncio
import asyncio.unix_events
import email.utils
import inspect
import logging.handlers
import os
import select
import selectors
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest.mock
import webbrowser

# What the standard library imports while the names are in place.
IMPORTED = (
    email.utils,
    inspect,
    logging.handlers,
    shutil,
    ssl,
    subprocess,
    tempfile,
    threading,
    unittest.mock,
    webbrowser,
)

MODULES = (
    "fcntl",
    "grp",
    "pwd",
    "resource",
    "termios",
    "tty",
    "pty",
    "syslog",
    "posix",
    "readline",
    "curses",
    "uvloop",
)

NAMES = {
    os: (
        "chown chroot fchdir fchmod fchown fork forkpty getegid geteuid getgid getgroups getgrouplist getloadavg getpgid "
        "getpgrp getpriority getresuid getresgid getsid getuid initgroups killpg lchown lockf mkfifo mknod "
        "memfd_create openpty eventfd pidfd_open pipe2 posix_fadvise posix_fallocate posix_spawn posix_spawnp pread preadv "
        "pwrite pwritev readv register_at_fork sched_getaffinity sendfile set_blocking get_blocking setegid seteuid setgid "
        "setgroups setns setpgid setpriority setregid setresgid setresuid setreuid setsid setuid splice statvfs fstatvfs "
        "sync sysconf tcgetpgrp tcsetpgrp ttyname uname unshare wait wait3 wait4 waitid writev confstr ctermid fdatasync "
        "getrandom inotify_init "
        "O_ASYNC O_CLOEXEC O_DIRECT O_DIRECTORY O_NDELAY O_NOATIME O_NOCTTY O_NOFOLLOW O_NONBLOCK O_PATH O_SYNC O_TMPFILE "
        "WNOHANG WUNTRACED WCOREDUMP WIFEXITED WEXITSTATUS WIFSIGNALED WTERMSIG WIFSTOPPED RTLD_NOW F_LOCK EX_OK EX_USAGE"
    ),
    socket: (
        "AF_UNIX AF_NETLINK AF_PACKET CMSG_LEN CMSG_SPACE MSG_DONTWAIT MSG_NOSIGNAL SCM_RIGHTS SCM_CREDENTIALS SO_PEERCRED "
        "SO_PASSCRED SO_REUSEPORT SO_DOMAIN SO_PROTOCOL SOCK_CLOEXEC SOCK_NONBLOCK TCP_QUICKACK TCP_USER_TIMEOUT "
        "send_fds recv_fds sethostname"
    ),
    select: "poll epoll devpoll kqueue POLLIN POLLOUT POLLHUP POLLERR POLLNVAL POLLPRI EPOLLIN EPOLLOUT EPOLLET PIPE_BUF",
    selectors: "PollSelector EpollSelector DevpollSelector KqueueSelector",
    signal: (
        "SIGALRM SIGBUS SIGCHLD SIGCLD SIGCONT SIGHUP SIGIO SIGKILL SIGPIPE SIGPOLL SIGPROF SIGQUIT SIGSTOP SIGSYS SIGTRAP "
        "SIGTSTP SIGTTIN SIGTTOU SIGURG SIGUSR1 SIGUSR2 SIGVTALRM SIGWINCH SIG_BLOCK SIG_SETMASK SIG_UNBLOCK "
        "alarm getitimer pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending sigtimedwait sigwait "
        "sigwaitinfo"
    ),
    time: "clock_gettime clock_gettime_ns clock_settime clock_getres pthread_getcpuclockid tzset CLOCK_REALTIME "
    "CLOCK_MONOTONIC CLOCK_BOOTTIME CLOCK_PROCESS_CPUTIME_ID",
    asyncio: "open_unix_connection start_unix_server PidfdChildWatcher SafeChildWatcher ThreadedChildWatcher",
}


class SelectSelector(selectors.SelectSelector):
    """As on Windows: waiting for no socket at all is an error of select there, which selectors handles."""


class ProactorLike(asyncio.SelectorEventLoop):  # type: ignore[misc, valid-type]
    """The default event loop of Windows, as far as it lacks methods."""

    add_reader = asyncio.AbstractEventLoop.add_reader
    add_writer = asyncio.AbstractEventLoop.add_writer
    remove_reader = asyncio.AbstractEventLoop.remove_reader
    remove_writer = asyncio.AbstractEventLoop.remove_writer
    add_signal_handler = asyncio.AbstractEventLoop.add_signal_handler
    remove_signal_handler = asyncio.AbstractEventLoop.remove_signal_handler


def _socketpair(*arguments: object) -> tuple[socket.socket, socket.socket]:
    """Connect two sockets over TCP, as ``socket.socketpair`` does on Windows."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        first = socket.create_connection(listening.getsockname())
        return first, listening.accept()[0]


def _remove() -> None:
    socket.socketpair = _socketpair  # type: ignore[assignment]
    selectors.DefaultSelector = SelectSelector  # type: ignore[misc, assignment]
    for module, names in NAMES.items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    shutil._use_fd_functions = False  # type: ignore[attr-defined] # what rmtree finds out at import
    del _socket.AF_UNIX  # type: ignore[misc] # from which socket had it
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment] # importing it raises ImportError


_remove()
