"""Prefect's automations on a real server: a webhook hears of a failed run, of one that waits, and
of one that did not happen.
"""

import json
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock

from flows.engine.alerts import set_up_alerts
from flows.sync import sync
from schemas.errors import ConfigurationError

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect_server")]


class Chat(BaseHTTPRequestHandler):
    """A chat's incoming webhook; `heard` are the bodies."""

    heard: list[dict]

    def do_POST(self) -> None:
        self.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def chat():
    handler = type("Handler", (Chat,), {"heard": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    CustomWebhookNotificationBlock(
        name="operations",
        url=f"http://127.0.0.1:{server.server_port}/hook",
        json_data={"text": "{{subject}}: {{body}}"},
    ).save("operations", overwrite=True)
    yield handler.heard
    server.shutdown()


def wait_until_heard(heard: list[dict], words: str) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := [item["text"] for item in heard if item["text"].startswith(words)]:
            return found[0]
        time.sleep(0.2)
    raise AssertionError(heard)


def test_a_webhook_hears_of_failed_waiting_and_missing_runs(company, chat, monkeypatch):
    names = set_up_alerts("custom-webhook/operations", max_age=timedelta(seconds=12))
    assert names == [
        "essentry-sync: failed",
        "essentry-sync: waiting for approval",
        "essentry-sync: late",
    ]
    path = str(company.path)
    assert sync(path, return_state=True).is_failed()  # there is no database yet
    failed = wait_until_heard(chat, "essentry-sync failed: ")
    assert failed.startswith(
        f"essentry-sync failed: sync {path} ended as Failed: stopped: source rooms: "
        "there is no database file"
    )

    company.write({"1": ["ada@out.example"]})
    monkeypatch.setenv("ESSENTRY_SYNC_GUARDS__APPROVE_FIRST_RUN", "true")
    assert sync(path, return_state=True).name == "AwaitingApproval"
    waiting = wait_until_heard(chat, "essentry-sync waits")
    assert "approve_first_run" in waiting
    assert "ada@out.example" not in waiting
    late = wait_until_heard(chat, "essentry-sync did not run")
    assert "No sync has ended well for 0.00333333 hours" in late
    # replaces them: no second notification, and no late one
    set_up_alerts("custom-webhook/operations", max_age=timedelta(hours=26))


def test_an_unknown_block_is_one_message():
    with pytest.raises(
        ConfigurationError, match=r"no block slack-webhook/nobody: `prefect block ls`"
    ):
        set_up_alerts("slack-webhook/nobody", max_age=timedelta(hours=26))
