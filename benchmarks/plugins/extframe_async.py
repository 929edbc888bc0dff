"""A plugin on extframe whose methods are async."""

from driver import AsyncPhotos, serve

serve(AsyncPhotos())
