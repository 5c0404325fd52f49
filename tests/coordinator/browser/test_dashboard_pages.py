"""The dashboard in a real browser: Debian's chromium, driven by Playwright. Skipped where there is no chromium."""

from __future__ import annotations

import shutil
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright
from werkzeug.serving import make_server

from coordinator.operation.accounts import Accounts, Role
from coordinator.web.dashboard import PAGES
from federated_protocol.messages import Phase

PASSWORD = "correct horse battery"
expect.set_options(timeout=30_000)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def serving(deployment):
    server = make_server("127.0.0.1", 0, deployment.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    deployment.coordinator.stopping.set()
    server.shutdown()
    thread.join(5)
    server.server_close()


@pytest.fixture
def address(deployment):
    for _ in range(2):
        deployment.run_round(deployment.select(6))
        deployment.tick()
    accounts = Accounts(deployment.coordinator.database)
    accounts.add("ada", Role.OPERATOR, PASSWORD, deployment.clock.now)
    accounts.add("bob", Role.VIEWER, PASSWORD, deployment.clock.now)
    with serving(deployment) as address:
        yield address


@pytest.fixture
def page(chromium, address):
    context = chromium.new_context(base_url=address)
    page = context.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: request.url.startswith((address, "data:")) or problems.append(request.url))
    yield page
    context.close()
    assert problems == []  # no script error, and nothing is fetched from anywhere else


def sign_in(page, account, password=PASSWORD):
    page.locator("#account").get_by_role("button", name="Sign in").click()
    page.get_by_label("Account").fill(account)
    page.get_by_label("Password").fill(password)
    page.locator("dialog").get_by_role("button", name="Sign in").click()


def test_an_operator_signs_in_moves_the_slider_and_rolls_back(page, deployment):
    page.goto("/models")
    card = page.locator("article[data-version='2']")
    expect(card.get_by_role("slider")).to_be_disabled()
    sign_in(page, "ada")
    expect(page.locator("#account")).to_contain_text("ada · operator")
    slider = card.get_by_role("slider")
    expect(slider).to_be_enabled()  # the cards are drawn anew for who signed in
    slider.focus()
    for _ in range(3):
        slider.press("ArrowLeft")
    expect(card).to_contain_text("staged")
    page.on("dialog", lambda dialog: dialog.accept())
    card.get_by_role("button", name="Roll back version 2").click()
    expect(card).to_have_attribute("data-state", "withdrawn")
    expect(page.locator("article[data-version='3']")).to_contain_text("again version 1")
    assert deployment.coordinator.models.current().version == 3
    page.goto("/audit")
    expect(page.locator("#audit tbody tr").first).to_contain_text("rollback")
    expect(page.locator("#audit tbody tr").first).to_contain_text("ada")


def test_an_operator_rolls_a_version_out_to_all_arms(page):
    page.goto("/models")
    card = page.locator("article[data-version='2']")
    arms = card.get_by_label("Who ranks with it")
    expect(arms).to_be_disabled()
    expect(arms).to_have_value("treatment")
    sign_in(page, "ada")
    expect(arms).to_be_enabled()
    arms.select_option("the holdback as well")
    expect(card).to_contain_text("operator")  # the reason: the card was drawn anew
    expect(arms).to_have_value("all")
    page.goto("/audit")
    expect(page.locator("#audit tbody tr").first).to_contain_text("version 2 to 100 % of all devices")


def test_a_version_shows_its_model_card(page):
    page.goto("/models")
    card = page.locator("[data-version='2']")
    card.get_by_text("Model card").click()
    expect(card).to_contain_text("v2 ← v1 ← v0")
    expect(card).to_contain_text("2, 1")
    expect(card).to_contain_text("no DP guarantee")


def test_learning_is_paused_and_resumed(page):
    page.goto("/models")
    sign_in(page, "ada")
    page.get_by_role("button", name="Pause rounds").click()
    expect(page.locator("#pause-note")).to_contain_text("Paused")
    page.get_by_role("button", name="Resume rounds").click()
    expect(page.locator("#pause-note")).to_contain_text("Rounds open")


def test_running_rounds_are_stopped_after_a_question(page):
    page.goto("/models")
    sign_in(page, "ada")
    expect(page.locator("#account")).to_contain_text("ada")
    page.once("dialog", lambda question: question.dismiss())
    page.get_by_role("button", name="Stop at once").click()
    expect(page.locator("#pause-note")).to_contain_text("Rounds open")
    page.once("dialog", lambda question: question.accept())
    page.get_by_role("button", name="Stop at once").click()
    expect(page.locator("#pause-note")).to_contain_text("Paused")
    expect(page.get_by_role("button", name="Stop at once")).to_be_visible()
    page.get_by_role("button", name="Resume rounds").click()
    expect(page.locator("#pause-note")).to_contain_text("Rounds open")


def test_a_viewer_looks_and_does_not_decide_and_a_wrong_password_is_said(page):
    page.goto("/models")
    sign_in(page, "bob", "wrong password")
    expect(page.get_by_role("alert").filter(has_text="wrong")).to_be_visible()
    page.get_by_label("Password").fill(PASSWORD)
    page.locator("dialog").get_by_role("button", name="Sign in").click()
    expect(page.locator("#account")).to_contain_text("bob · viewer")
    expect(page.get_by_role("button", name="Roll back version 2")).to_have_count(0)
    expect(page.locator("article[data-version='2']").get_by_role("slider")).to_be_disabled()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_the_population_shows_hours_and_versions(page):
    page.goto("/population")
    expect(page.locator("#shares")).to_contain_text("100.0 %")
    expect(page.locator("#hours")).to_have_attribute("aria-label", "Check-ins by hour, at most 12")
    expect(page.locator("#hours canvas")).to_have_count(1)


CONTRAST = (Path(__file__).parent / "contrast.js").read_text("utf-8")


@pytest.mark.parametrize("path", [found.path for found in PAGES])
def test_pages_fit_a_phone_name_what_they_show_and_are_easy_to_read(page, path):
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(path + "?still")
    page.wait_for_selector("body[data-ready=yes]")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    wider = "[...document.querySelectorAll('.scroll')].filter((part) => part.scrollWidth > part.clientWidth).length"
    assert page.evaluate(wider) == 0, "tables need no scrolling"
    assert page.locator("h1").count() == 1
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, a, svg, .chart, [tabindex]")].filter((node) =>
            !(node.textContent.trim() || node.getAttribute("aria-label") || node.labels?.length)).length"""
    )
    assert unnamed == 0
    assert page.locator("nav a[aria-current=page]").count() == 1
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(CONTRAST) == []


def test_the_overview_shows_finished_rounds(page):
    page.goto("/?still")
    expect(page.locator("#rounds tbody tr")).to_have_count(2)
    expect(page.locator("#by-version canvas, #devices canvas")).to_have_count(2)


def test_a_running_round_fills_live_with_its_parameters(page, deployment):
    page.goto("/")
    expect(page.locator("#connection")).to_have_text("live")
    devices = deployment.select(6)
    card = page.locator("section.round")
    expect(card).to_contain_text("Training round 3")
    deployment.run_phase(Phase.ADVERTISE, devices)
    expect(card).to_contain_text("complete: each shares with all 5 others")
    deployment.run_phase(Phase.SHARE, devices[:4])
    expect(card.locator("li").nth(2)).to_contain_text("4 / 6")
    deployment.tick(deployment.settings.deadlines.share_s)
    expect(card.locator("li").nth(2)).to_contain_text("2 dropped out")


def test_tasks_and_privacy_are_told_in_words(page):
    page.goto("/tasks")
    expect(page.get_by_role("region", name="training")).to_contain_text("100 % of 2")
    page.goto("/privacy")
    expect(page.locator("#ledger")).to_contain_text("no DP guarantee")
    expect(page.locator("#ledger")).to_contain_text("6 devices")
    expect(page.locator("#assumptions")).to_contain_text("Sums are exact")


def test_pages_are_reached_and_the_slider_moved_by_keyboard_alone(page):
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Models")


def test_who_is_not_signed_in_reads_nothing_and_signs_in_on_the_page(chromium, deploy):
    deployment = deploy(operators={"public_reports": False})
    Accounts(deployment.coordinator.database).add("bob", Role.VIEWER, PASSWORD, deployment.clock.now)
    with serving(deployment) as address:
        context = chromium.new_context(base_url=address)
        page = context.new_page()
        page.goto("/tasks")
        expect(page.get_by_role("heading", name="Sign in to read")).to_be_visible()
        expect(page.locator("#content")).to_be_hidden()
        sign_in(page, "bob")
        expect(page.locator("#tasks")).to_contain_text("query-suggestions")
        context.close()
