"""Photographs of the dashboard: every page in a real browser, on a desk and on a phone, by day and by night."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path

from flask import Flask
from werkzeug.serving import make_server

from benchmarks import BenchmarkError
from coordinator.web.dashboard import PAGES

SIZES = {"1280x900": (1280, 900), "390x844": (390, 844)}


def photograph(app: Flask, folder: Path) -> list[Path]:
    """Write ``dashboard-{page}-{size}-{scheme}.png`` for every page; the last moment stands still."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise BenchmarkError("pictures need playwright: install the development extra") from None
    browser_path = shutil.which("chromium")
    if browser_path is None:
        raise BenchmarkError("pictures need chromium: apt-get install chromium")
    folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # not a line for each file that a page asks for
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        for scheme in ("light", "dark"):
            for size, (width, height) in SIZES.items():
                context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
                page = context.new_page()
                for found in PAGES:
                    page.goto(f"http://127.0.0.1:{server.server_port}{found.path}?still")
                    page.wait_for_selector("body[data-ready=yes]")
                    made.append(folder / f"dashboard-{found.name}-{size}-{scheme}.png")
                    page.screenshot(path=str(made[-1]), full_page=False)
                context.close()
        browser.close()
    server.shutdown()
    return made
