"""Pages that work without internet: the round as it happens at /, models, population, the audit log."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, request, send_from_directory

_STATIC = Path(__file__).parent / "static"
_POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:"


def dashboard() -> Blueprint:
    """The blueprint of the page and the others, with their files."""
    pages = Blueprint("dashboard", __name__)

    @pages.get("/")
    def index() -> Response:
        return _file("dashboard.html")

    @pages.get("/models")
    @pages.get("/population")
    @pages.get("/audit")
    def page() -> Response:
        return _file(request.path.strip("/") + ".html")

    @pages.get("/static/operator.js")
    def operator_script() -> Response:
        return _file("operator.js")

    @pages.get("/static/dashboard.css")
    def style() -> Response:
        return _file("dashboard.css")

    @pages.get("/static/dashboard.js")
    def script() -> Response:
        return _file("dashboard.js")

    return pages


def _file(name: str) -> Response:
    response = send_from_directory(_STATIC, name)
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Cache-Control"] = "no-cache"
    return response
