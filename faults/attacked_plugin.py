"""A plugin with default limits, to be attacked: ``python attacked_plugin.py DIRECTORY``. Runs on earlier versions."""

import resource
import sys
import time

from extframe import Interface, rpc, serve

LARGE = "x" * (10 << 20)


class Lab(Interface, implements="Lab"):
    """A quick method, a slow one, and one with a large reply."""

    @rpc("Large", returns="Result")
    def large(self) -> str:
        """Return 10 MiB."""
        raise NotImplementedError

    @rpc("Rest")
    def rest(self) -> None:
        """Do nothing."""
        raise NotImplementedError

    @rpc("Work", returns="Result")
    def work(self, name: str = "", seconds: float = 0.0) -> str:
        """Sleep."""
        raise NotImplementedError


class Driver(Lab):
    """The methods."""

    def large(self) -> str:
        """Return 10 MiB."""
        return LARGE

    def rest(self) -> None:
        """Do nothing."""

    def work(self, name: str = "", seconds: float = 0.0) -> str:
        """Sleep."""
        time.sleep(seconds)
        return name


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    serve(Driver(), name="lab", directory=sys.argv[1])
