"""A plugin on extframe whose methods block."""

from driver import SyncPhotos, serve

serve(SyncPhotos())
