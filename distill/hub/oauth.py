"""Sign-in with Hugging Face on the page: whether this server has it, and if not, why.

It goes by what a Space's environment says and by what is installed; it knows nothing of pages, and reads no token.
"""

from __future__ import annotations

import importlib.util
import os

_GIVEN = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL")  # by hf_oauth: true
_PACKAGES = ("authlib", "itsdangerous")


def why_not() -> str:
    """Why nobody can sign in here, in words that follow a colon; "" where they can.

    Anything missing would end gradio's launch() as soon as the page has a sign-in button, so it has one only then.
    """
    if not os.environ.get("SPACE_ID"):
        return "it is for Spaces with hf_oauth: true"
    if os.environ.get("SYSTEM") != "spaces" or not all(os.environ.get(name) for name in _GIVEN):
        return "hf_oauth: true is not in this Space's README.md"
    if not all(importlib.util.find_spec(package) for package in _PACKAGES):
        return f"{' or '.join(_PACKAGES)} is not installed: pip install 'gradio[oauth]'"
    return ""
