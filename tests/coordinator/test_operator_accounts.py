"""Accounts, sessions, forged requests, throttling: who may decide over releases."""

from __future__ import annotations

import pytest

from coordinator.operation.accounts import FREE_FAILURES, SESSION_S, AccountError, Accounts, Role
from coordinator.operation.api_description import ADMIN_CALLS
from coordinator.operation.audit import newest_entries

PASSWORD = "correct horse battery"


@pytest.fixture
def accounts(deployment):
    found = Accounts(deployment.coordinator.database)
    found.add("ada", Role.OPERATOR, PASSWORD, deployment.clock.now)
    found.add("bob", Role.VIEWER, PASSWORD, deployment.clock.now)
    return found


class Browser:
    """A client with cookies, and the token once it asked for it."""

    def __init__(self, deployment):
        self.client = deployment.app.test_client()
        self.csrf = ""

    def sign_in(self, account="ada", password=PASSWORD, **headers):
        answer = self.client.post("/admin/session", json={"account": account, "password": password}, headers=headers)
        self.csrf = self.client.get("/admin/session").json["csrf"] or ""
        return answer

    def post(self, path, body=None, csrf=None):
        headers = {"X-CSRF-Token": self.csrf if csrf is None else csrf}
        return self.client.post(path, json=body or {}, headers=headers)


@pytest.fixture
def browser(deployment, accounts):
    return Browser(deployment)


CHANGES = [
    ("/admin/models/1/rollout", {"percent": 10}),
    ("/admin/models/1/rollout", {"percent": 100, "arms": "all"}),
    ("/admin/models/1/rollback", {}),
    ("/admin/pause", {}),
    ("/admin/stop", {}),
    ("/admin/resume", {}),
]


@pytest.mark.parametrize(("path", "body"), CHANGES)
def test_nobody_decides_without_a_session_a_token_and_the_role(deployment, browser, path, body):
    assert browser.post(path, body).status_code == 401
    browser.sign_in("bob")
    assert browser.post(path, body).status_code == 403
    browser.sign_in("ada")
    assert browser.post(path, body, csrf="").status_code == 401
    assert browser.post(path, body, csrf="x" * 32).status_code == 401


def test_an_operator_rolls_out_and_back_and_is_named_for_it(deployment, browser):
    deployment.run_round(deployment.select(6))
    deployment.tick()
    browser.sign_in()
    answer = browser.post("/admin/models/1/rollout", {"percent": 10})
    assert answer.status_code == 200
    told = {"version": 1, "state": "staged", "percent": 10, "arms": "treatment", "reason": "operator"}
    assert answer.json["rollouts"][0] == told
    answer = browser.post("/admin/models/1/rollout", {"percent": 100, "arms": "all"})
    assert answer.json["rollouts"][0] == told | {"state": "live", "percent": 100, "arms": "all"}
    assert browser.post("/admin/models/1/rollback").json["rollouts"][0]["version"] == 2
    assert browser.post("/admin/pause").json["paused"] is True
    assert browser.post("/admin/resume").json["paused"] is False
    with deployment.coordinator.database.reading() as connection:
        entries = newest_entries(connection)
        actions = [(entry.actor, entry.action) for entry in entries]
        details = [entry.detail for entry in entries if entry.action == "rollout"]
    assert details == [
        "version 1 to 100 % of all devices (operator)",
        "version 1 to 10 % of the treatment arm (operator)",
    ]
    assert ("ada", "rollback") in actions
    assert ("ada", "rollout") in actions


def test_what_cannot_be_decided_is_explained(browser):
    browser.sign_in()
    assert browser.post("/admin/models/9/rollout", {"percent": 10}).status_code == 409
    assert browser.post("/admin/models/0/rollback").status_code == 409
    assert browser.post("/admin/models/0/rollout", {"percent": "much"}).status_code == 400
    assert browser.post("/admin/models/0/rollout", {"percent": 10, "more": 1}).status_code == 400
    assert browser.post("/admin/models/1/rollout", {"percent": 10, "arms": "some"}).status_code == 400


def test_the_cookie_is_kept_from_scripts_and_other_sites(browser):
    cookie = browser.sign_in().headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


def test_another_sites_page_cannot_sign_anybody_in(browser):
    assert browser.sign_in(**{"Sec-Fetch-Site": "cross-site"}).status_code == 401
    assert browser.csrf == ""


def test_a_session_ends_by_signing_out_and_by_time(deployment, browser):
    browser.sign_in()
    browser.client.delete("/admin/session", headers={"X-CSRF-Token": browser.csrf})
    assert browser.post("/admin/pause").status_code == 401
    browser.sign_in()
    deployment.clock.advance(SESSION_S + 1)
    assert browser.post("/admin/pause").status_code == 401


def test_wrong_passwords_close_an_account_for_a_while(deployment, accounts):
    now = deployment.clock.now
    for _ in range(FREE_FAILURES):
        assert accounts.sign_in("ada", "wrong password", now) is None
    assert accounts.sign_in("ada", PASSWORD, now + 29) is None
    assert accounts.sign_in("ada", PASSWORD, now + 31) is not None


def test_one_address_may_not_try_many_accounts(browser):
    statuses = [browser.sign_in(f"someone{i}", "wrong password").status_code for i in range(12)]
    assert statuses[0] == 401
    assert statuses[-1] == 503


def test_unknown_accounts_look_like_wrong_passwords(browser):
    unknown, wrong = browser.sign_in("nobody", PASSWORD), browser.sign_in("ada", "wrong password")
    assert (unknown.status_code, unknown.data) == (wrong.status_code, wrong.data)


def test_a_new_password_ends_the_sessions_of_the_old_one(deployment, accounts):
    cookie = accounts.sign_in("ada", PASSWORD, deployment.clock.now)
    assert accounts.session(cookie, deployment.clock.now).account == "ada"
    accounts.add("ada", Role.OPERATOR, PASSWORD + "!", deployment.clock.now)
    assert accounts.session(cookie, deployment.clock.now) is None


@pytest.mark.parametrize(("name", "password"), [("Ada", PASSWORD), ("", PASSWORD), ("ada", "short")])
def test_names_and_passwords_that_will_not_do(accounts, name, password):
    with pytest.raises(AccountError):
        accounts.add(name, Role.VIEWER, password, 1.0)


def test_an_account_can_be_removed(accounts):
    accounts.remove("bob", 1.0)
    assert accounts.all() == [("ada", "operator")]
    with pytest.raises(AccountError):
        accounts.remove("bob", 1.0)


# -- who may read ------------------------------------------------------------------------------------------------

REPORTS = [call.path.replace("{version}", "0") for call in ADMIN_CALLS if call.method == "get"]


@pytest.fixture
def closed(deploy):
    deployment = deploy(operators={"public_reports": False})
    Accounts(deployment.coordinator.database).add("bob", Role.VIEWER, PASSWORD, deployment.clock.now)
    return deployment


@pytest.mark.parametrize("path", REPORTS)
def test_reports_are_for_those_who_signed_in_or_hold_a_token(closed, path):
    free = path in ("/admin/session", "/admin/openapi.json")
    stranger, reader, script = Browser(closed), Browser(closed), closed.app.test_client()
    reader.sign_in("bob")
    token = Accounts(closed.coordinator.database).issue_token("bob", closed.clock.now)
    assert stranger.client.get(path).status_code == (200 if free else 401)
    assert reader.client.get(path).status_code == 200
    assert script.get(path, headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert script.get(path, headers={"Authorization": "Bearer x"}).status_code == (200 if free else 401)


@pytest.mark.parametrize("path", ["/", "/models", "/v1/health", "/v1/ready", "/metrics", "/v1/openapi.json"])
def test_pages_without_data_health_and_metrics_are_open(closed, path):
    assert closed.app.test_client().get(path).status_code == 200


def test_a_token_decides_nothing_and_ends(closed):
    accounts = Accounts(closed.coordinator.database)
    accounts.add("ada", Role.OPERATOR, PASSWORD, closed.clock.now)
    bearer = {"Authorization": f"Bearer {accounts.issue_token('ada', closed.clock.now, days=2)}"}
    client = closed.app.test_client()
    assert client.post("/admin/pause", json={}, headers=bearer).status_code == 401
    client.set_cookie("coordinator_session", bearer["Authorization"][7:])  # nor as a cookie: it has no CSRF token
    assert client.post("/admin/pause", json={}, headers={"X-CSRF-Token": ""}).status_code == 401
    client.delete_cookie("coordinator_session")
    assert client.get("/admin/status", headers=bearer).status_code == 200
    closed.clock.advance(2 * 86_400 + 1)
    assert client.get("/admin/status", headers=bearer).status_code == 401
    with pytest.raises(AccountError, match="no such account"):
        accounts.issue_token("nobody", 0.0)
