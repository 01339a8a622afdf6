"""The browser that the tests of pages use."""

import shutil

_NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, _NAMES)), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
NO_BROWSER = f"needs a Chromium: none of {', '.join(_NAMES)} is on the PATH"
