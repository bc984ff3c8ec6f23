"""The line of a call."""

import asyncio
import io
import re
from select import PIPE_BUF

import orjson
import pytest

from gateway.core.model import Attempt, Record
from gateway.core.rules import Verdict
from gateway.core.trace import Trace
from gateway.sinks.log import MAX_TEXT, CallLog, Lines, call_fields, make_log
from tests.sinks.calls import CALLS


class Stream(io.TextIOWrapper):
    def isatty(self):
        return False


def written(tell, format_="json", level="info"):
    """What `tell` makes a log write."""
    raw = io.BytesIO()
    stream = Stream(raw, write_through=True)
    tell(make_log(format_, level, stream))
    return raw.getvalue()


def tell(log, *records):
    calls = CallLog(log)
    for record in records:
        calls.record(record)
    calls.flush()


def lines_of(*records):
    return written(lambda log: tell(log, *records)).splitlines()


def settled(**facts):
    record = Record(call_id="req_1", started_at=0.0, started=0.0)
    for name, value in facts.items():
        setattr(record, name, value)
    return record


def test_a_call_is_one_json_line():
    (line,) = lines_of(settled(status=200, outcome="ok", caller="app", model="m"))
    event = orjson.loads(line)
    assert (event["event"], event["call"], event["status"], event["caller"]) == ("call", "req_1", 200, "app")


def test_calls_told_together_are_a_line_each():
    lines = lines_of(*(Record(f"req_{number}", 0.0, 0.0) for number in range(3)))
    assert [orjson.loads(line)["call"] for line in lines] == ["req_0", "req_1", "req_2"]


def test_no_call_is_told_twice_and_where_there_is_none_nothing_is_written():
    def once(log):
        calls = CallLog(log)
        calls.flush()
        calls.record(settled())
        calls.flush()
        calls.flush()

    assert written(once).count(b"\n") == 1


def test_control_characters_stay_inside_one_line_and_are_escaped():
    """LOG-03"""
    (line,) = lines_of(settled(model='a\r\n{"event":"fake"}\x1b[31m\u2028', path="/v1/\x00x"))
    event = orjson.loads(line)
    assert all(character.isprintable() for character in event["model"] + event["path"])


def test_what_a_caller_chose_is_cut_to_a_bounded_length():
    """LOG-03"""
    assert len(call_fields(settled(path="/v1/" + "x" * 1_000_000))["path"]) <= MAX_TEXT


def hostile():
    """Every value as long and as odd as it can get: a caller's, a provider's and a detector's."""
    attempts = [Attempt(f"a_{number}", number, "p", "x", 0.0, 0.0) for number in range(8)]
    for attempt in attempts:
        attempt.flags, attempt.cost_nano = ("estimated", "unpriced", "late", "cut", "unknown"), 10**30
    kinds = {f"{'K' * 60}{number:04d}": 10**9 for number in range(1000)}
    verdicts = [
        Verdict(
            f"{'g' * 29}{number:03d}", direction, enforced=False, kinds=kinds, reason="too many matches", looked=True
        )
        for number in range(100)
        for direction in ("input", "output")
    ]
    verdicts[150].outcome = "block"
    return settled(
        method="\x00" * 1_000_000, path="\U0001f600" * 1_000_000, model="\x01" * 1_000_000, upstream_model='"\\' * 500_000,
        caller="\U0001f600" * 256, team="\U0001f600" * 256, unknown_fields=("x" * 40,) * 100_000, detail="\x1b" * 1_000_000,
        verdicts=verdicts, attempts=attempts, trace=Trace(2**128 - 1, 2**64 - 1), error="guard_blocked", first_byte_s=1.0,
    )  # fmt: skip


def test_the_line_of_a_call_is_at_most_ten_kilobytes_long():
    """LOG-04"""
    (line,) = lines_of(hostile())
    assert len(line) <= 10_000


def test_of_many_verdicts_the_gravest_are_told_and_all_findings_counted():
    """LOG-04: nobody hides a block behind a thousand harmless findings."""
    fields = call_fields(hostile())
    assert fields["guards"][0]["verdict"] == "block"
    assert fields["guards_left_out"] + len(fields["guards"]) == 200
    assert sum(fields["guards"][0]["kinds"].values()) == 1000 * 10**9


def test_the_providers_name_of_a_model_is_short_and_printable_too():
    """LOG-03, LOG-04: where policy sends any name on, it is what the caller wrote."""
    named = call_fields(settled(upstream_model="\x1b[31m" + "x" * 1_000_000))["upstream_model"]
    assert named.isprintable()
    assert len(named) <= MAX_TEXT


@pytest.mark.parametrize(
    "bound", [{}, {"worker": 7}, {"worker": 7, "status": "bound"}], ids=["plain", "bound", "clash"]
)
@pytest.mark.parametrize("make", CALLS.values(), ids=CALLS)
def test_the_line_of_a_call_is_the_one_that_structlog_would_write(make, bound):
    record = make()
    own = written(lambda log: tell(log.bind(**bound), record))
    chained = written(lambda log: log.bind(**bound).info("call", **call_fields(record)))
    time = re.compile(rb',"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"}\n\Z')
    assert time.sub(b"", own) == time.sub(b"", chained)
    assert time.search(own)


def test_calls_are_told_at_the_level_info():
    assert written(lambda log: tell(log, settled()), level="debug")
    assert not written(lambda log: tell(log, settled()), level="warning")


def test_a_call_is_readable_text_on_a_console():
    text = written(lambda log: tell(log.bind(worker=7), settled(status=200)), format_="console").decode()
    assert re.match(r"\S+Z \[info +\] call ", text)
    assert "worker=7" in text
    assert "status=200" in text


@pytest.mark.parametrize("seconds", [0.0, 1.6529957e-06, 0.0078125, 0.0234375, 0.2112345, 59.9999996, 3600.00001])
def test_durations_are_milliseconds_to_three_decimals(seconds):
    assert call_fields(settled(duration_s=seconds))["ms"] == round(seconds * 1000, 3)


class Pipe(io.BytesIO):
    """Keeps each write apart."""

    def __init__(self):
        super().__init__()
        self.writes = []

    def write(self, data):
        self.writes.append(bytes(data))
        return super().write(data)


async def test_lines_leave_in_parts_that_a_pipe_takes_whole_so_that_workers_can_share_it():
    some = [b"%d %b\n" % (number, b"x" * 300) for number in range(40)]
    lines = [*some, b"".join(some), b"y" * 10_000 + b"\n", b"z\n"]
    pipe = Pipe()
    out = Lines(pipe)
    with out.gathered(asyncio.get_running_loop()):
        for line in lines:
            out.write(line)
            out.flush()
    assert b"".join(pipe.writes) == b"".join(lines)
    assert len(pipe.writes) < 12
    assert all(part.endswith(b"\n") for part in pipe.writes)
    assert [len(part) for part in pipe.writes if len(part) > PIPE_BUF] == [10_001]
