"""A plugin that starts in no time, for `python -I -S`: it serves VolumeDriver at the socket that it inherits.

    tiny_plugin.py [ACTION ...]

Each action is done before it serves: ``say:TEXT``, ``exit:STATUS``, ``sleep:SECONDS`` (and never accepts), ``deaf``
(ignores SIGTERM), ``polite`` (exits with status 0 at SIGTERM), ``child`` (a child that sleeps), ``stray`` (a child that
leaves the group), ``report:PATH`` (writes what it was given), ``flood:LINES``, ``own:PATH`` (makes its socket itself),
``unready:COUNT`` (answers so many requests with status 503).
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import _socket as socket
import os
import sys
import time

ANSWERS = {"/Plugin.Activate": '{"Implements": ["VolumeDriver"]}', "/VolumeDriver.List": '{"Volumes": []}'}


unready = 0


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def leave_child(*, is_stray: bool) -> None:
    if os.fork() == 0:
        if is_stray:
            os.setsid()
        say(f"child {os.getpid()}")
        time.sleep(600)
        os._exit(0)


def report(path: str) -> None:
    import marshal
    import resource

    found = {
        "environment": dict(os.environ),
        "descriptors": sorted(int(each) for each in os.listdir("/proc/self/fd"))[
            :-1
        ],  # the last one is that of listdir
        "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
        "ids": (os.getuid(), os.getgid(), os.geteuid(), sorted(os.getgroups())),
        "cwd": os.getcwd(),
        "pid": os.getpid(),
        "session": os.getsid(0),
    }
    with open(path + ".new", "wb") as file:
        file.write(marshal.dumps(found))
    os.rename(path + ".new", path)


def flood(lines: str) -> None:
    block = b"".join(b"line %d of very many\n" % number for number in range(1000))
    for _ in range(int(lines) // 1000):
        os.write(1, block)
    say("the flood is over")


def own(path: str) -> int:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(path)
    made.listen(100)
    return made.detach()


def be_unready(count: str) -> None:
    global unready
    unready = int(count)


ACTIONS = {
    "unready": be_unready,
    "say": say,
    "exit": lambda status: sys.exit(int(status)),
    "sleep": lambda seconds: time.sleep(float(seconds)),
    "deaf": lambda _: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "polite": lambda _: signal.signal(signal.SIGTERM, lambda *_: os._exit(0)),
    "child": lambda _: leave_child(is_stray=False),
    "stray": lambda _: leave_child(is_stray=True),
    "report": report,
    "flood": flood,
    "own": own,
}


def main(actions: list[str]) -> None:
    descriptor = None
    for action in actions:
        kind, _, value = action.partition(":")
        result = ACTIONS[kind](value)
        descriptor = result if kind == "own" else descriptor
    if descriptor is None and os.environ.get("LISTEN_PID") != str(os.getpid()):
        sys.exit("no socket was passed to this process")
    listening = socket.socket(fileno=3 if descriptor is None else descriptor)
    say(f"pid {os.getpid()}")
    while True:
        accepted, _ = listening._accept()
        serve(socket.socket(fileno=accepted))


def serve(connection: socket.socket) -> None:
    global unready
    try:
        request = b""
        while b"\r\n\r\n" not in request:
            data = connection.recv(65536)
            if not data:
                return
            request += data
        status = b"503 Service Unavailable" if unready else b"200 OK"
        unready = max(0, unready - 1)
        body = ANSWERS.get(request.split()[1].decode(), "{}").encode()
        head = b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        connection.sendall(head + body)
    except OSError:
        pass
    finally:
        connection.close()


if __name__ == "__main__":
    main(sys.argv[1:])
