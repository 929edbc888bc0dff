"""Make a call as a sync host does; print the modules of asyncio and of extframe's async half that it imported."""

import json
import sys
from pathlib import Path

from extframe import LocalRegistry, PluginManager, VolumeDriver

socket = Path(sys.argv[1].removeprefix("unix://"))
with PluginManager(LocalRegistry(socket.parent, [])) as manager:
    manager.driver(socket.stem, VolumeDriver).get("photos")
print(json.dumps([name for name in sys.modules if "async" in name]))
