"""The launcher: a small process that starts plugins for a host, reports how they end, and ends them with the host.

It runs as ``python -I -S``, imports nothing of extframe and few modules, as its start is part of a plugin's first
start. A process with one thread may safely run Python between fork and exec, which a host with threads may not. All
plugins are its children: their death signal depends on it alone, and no pid that it signals can be a stranger's.
"""

from __future__ import annotations

import marshal
import os
import select
import sys
from time import monotonic

# What is imported here delays the first start of a plugin: array, resource and typing take longer than the interpreter.
# socket and signal take 10 ms, for their enumerations.
try:
    import _signal as signal  # type: ignore[import-not-found]
    import _socket as socket
except ImportError:  # pragma: no cover - not CPython
    import signal
    import socket  # type: ignore[no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

LISTEN_FD = 3  # sd_listen_fds(3)
GRACE = 0.3  # seconds between SIGTERM and SIGKILL once the host is gone
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)
HEADER = 4  # bytes: the length of a message
DESCRIPTOR = 4  # bytes of a C int
CHUNK = 65536


def main(control: int, host: int) -> None:
    """Serve the host that is at the other end of the socket ``control`` and whose process id is ``host``."""
    os.set_inheritable(control, False)  # else plugins would have it
    launcher = Launcher(socket.socket(fileno=control))
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    try:
        if os.getppid() == host:  # else it died before prctl
            launcher.run()
    finally:
        launcher.end_all()


class _Child:
    """A process that was started, until it is reaped."""

    def __init__(self, key: int, failure: int, group: str) -> None:
        self.key = key
        self.failure = failure  # read end of the pipe through which the process reports why it cannot run the program
        self.group = group  # the directory of its control group, "" if it has none


class Launcher:
    """Starts, signals and reaps processes, as the host requests."""

    def __init__(self, control: Any) -> None:
        self._control = control
        self._children: dict[int, _Child] = {}  # by pid
        self._received = b""
        self._descriptors: list[int] = []
        self._stopping = False
        self._groups = ControlGroups()
        self._send(key=None, groups=self._groups.path, failed=self._groups.fault)
        self._wake, wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake, False)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # it only has to wake the loop
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def run(self) -> None:
        """Serve the host until it is gone."""
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while not self._stopping:
            ready = dict(poll.poll())
            if self._wake in ready:
                self._drain_wake()
                self._reap()
            if self._control.fileno() in ready and not self._receive():
                return

    def _drain_wake(self) -> None:
        try:
            while os.read(self._wake, CHUNK):
                pass
        except BlockingIOError:
            pass

    # --- messages: a length, then a dict in the format of marshal ------------------------------------------

    def _receive(self) -> bool:
        flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        space = socket.CMSG_SPACE(16 * DESCRIPTOR)
        try:
            data, ancillary, _, _ = self._control.recvmsg(CHUNK, space, flags)
        except ConnectionError:
            return False
        for _, _, content in ancillary:
            ends = range(DESCRIPTOR, len(content) + 1, DESCRIPTOR)
            self._descriptors += [int.from_bytes(content[end - DESCRIPTOR : end], sys.byteorder) for end in ends]
        if not data:
            return False
        self._received += data
        while len(self._received) >= HEADER:
            end = HEADER + int.from_bytes(self._received[:HEADER], "big")
            if len(self._received) < end:
                break
            message = marshal.loads(self._received[HEADER:end])
            self._received = self._received[end:]
            self._obey(message)
        return True

    def _send(self, **message: object) -> None:
        content = marshal.dumps(message, 2)
        try:
            self._control.sendall(len(content).to_bytes(HEADER, "big") + content)
        except OSError:
            self._stopping = True

    def _obey(self, request: dict[str, Any]) -> None:
        if "argv" in request:
            self._start(request)
            return
        for pid, child in self._children.items():
            if child.key == request["key"]:
                _signal_group(pid, request["signal"])

    # --- processes -----------------------------------------------------------------------------------------

    def _start(self, request: dict[str, Any]) -> None:
        count = request["descriptors"]
        descriptors, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        request["group"] = self._groups.create()
        try:
            pid, failure = _fork(request, descriptors)
        except OSError as refused:
            self._groups.end(request["group"])
            self._send(key=request["key"], exited=None, failed=f"cannot start a process: {refused.strerror}")
            return
        finally:
            for each in descriptors:
                os.close(each)
        self._children[pid] = _Child(request["key"], failure, request["group"])
        self._send(key=request["key"], pid=pid)

    def _reap(self) -> None:
        while (ended := _ended()) is not None:
            pid, status = ended
            child = self._children.pop(pid, None)
            if child is not None:  # else an orphan that a plugin left
                _signal_group(pid, signal.SIGKILL)  # what is left of it; its id is not reused until it is reaped
                self._groups.end(child.group)
            if status is None:
                _, status = os.waitpid(pid, 0)
            if child is not None:
                report = os.read(child.failure, CHUNK)
                os.close(child.failure)
                code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
                self._send(key=child.key, exited=code, failed=report.decode(errors="replace"))

    def end_all(self) -> None:
        """End every process that was started, and those that it left behind."""
        self._signal_all(signal.SIGTERM)
        deadline = monotonic() + GRACE
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        while self._children and monotonic() < deadline:
            poll.poll(max(1, (deadline - monotonic()) * 1000))
            self._drain_wake()
            self._reap()
        self._signal_all(signal.SIGKILL)
        self._groups.close()
        for _ in range(100):  # killing one may turn its children into ours
            self._reap()
            orphans = _own_children()
            if not orphans:
                return
            for pid in orphans:
                _signal(pid, signal.SIGKILL)
            poll.poll(10)
            self._drain_wake()

    def _signal_all(self, number: int) -> None:
        for pid in self._children:
            _signal_group(pid, number)


class ControlGroups:
    """A control group (cgroup v2) for each child: it also has the processes that left the child's process group.

    They are created below the group of this process, where root or a user to whom it was delegated may do so.
    Elsewhere, as on macOS, there are none. The launcher's directory is locked while it runs: one that is not locked was
    left by a launcher that was killed.
    """

    def __init__(self) -> None:
        self.path = ""
        self.fault = ""
        self._count = 0
        self._ended: list[str] = []  # groups that were killed, and had processes when they were to be removed
        try:
            base = _own_control_group()
            for name in os.listdir(base):
                if name.startswith(GROUP_PREFIX):
                    _remove_stale_group(f"{base}/{name}")
            path, self._lock = _locked_group(f"{base}/{GROUP_PREFIX}{os.getpid()}")
            if not os.access(f"{path}/cgroup.kill", os.W_OK):  # before Linux 5.14
                os.rmdir(path)
                raise OSError(0, "no cgroup.kill")
        except OSError as refused:
            self.fault = refused.strerror or str(refused)
        else:
            self.path = path

    def create(self) -> str:
        """Return the directory of a new group, "" if there can be none."""
        if not self.path:
            return ""
        self._count += 1
        path = f"{self.path}/{self._count}"
        try:
            os.mkdir(path)
        except OSError:
            return ""
        return path

    def end(self, path: str) -> None:
        """Kill every process of a group, and remove the group once they are gone."""
        if path:
            _kill_group(path)
            # No others: one that is empty may be that of a child that has not entered it yet.
            self._ended = [each for each in (*self._ended, path) if not _rmdir(each)]

    def close(self) -> None:
        """Kill every process of every group."""
        if self.path:
            _kill_group(self.path)
            _remove_group(self.path)
            os.close(self._lock)


GROUP_PREFIX = "extframe-"
GROUP_ATTEMPTS = 20  # each fails by another launcher that starts at the same moment


def _own_control_group() -> str:
    """Return the directory of the group of this process; raise OSError if there is none."""
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
        mounts = [line.split() for line in file]
    roots = [fields[1] for fields in mounts if fields[2] == "cgroup2"]
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        own = [line[3:].strip() for line in file if line.startswith("0::")]
    if not roots or not own or ".." in own[0]:
        raise OSError(0, "no cgroup v2")
    return (roots[0] + own[0]).rstrip("/")


def _locked(path: str) -> int:
    import fcntl

    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _locked_group(path: str) -> tuple[str, int]:
    """Create a group, and return its directory and the lock on it.

    Another launcher that starts takes it for one that was left, until it is locked: it is then created under another
    name.
    """
    for attempt in range(GROUP_ATTEMPTS):
        created = f"{path}.{attempt}" if attempt else path
        try:
            os.mkdir(created)
            descriptor = _locked(created)
        except (FileExistsError, FileNotFoundError, BlockingIOError):
            continue
        if os.path.isdir(created):  # it may have been removed before the lock
            return created, descriptor
        os.close(descriptor)
    raise OSError(0, "other launchers removed it")


def _remove_stale_group(path: str) -> None:
    try:
        descriptor = _locked(path)
    except OSError:
        return  # its launcher runs
    _kill_group(path)
    _remove_group(path)
    os.close(descriptor)


def _kill_group(path: str) -> None:
    try:
        with open(f"{path}/cgroup.kill", "w") as file:
            file.write("1")
    except OSError:
        return


def _remove_group(path: str) -> None:
    """Remove a group whose processes were killed, once they are gone."""
    for _ in range(100):
        if _rmdir(path):
            return
        select.poll().poll(10)


def _subgroups(path: str) -> list[str]:
    try:
        return [entry.path for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _rmdir(path: str) -> bool:
    """Remove a group and those below it, which a plugin may have made; return whether they are gone.

    They are not as long as they have processes.
    """
    for each in _subgroups(path):
        _rmdir(each)
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _ended() -> tuple[int, int | None] | None:
    """Return a child that has ended, and its status if it is reaped already; None if there is none."""
    try:
        if hasattr(os, "waitid"):
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            return None if found is None else (found.si_pid, None)
        pid, status = os.waitpid(-1, os.WNOHANG)  # macOS before Python 3.13
        return (pid, status) if pid else None
    except ChildProcessError:
        return None


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        _signal(pid, number)  # it has not made its group yet
    except PermissionError:  # macOS, for a group of zombies
        pass


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # contextlib.suppress takes longer to import than all of this


def _own_children() -> list[int]:
    """Return the children of this process, where Linux tells."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _prctl_function()(option, value, 0, 0, 0)


def _prctl_function() -> Any:
    try:  # ctypes itself takes longer to import than all of this
        from _ctypes import call_function, dlopen, dlsym

        address = dlsym(dlopen(None, 0), "prctl")  # type: ignore[arg-type] # None is this program
    except ImportError:  # pragma: no cover - not CPython
        import ctypes

        return ctypes.CDLL(None).prctl
    return lambda *arguments: call_function(address, arguments)


def _fork(request: dict[str, Any], descriptors: list[int]) -> tuple[int, int]:
    """Return the pid of a new process, and the pipe from which to read why it could not run the program."""
    failure, report = os.pipe()
    parent = os.getpid()
    # The new process must not lose a signal to the handlers of this one: it unblocks them once it has the default ones.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if not pid:
            _become(request, descriptors, report, parent)
    except OSError:
        os.close(failure)
        os.close(report)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.close(report)
    return pid, failure


# --- in the new process -------------------------------------------------------------------------------------


def _become(request: dict[str, Any], descriptors: list[int], report: int, parent: int) -> NoReturn:
    """Become the program. Everything that can fail is reported through the pipe ``report``, which exec closes."""
    try:
        _run_program(request, descriptors, parent)
    except BaseException as wrong:  # noqa: BLE001 - this process must not go on as the launcher
        text = wrong.strerror if isinstance(wrong, OSError) and wrong.strerror else str(wrong)
        os.write(report, f"cannot {request['act'][0]}: {text}".encode())
    finally:
        os._exit(127)


def _run_program(request: dict[str, Any], descriptors: list[int], parent: int) -> NoReturn:
    act = request["act"] = ["set up the process"]
    _enter_group(request["group"])
    os.setsid()
    for number in signal.valid_signals():  # `nohup` and background jobs of shells ignore some
        if number not in (signal.SIGKILL, signal.SIGSTOP) and signal.getsignal(number) != signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _place(descriptors)
    if request["limits"]:
        _set_limits(request["limits"], act)
    if request["sha256"] is not None:
        import hashlib  # noqa: F401 - now, as the user may not be allowed to read the standard library
    _change_user(request, act)
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # last: a change of the user clears it
    if os.getppid() != parent:
        os._exit(127)
    act[0] = f"enter the directory {request['cwd']}"
    os.chdir(request["cwd"])
    environment = dict(request["environment"])
    if len(descriptors) > 1:
        environment |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": request["name"]}
    act[0] = f"run {request['program']}"
    program = request["program"] if request["sha256"] is None else _verified(request["program"], request["sha256"])
    os.execve(program, request["argv"], environment)


def _enter_group(path: str) -> None:
    try:
        if path:
            with open(f"{path}/cgroup.procs", "w") as file:
                file.write("0")
    except OSError:
        return  # the process group and the subreaper remain


def _place(descriptors: list[int]) -> None:
    """Make the descriptors 0 to 3: /dev/null, the output twice and the socket. All others are closed by exec."""
    import fcntl

    high = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 64) for each in descriptors]
    os.dup2(os.open("/dev/null", os.O_RDWR), 0)
    os.dup2(high[0], 1)
    os.dup2(high[0], 2)
    if len(high) > 1:
        os.dup2(high[1], LISTEN_FD)


def _change_user(request: dict[str, Any], act: list[str]) -> None:
    if request["uid"] is not None:
        act[0] = f"become user {request['uid']}"
        os.setgroups(request["groups"])
        os.setgid(request["gid"])
        os.setuid(request["uid"])
    elif request["gid"] is not None:
        act[0] = f"become group {request['gid']}"
        os.setgid(request["gid"])


def _set_limits(limits: list[tuple[str, int]], act: list[str]) -> None:
    import resource

    for limit, value in limits:
        act[0] = f"set the limit {limit.lower()} to {value}"
        resource.setrlimit(getattr(resource, f"RLIMIT_{limit}"), (value, value))


def _verified(path: str, digest: str) -> int:
    """Return a descriptor of a program, to be executed through it, whose content has been verified."""
    import hashlib

    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if os.pread(descriptor, 2, 0) == b"#!":
        raise ValueError("sha256 can verify a program, not a script, whose interpreter would open it a second time")
    content = hashlib.sha256()
    while chunk := os.read(descriptor, 1 << 20):
        content.update(chunk)
    if content.hexdigest() != digest:
        raise ValueError(f"its SHA-256 digest is {content.hexdigest()}; expected {digest}")
    return descriptor
