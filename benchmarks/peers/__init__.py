"""One file per peer: ``connect(address, ca)`` returns a function that makes one call of VolumeDriver.Get."""

METHOD = "VolumeDriver.Get"
ARGUMENTS = {"Name": "photos"}
BODY = b'{"Name":"photos"}\n'
HEADERS = {"Content-Type": "application/json"}


def path_of(address: str) -> str:
    """Return the path of a unix socket's address."""
    return address.removeprefix("unix://")
