"""Accept every connection at the unix socket given as argument, and read nothing: a plugin that hangs."""

import resource
import socket
import sys

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(sys.argv[1])
    listener.listen(4096)
    print("{}", flush=True)
    accepted = []
    while True:
        accepted.append(listener.accept())
