"""One browser for all page tests, since Playwright allows one at a time, and one server of the built book."""

import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from visits import HTML

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# No GPU, and none of the things a browser asks its maker's servers for.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
).split()


@pytest.fixture(scope="session")
def browser():
    """A Chromium of this machine; without one the test is skipped."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        # With the scroll bars that a desktop has: the ones that nobody needs are not to be seen.
        browser = playwright.chromium.launch(
            executable_path=path, args=FLAGS, ignore_default_args=["--hide-scrollbars"]
        )
        yield browser
        browser.close()


class QuietHandler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        """Requests are watched in the browser, not here."""


@pytest.fixture(scope="session")
def site():
    """The address of a local server of the built book."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=HTML)) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
