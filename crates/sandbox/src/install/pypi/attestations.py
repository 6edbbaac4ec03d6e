"""Fetches what the index has of attestations for a project's files: `PROJECT OUT SHA256...`, one JSON object of file names."""

import json
import os
import re
import subprocess
import sys
import urllib.request

MOST_FILES = 4  # of one version; each is a request
MOST_BYTES = 8 * 1024 * 1024  # the list of a project with thousands of files


def index():
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if os.environ.get(name):
            return os.environ[name]
    asked = subprocess.run([sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True)
    return asked.stdout.strip() or "https://pypi.org/simple"


def fetch(url, accept):
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept}), timeout=20) as answer:
        return answer.read(MOST_BYTES)


project, out, digests = sys.argv[1], sys.argv[2], set(sys.argv[3:])
listed = json.loads(fetch(f"{index().rstrip('/')}/{re.sub('[-_.]+', '-', project).lower()}/", "application/vnd.pypi.simple.v1+json"))
attested = [file for file in listed["files"] if file.get("provenance") and file["hashes"].get("sha256") in digests]
found = {file["filename"]: json.loads(fetch(file["provenance"], "application/json")) for file in attested[:MOST_FILES]}
with open(out, "w", encoding="utf-8") as file:
    json.dump(found, file)
