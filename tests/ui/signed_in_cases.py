"""A page as on a Space with sign-in, and a browser of a visitor who signed in there."""

import base64
import json
import time
from contextlib import contextmanager

import gradio as gr
import gradio.oauth
from fastapi import FastAPI
from fastapi.testclient import TestClient

VISITORS = "hf_oauth_VisitorsOwn.Token_0123456789"
GIVEN = {
    "OAUTH_CLIENT_ID": "x",
    "OAUTH_CLIENT_SECRET": "x",
    "OAUTH_SCOPES": "openid",
    "OPENID_PROVIDER_URL": "http://x",
}
SPACE = {"SYSTEM": "spaces", "SPACE_ID": "me/distill"}


def space(monkeypatch, given=GIVEN):
    """As on a Space with sign-in: what gradio has read already is set too."""
    for name, value in {**SPACE, **given}.items():
        monkeypatch.setenv(name, value)
    for name, value in given.items():
        monkeypatch.setattr(gradio.oauth, name, value)


@contextmanager
def browser(page, name=None, token=VISITORS):
    """A client of the page; of whoever signed in as `name` and was given `token`, None for who didn't."""
    import itsdangerous

    client = TestClient(gr.mount_gradio_app(FastAPI(), page, path=""), base_url="https://testserver")
    with client:
        if name:
            info = {"access_token": token, "scope": "openid", "expires_at": int(time.time()) + 99}
            info["userinfo"] = {"preferred_username": name}
            secret = gradio.oauth.hashlib.sha256(b"x-v4").hexdigest()
            session = base64.b64encode(json.dumps({"oauth_info": info}).encode())
            client.cookies.set("session", itsdangerous.TimestampSigner(secret).sign(session).decode())
        yield client
