"""The two errors a user may see. Everything else that escapes is a bug, and deserves its traceback.

The message is one plain sentence that says what is wrong, where, and what to do about it. Whoever shows it (the command
line, a page of the interface) shows it as it is. This module knows nothing of how errors are shown or logged.
"""


class UserError(Exception):
    """Something the user can put right; `str(error)` is the one sentence to show. The command exits with 1."""

    exit_code = 1


class ConfigError(UserError):
    """The configuration itself is wrong (an unknown key, an impossible combination). The command exits with 2."""

    exit_code = 2
