"""The gate, with one toy guard whose findings and open tails are plain to see."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.span import Delta
from gateway.engine.gate import LEFT_CONTEXT, Gate, TooMuchHeld
from gateway.masks.edits import Edit

SECRET = re.compile(r"(?:code |)\b[a-z]+@[a-z]+\b")
RUN = re.compile(r"[a-z@]*\Z")


def open_tail(text, state):
    run = RUN.search(text.raw)
    start = run.start()
    if text.raw.endswith("code ", 0, start):
        start -= 5
    return len(text.raw) - start + (0 if run.group() else 5 if text.raw.endswith("code ") else 0)


def decide(window):
    edits = [Edit(found.start(), found.end(), "[X]") for found in SECRET.finditer(window.text.raw)]
    return edits, window.until


def rewrite(frame, texts):
    values = json.loads(frame)
    for (index,), value in texts.items():
        values[index] = value
    return json.dumps(values).encode()


def stream(pieces, gate=None):
    """Feeds one frame for each list of (lane, text); what left, by lane, and what had left after each frame."""
    gate = gate or Gate(open_tail, decide, rewrite)
    frames, sofar = [], []
    for parts in pieces:
        frame = json.dumps([text for _, text in parts]).encode()
        gate.feed(frame, [Delta(lane, text, "assistant", "content", (at,)) for at, (lane, text) in enumerate(parts)])
        frames += gate.release()
        sofar.append(len(frames))
    frames += gate.end()
    return frames, sofar


def text_of(frames, pieces, lane):
    shown = [json.loads(frame) for frame in frames]
    return "".join(
        value
        for values, parts in zip(shown, pieces, strict=True)
        for value, (name, _) in zip(values, parts, strict=True)
        if name == lane
    )


WORDS = st.lists(
    st.sampled_from(["hi", "code ", "a@b", "me@you", " ", "\n", "@", "x", ". ", "é", "code me@you "]), max_size=30
)


@given(WORDS, st.lists(st.integers(1, 9), min_size=1, max_size=8))
@settings(max_examples=300)
def test_the_text_that_leaves_is_the_same_for_every_chunking_and_shows_no_byte_of_a_finding(words, sizes):
    """I4, GRD-03"""
    text = "".join(words)
    pieces, at, turn = [], 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        pieces.append([("a", text[at : at + size])])
        at, turn = at + size, turn + 1
    frames, _ = stream(pieces)
    assert text_of(frames, pieces, "a") == SECRET.sub("[X]", text)


@given(WORDS, WORDS, st.randoms(use_true_random=False))
@settings(max_examples=150)
def test_lanes_never_mix_and_frames_never_change_their_order(one, two, random):
    texts = {"a": "".join(one), "b": "".join(two)}
    left = dict(texts)
    pieces = []
    while any(left.values()):
        lane = random.choice([name for name, text in left.items() if text])
        size = random.randint(1, 5)
        pieces.append([(lane, left[lane][:size])])
        left[lane] = left[lane][size:]
    frames, _ = stream(pieces)
    assert len(frames) == len(pieces)
    for lane, text in texts.items():
        assert text_of(frames, pieces, lane) == SECRET.sub("[X]", text)


def test_untouched_frames_leave_byte_for_byte():
    """I3"""
    gate = Gate(open_tail, decide, rewrite)
    odd = b'[ "plain \\u0074ext. " ]'
    gate.feed(odd, [Delta("a", "plain text. ", "assistant", "content", (0,))])
    assert gate.release() == [odd]


def test_prose_flows_and_only_the_last_word_is_held():
    pieces = [[("a", word)] for word in ["Once ", "upon ", "a ", "time", " there", " was."]]
    _, sofar = stream(pieces)
    assert sofar == [1, 2, 3, 3, 4, 6]


def test_a_frame_without_text_waits_for_those_before_it():
    gate = Gate(open_tail, decide, rewrite)
    gate.feed(b'["a@b"]', [Delta("a", "a@b", "assistant", "content", (0,))])
    gate.feed(b": comment\n\n")
    assert gate.release() == []
    assert gate.end() == [b'["[X]"]', b": comment\n\n"]


def test_a_lane_that_is_complete_holds_nothing():
    gate = Gate(open_tail, decide, rewrite)
    gate.feed(b'["word"]', [Delta(("content", 0), "word", "assistant", "content", (0,))])
    gate.feed(b'["other"]', [Delta(("content", 1), "other", "assistant", "content", (0,))])
    assert gate.release() == []
    assert gate.end(lambda lane: lane[1] == 0) == [b'["word"]']


def test_a_text_that_an_event_repeats_is_judged_by_itself():
    gate = Gate(open_tail, decide, rewrite)
    gate.feed(b'["done a@b"]', [Delta("a", "done a@b", "assistant", "content", (0,), whole=True)])
    assert gate.release() == [b'["done [X]"]']


def test_words_before_a_finding_are_seen_though_they_have_left():
    pieces = [[("a", "x " * LEFT_CONTEXT * 3)], [("a", "code ")], [("a", "me@you")], [("a", " end ")]]
    frames, _ = stream(pieces)
    assert text_of(frames, pieces, "a").endswith("x [X] end ")


def test_a_lane_keeps_little_of_what_has_left():
    gate = Gate(open_tail, decide, rewrite)
    for _ in range(1000):
        gate.feed(b'["word word "]', [Delta("a", "word word ", "assistant", "content", (0,))])
        gate.release()
    assert len(gate._lanes["a"].text) < 3 * LEFT_CONTEXT


def test_a_stream_that_never_ends_a_word_is_refused_at_last():
    gate = Gate(open_tail, decide, rewrite)
    with pytest.raises(TooMuchHeld):
        for _ in range(200):
            gate.feed(b"[]", [Delta("a", "x" * 10_000, "assistant", "content", (0,))])


def test_what_the_guards_raise_passes_through():
    class Blocked(Exception):
        pass

    def block(window):
        if SECRET.search(window.text.raw):
            raise Blocked
        return [], window.until

    gate = Gate(open_tail, block, rewrite)
    gate.feed(b'["fine "]', [Delta("a", "fine ", "assistant", "content", (0,))])
    assert gate.release() == [b'["fine "]']
    gate.feed(b'["a@b "]', [Delta("a", "a@b ", "assistant", "content", (0,))])
    with pytest.raises(Blocked):
        gate.release()
