"""The first thing a Job does: fetch this package from the repository it was put in, install what it needs, begin.

jobs.py sends this file's text along; it needs Python and huggingface_hub alone.
"""

import os
import sys
import tempfile
import time
import zipfile


def main() -> None:
    """Replace this process by distill.hub.job_worker, from the fetched code and with its packages."""
    from huggingface_hub import hf_hub_download

    os.environ["DISTILL_BEGAN"] = str(time.time())
    os.environ.pop("DISTILL_BOOT", None)
    code = tempfile.mkdtemp(prefix="distill-")
    with zipfile.ZipFile(hf_hub_download(os.environ["DISTILL_REPO"], os.environ["DISTILL_CODE"])) as archive:
        archive.extractall(code)
    os.chdir(code)
    print("distill: the code is here; installing the packages it needs", flush=True)
    command = ["uv", "run", "--no-project", "--with-requirements", "requirements.txt"]
    command += ["--with", os.environ["DISTILL_WITH"]] if os.environ.get("DISTILL_WITH") else []
    command += ["python", "-m", "distill.hub.job_worker"]
    sys.stdout.flush()
    os.execvp(command[0], command)


main()
