"""The same plugin as it is commonly written in Python: Flask under waitress."""

import json
import logging
import sys
import threading

try:
    from flask import Flask, request
    from waitress.server import create_server
except ImportError as missing:
    print(json.dumps({"skip": str(missing)}))
    raise SystemExit(0) from None

logging.getLogger("waitress").setLevel(logging.ERROR)  # it logs a warning for each request that waits for a thread
app = Flask("plugin")


@app.post("/VolumeDriver.Get")
def get() -> dict[str, object]:
    """Return the volume."""
    name = request.get_json(force=True)["Name"]
    return {"Volume": {"Name": name, "Mountpoint": f"/mnt/{name}"}, "Err": ""}


server = create_server(app, unix_socket=sys.argv[1], threads=8)
threading.Thread(target=server.run, daemon=True).start()
print(json.dumps({"ready": True}), flush=True)
sys.stdin.read()
