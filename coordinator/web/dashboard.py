"""Pages that work without internet; each is an empty frame that fills itself from ``/admin`` once somebody may read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flask import Blueprint, Response, make_response, render_template, send_from_directory

_STATIC = Path(__file__).parent / "static"
_POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:"


@dataclass(frozen=True, slots=True)
class Page:
    """One page: ``templates/{name}.html`` and ``static/{name}.js``."""

    name: str
    path: str
    title: str
    about: str
    """What it shows, in a sentence."""


PAGES = (
    Page("overview", "/", "Overview", "The round as it happens, and what people did with the offers."),
    Page("models", "/models", "Models", "Every version: where it comes from, how it was judged, how far it went."),
    Page("tasks", "/tasks", "Tasks", "What devices are asked to do, and how their rounds end."),
    Page("privacy", "/privacy", "Privacy", "What opened sums may say about one device, and what is assumed."),
    Page(
        "population", "/population", "Population", "Verified check-ins by hour and app version; nobody is told apart."
    ),
    Page("audit", "/audit", "Audit log", "Who decided what, when; newest first."),
)


def dashboard() -> Blueprint:
    """The blueprint of the pages and their files."""
    pages = Blueprint(
        "dashboard", __name__, template_folder="templates", static_folder=str(_STATIC), static_url_path="/static"
    )
    for page in PAGES:
        pages.add_url_rule(page.path, page.name, _view(page))

    @pages.after_request
    def protect(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-cache"
        return response

    @pages.get("/favicon.ico")
    def icon() -> Response:
        return send_from_directory(_STATIC, "icon.svg", mimetype="image/svg+xml")

    return pages


def _view(page: Page) -> Callable[[], Response]:
    def view() -> Response:
        return make_response(render_template(f"{page.name}.html", page=page, pages=PAGES))

    return view
