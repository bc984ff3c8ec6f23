"""The line of a call."""

import io

import orjson

from gateway.core.model import Record
from gateway.sinks.log import MAX_TEXT, CallLog, call_fields, make_log


class Stream(io.TextIOWrapper):
    def isatty(self):
        return False


def lines_of(record):
    raw = io.BytesIO()
    stream = Stream(raw, write_through=True)
    CallLog(make_log("json", "info", stream)).record(record)
    return raw.getvalue().splitlines()


def settled(**facts):
    record = Record(call_id="req_1", started_at=0.0, started=0.0)
    for name, value in facts.items():
        setattr(record, name, value)
    return record


def test_a_call_is_one_json_line():
    (line,) = lines_of(settled(status=200, outcome="ok", caller="app", model="m"))
    event = orjson.loads(line)
    assert (event["event"], event["call"], event["status"], event["caller"]) == ("call", "req_1", 200, "app")


def test_control_characters_stay_inside_one_line_and_are_escaped():
    """LOG-03"""
    (line,) = lines_of(settled(model='a\r\n{"event":"fake"}\x1b[31m\u2028', path="/v1/\x00x"))
    event = orjson.loads(line)
    assert all(character.isprintable() for character in event["model"] + event["path"])


def test_what_a_caller_chose_is_cut_to_a_bounded_length():
    """LOG-03"""
    assert len(call_fields(settled(path="/v1/" + "x" * 1_000_000))["path"]) <= MAX_TEXT
