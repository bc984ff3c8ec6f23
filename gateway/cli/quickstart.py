"""The first run: a caller key made on the spot, and three lines to try it."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.callers.keys import digest, new_key
from gateway.cli.errors import Failure
from gateway.cli.keys import caller_row

CALLER = "quickstart"


def prepare(policies: Path, data_dir: Path) -> str:
    """The key of the quickstart caller: made at the first run, kept in the data folder for its owner's eyes only."""
    key_file = data_dir / "quickstart.key"
    row_file = policies / "quickstart.local.yaml"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        key = key_file.read_text().strip() if key_file.exists() else _keep(key_file)
        row = "# Written by 'gateway serve --quickstart'. Not for production: remove it there.\n"
        row += caller_row(CALLER, "quickstart", digest(key), ["*"])
        if not row_file.exists() or row_file.read_text() != row:
            row_file.write_text(row)
    except OSError as error:
        raise Failure(f"--quickstart writes {key_file} and {row_file}: {error.strerror}") from None
    return key


def _keep(file: Path) -> str:
    key = new_key()
    write_secret(file, key)
    return key


def write_secret(file: Path, value: str) -> None:
    """Readable by its owner only, from the first byte on."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(value + "\n")


def banner(base_url: str, key: str, model: str) -> str:
    return f"""
  base URL   {base_url}
  API key    {key}

  curl    curl {base_url}/chat/completions -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
            -d '{{"model":"{model}","messages":[{{"role":"user","content":"Hello"}}]}}'

  Python  OpenAI(base_url="{base_url}", api_key="{key}").chat.completions.create(
            model="{model}", messages=[{{"role": "user", "content": "Hello"}}])

  Node    await new OpenAI({{ baseURL: "{base_url}", apiKey: "{key}" }}).chat.completions.create(
            {{ model: "{model}", messages: [{{ role: "user", content: "Hello" }}] }})

  The model "{model}" is built in and needs no account. Set OPENAI_API_KEY and restart to reach OpenAI's models.
"""
