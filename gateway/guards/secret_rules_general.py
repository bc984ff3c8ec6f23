"""What has no vendor: private keys, JWT, passwords in URLs and connection strings, headers, values given to names."""

from __future__ import annotations

from gateway.guards.secret_rules import END, Rule, word
from gateway.guards.secret_rules_judges import basic, bearer, given, jwt, key_block, password, url_password

# A block's lines: base64 in runs of 16, line ends (also escaped, as in JSON), quotes and signs that join quoted lines,
# and the lines "Name: value" of PEM, PGP and SSH. Prose ends a block, as its words are shorter.
GLUE = r"""(?:\\+[nrt]|[\s"'`+,.>#*|\\])"""
_ATTRIBUTE = r"(?:Proc-Type|DEK-Info|Version|Comment|Hash|Charset|Subject|X-[\w-]{1,20}): ?[^\n\\]{0,120}(?:\n|\\+n)"
LINE = rf"(?:{GLUE}{{0,80}}(?:[A-Za-z0-9+/=]{{16,}}|{_ATTRIBUTE}))"
_REST = rf"(?:{GLUE}{{0,80}}[A-Za-z0-9+/=]{{1,15}}){{0,3}}"
HEAD = r"-{4,5} ?BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)? ?-{4,5}"
FOOT = r"-{4,5} ?END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)? ?-{4,5}"
PRIVATE_KEY = rf"{HEAD}{LINE}{{0,}}(?:{_REST}{GLUE}{{0,80}}{FOOT}|{_REST}$|)"
PUTTY_HEAD = r"PuTTY-User-Key-File-[23]: ?"
PUTTY_LINE = r"(?:[A-Z][A-Za-z0-9-]{1,30}: ?[^\n]{0,120}\n|[A-Za-z0-9+/=]{1,64}\r?\n)"
PUTTY = (
    rf"{PUTTY_HEAD}[\w-]{{1,40}}\s{{1,4}}{PUTTY_LINE}{{1,}}"
    r"(?:Private-MAC: ?[0-9a-f]{40,64}|[A-Za-z0-9+/=]{0,64}$|)"
)
JWT = rf"\b(eyJ[A-Za-z0-9_-]{{10,}}\.[A-Za-z0-9_-]{{10,}}\.[A-Za-z0-9_-]{{16,}}){END}"
_B64 = "[A-Za-z0-9_-]"
JWE = rf"\b(eyJ{_B64}{{10,}}\.{_B64}{{0,}}\.{_B64}{{10,}}\.{_B64}{{10,}}\.{_B64}{{16,}}){END}"

_NAME = (
    r"(?i:api[_.-]?key|access[_.-]?key|secret[_.-]?key|private[_.-]?key|encrypt(?:ion)?[_.-]?key|sign(?:ing|ature)?[_.-]?key"
    r"|auth[_.-]?key|account[_.-]?key|master[_.-]?key|shared[_.-]?key|service[_.-]?key|license[_.-]?key|hmac[_.-]?key"
    r"|secret|token|credential)"
)
_MORE = (
    r"(?i:[_.-]?(?:value|key|token|text|string|access|v?\d{1,2}|prod|production|dev|staging|live|test"
    r"|base64|b64|hex))?s?"
)
_PASSWORD = r"(?i:passw(?:or)?d|passphrase|pass[_-]?word|passwd|pwd|_pass)"  # noqa: S105 - a pattern
_SEP = r"""["'`\])\\]{0,4}[ \t]{0,8}(?:=>|:=|==?|:|,|>|[ \t]is[ \t])[ \t]{0,8}"""
_QUOTED = r"""\\?"([^"\s\\]{8,256})\\?"|\\?'([^'\s\\]{8,256})\\?'|`([^`\s]{8,256})`"""
_BARE = r"""([^\s"'`<>(){}\[\],;\\]{8,256})(?:[\s"'`<>,;)}\]\\]|$)"""
_VALUE = rf"(?:{_QUOTED}|{_BARE})"
ASSIGNED = f"{_NAME}{_MORE}{_SEP}{_VALUE}"
PASSWORD = f"{_PASSWORD}{_MORE}{_SEP}{_VALUE}"

CONNECTION = (
    "server|data source|driver|host|hostname|uid|user id|user|username|accountname|database|initial catalog|dsn|dbname"
)
"""What a connection string names before its password."""
_URL_PART = r"[^\s:@/\"'`<>{}$\\()]"


def rules(min_entropy: float) -> tuple[Rule, ...]:
    """`min_entropy`: bits a character of what is given to the name of a secret."""
    return (
        Rule("private-key", "PRIVATE_KEY", "", PRIVATE_KEY, ("private key",), key_block, long=True, cut=True),
        Rule("putty-key", "PRIVATE_KEY", "", PUTTY, ("putty-user-key-file",), key_block, long=True, cut=True),
        Rule("jwt", "JWT", "", JWT, ("eyj",), jwt, long=True),
        Rule("jwe", "JWT", "", JWE, ("eyj",), jwt, long=True),
        word(
            "database-url",
            "CONNECTION_STRING_PASSWORD",
            "",
            rf"\b(?i:postgres(?:ql)?|mysql|mariadb|mongodb|redis|rediss|valkey|amqps?|mssql|sqlserver|oracle|clickhouse|cockroachdb|snowflake|redshift|couchdb|neo4j|bolt|nats|kafka|cassandra|ldaps?|smtps?|imaps?|ftps?|sftp)(?i:\+[a-z0-9]{{1,16}})?://{_URL_PART}{{0,80}}:([^\s@/\"'`<>{{}}\\]{{3,200}})@[\w.\[-]",
            ("://",),
            url_password,
        ),
        word(
            "url-password",
            "URL_PASSWORD",
            "",
            rf"\b[A-Za-z][A-Za-z0-9+.-]{{1,20}}://{_URL_PART}{{1,80}}:({_URL_PART}{{3,200}})@[\w.\[-]",
            ("://",),
            url_password,
        ),
        word(
            "url-token",
            "URL_PASSWORD",
            "",
            r"\bhttps?://([A-Za-z0-9_-]{20,200})(?::x-oauth-basic)?@[\w.-]",
            ("://",),
            bearer,
        ),
        Rule(
            "connection-string",
            "CONNECTION_STRING_PASSWORD",
            "",
            rf"(?i:{CONNECTION})"
            r"(?i:[ \t]{0,2}=[^;\n\"']{1,120};(?:[a-z ]{1,30}=[^;\n\"']{0,120};){0,3}"
            r"[ \t]{0,2}(?:password|pwd)[ \t]{0,2}=[ \t]{0,2})([^;\s\"'<>{}$]{3,120})",
            ("password", "pwd"),
            url_password,
        ),
        word(
            "jdbc-password",
            "CONNECTION_STRING_PASSWORD",
            "",
            r"(?i:jdbc:[a-z0-9:]{2,40}[^\s\"']{1,200}[?&;](?:password|pwd)=)([^&;\s\"'<>{}$]{3,120})",
            ("jdbc:",),
            url_password,
        ),
        Rule(
            "basic-auth",
            "BASIC_AUTH",
            "",
            r"(?i:\bbasic)[ \t]{1,3}([A-Za-z0-9+/_-]{8,256}={0,2})(?:[^A-Za-z0-9+/=_-]|$)",
            ("basic",),
            basic,
        ),
        Rule(
            "bearer-auth",
            "BEARER_TOKEN",
            "",
            r"(?i:\bbearer)[ \t]{1,3}([A-Za-z0-9._~+/-]{16,400}={0,2})(?:[^A-Za-z0-9._~+/=-]|$)",
            ("bearer",),
            bearer,
            weak=True,
        ),
        Rule(
            "token-auth",
            "BEARER_TOKEN",
            "",
            r"(?i:authorization[\"']{0,2}[ \t]{0,3}[:=,][ \t]{0,3}[\"']?"
            r"(?:(?:token|apikey|key|api-key|x-api-key)[ \t]{1,3})?)([A-Za-z0-9._~+/=-]{20,400})"
            r"(?:[^A-Za-z0-9._~+/=-]|$)",
            ("authorization",),
            bearer,
            weak=True,
        ),
        word(
            "curl-user",
            "PASSWORD",
            "",
            r"\bcurl[^\n|;]{0,120}[ \t](?:-u|--user)[ \t=]{0,3}[\"']?[\w.@-]{1,60}:([^\s\"'$<>]{3,100})",
            ("curl",),
            url_password,
        ),
        Rule("password", "PASSWORD", "", PASSWORD, ("pass", "pwd"), password(min_entropy), weak=True),
        Rule(
            "secret",
            "SECRET",
            "",
            ASSIGNED,
            ("key", "secret", "token", "credential"),
            given(min_entropy),
            weak=True,
        ),
    )
