"""Process settings: everything that is about this process and not about what is allowed (that is policy).

Read once from the environment, typed, frozen; a wrong value is one clear line that names the variable and the fix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from gateway.core.secret import Secret


class SettingsError(ValueError):
    """One setting is wrong; the message names it and says what to do."""


def _setting(default: object, help_: str, parse: Callable[[str], object]) -> Any:
    return field(default=default, metadata={"help": help_, "parse": parse})


def _integer(low: int, high: int) -> Callable[[str], object]:
    def parse(text: str) -> int:
        # isascii: int() would also take other scripts' digits, signs, blanks and underscores.
        if not (text.isascii() and text.isdigit() and low <= int(text[:19]) <= high):
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    if not (text.isascii() and text.replace(".", "", 1).isdigit()) or not 0 < float(text) <= 86_400:
        raise ValueError("a number of seconds above 0 and at most 86400")
    return float(text)


def _seconds_or_zero(text: str) -> float:
    return 0.0 if text == "0" else _seconds(text)


def _one_of(*choices: str) -> Callable[[str], object]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError("one of " + ", ".join(choices))
        return text

    return parse


def _url(text: str) -> Secret:
    """May hold a password, so it is shown nowhere."""
    if ":" not in text or not text.isprintable():
        raise ValueError("a URL")
    return Secret(text)


def _secret(text: str) -> Secret:
    if len(text) < 16 or "example" in text or "changeme" in text:
        raise ValueError("a secret of at least 16 characters that is not an example value")
    return Secret(text)


@dataclass(frozen=True, slots=True)
class Settings:
    """One attribute a variable: `max_connections` is read from ``GATEWAY_MAX_CONNECTIONS``."""

    policies: Path = _setting(Path("policies"), "folder of the policy files", Path)
    data_dir: Path = _setting(Path("data"), "folder for what the gateway keeps", Path)
    host: str = _setting("127.0.0.1", "address that callers connect to", str)
    port: int = _setting(8080, "port that callers connect to; 0 picks a free one", _integer(0, 65535))
    admin_host: str = _setting("127.0.0.1", "address of the admin listener", str)
    admin_port: int = _setting(8081, "port of the admin listener; 0 picks a free one", _integer(0, 65535))
    admin_token: Secret | None = _setting(
        None, "token of the admin listener; none: made at the first start and kept in the data folder", _secret
    )
    admin_token_file: Path | None = _setting(None, "file that holds the admin token", Path)
    mask_key: Secret | None = _setting(
        None,
        "keys hashes and stable placeholders of masked values; none: made once and kept in the data folder",
        _secret,
    )
    ledger: Secret | None = _setting(
        None, "where usage is kept: sqlite:FILE or postgresql://...; none: ledger.db in the data folder", _url
    )
    ledger_sync: Literal["full", "normal"] = _setting(
        "full", "SQLite: full survives a power cut, normal the death of the process", _one_of("full", "normal")
    )
    ledger_retention_days: int = _setting(
        400, "attempts older than this are kept as daily sums only", _integer(35, 36_500)
    )
    store: Secret | None = _setting(
        None,
        "counters shared by all processes: redis://..., rediss://..., redis+sentinel://..., redis+cluster://...; "
        "none: in memory, for one process",
        _url,
    )
    store_deadline_s: float = _setting(0.25, "longest time that the store may take to answer", _seconds)
    workers: int = _setting(1, "worker processes", _integer(1, 64))
    log_format: Literal["auto", "json", "console"] = _setting(
        "auto", "json, console, or auto (console on a terminal)", _one_of("auto", "json", "console")
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "lowest level that is logged", _one_of("debug", "info", "warning", "error")
    )
    audit_file: Path | None = _setting(None, "file that the lines of the audit are appended to, besides the log", Path)
    max_connections: int = _setting(10_000, "open caller connections a worker", _integer(1, 1_000_000))
    header_timeout_s: float = _setting(10.0, "longest time for a request's header block to arrive", _seconds)
    body_timeout_s: float = _setting(30.0, "longest pause while a request body arrives", _seconds)
    body_min_rate: int = _setting(1024, "bytes a second that a request body must keep up", _integer(0, 1 << 30))
    idle_timeout_s: float = _setting(75.0, "longest time that an idle connection stays open", _seconds)
    write_timeout_s: float = _setting(60.0, "longest time that a caller may refuse to read", _seconds)
    drain_delay_s: float = _setting(5.0, "time to go on accepting after SIGTERM", _seconds_or_zero)
    grace_s: float = _setting(120.0, "time for running calls to end after that", _seconds_or_zero)
    reload_interval_s: float = _setting(1.0, "how often the policy files are looked at", _seconds)
    ready_file: Path | None = _setting(None, "file to write the bound addresses to, once ready", Path)


def variable(name: str) -> str:
    return f"GATEWAY_{name.upper()}"


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Raises SettingsError for a wrong value and for a GATEWAY_ variable that does not exist."""
    known = {variable(entry.name): entry for entry in fields(Settings)}
    values: dict[str, Any] = {}
    for name, text in environ.items():
        if not name.startswith("GATEWAY_"):
            continue
        if name not in known:
            raise SettingsError(
                f"{name}: there is no such setting; `gateway serve --help` lists them{_hint(name, text)}"
            )
        values[known[name].name] = _parsed(name, text, known[name].metadata["parse"])
    return Settings(**values)


def _parsed(name: str, text: str, parse: Callable[[str], object]) -> object:
    if not text.strip():
        raise SettingsError(f"{name} is empty: set a value, or unset it for the default")
    try:
        return parse(text)
    except ValueError as error:
        raise SettingsError(f"{name}: expected {error}{_hint(name, text)}") from None


def _hint(name: str, text: str) -> str:
    """Kubernetes sets such variables in every pod beside a Service that is named gateway."""
    injected = text.startswith("tcp://") or name.startswith(("GATEWAY_SERVICE_", "GATEWAY_PORT_"))
    return "; Kubernetes sets it for a Service named gateway: set enableServiceLinks: false" if injected else ""
