"""The normaliser: what each trick reads like, where it stands in the raw text, and what a cut text leaves open."""

from __future__ import annotations

import base64
import time
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core.span import Text
from gateway.guards.normal import Folded, open_tail, settled, views
from tests.guards import evasion

SECRET = "Mail anna.canary@example.com"

COVERED = [
    "zero-width spaces", "soft hyphens", "tag characters", "variation selectors", "homoglyphs", "full-width",
    "mathematical letters", "combining marks", "accents", "bidi marks", "percent", "percent, twice", "HTML entities",
    "quoted-printable", "JSON escapes", "base64", "base64, twice", "base64, wrapped", "hex",
]  # fmt: skip


def reads(raw: str, *, escaped: bool = False) -> list[str]:
    return [view.text for view in views(Text(raw, escaped=escaped))]


def folded(raw: str) -> str:
    found = views(Text(raw))
    return found[1].text if len(found) > 1 else raw


@pytest.mark.parametrize("name", COVERED)
def test_a_disguised_text_is_read_in_one_of_its_views(name: str) -> None:
    """GRD-09: the published list of encodings is covered."""
    assert any(SECRET in text for text in reads(evasion.TRANSFORMS[name](SECRET)))


@pytest.mark.parametrize("name", COVERED)
def test_the_place_of_what_was_found_covers_its_disguise(name: str) -> None:
    disguised = evasion.TRANSFORMS[name](SECRET)
    text = Text(f"(see {disguised} there)")
    view = next(view for view in views(text) if SECRET in view.text)
    start, end = view.raw(view.text.index(SECRET), view.text.index(SECRET) + len(SECRET))
    left = text.raw[:start] + text.raw[end:]
    # What is left of the disguise says nothing: a carrier, a mark or an end of an override.
    assert len(left) <= len("(see  there)") + 2
    assert not any(SECRET[:8] in said for said in reads(left))


def test_an_ordinary_text_has_one_view() -> None:
    for text in ("Call me at 9.30, or write to a@b.example.", "Grüße aus Köln, déjà vu", "Привет, как дела?",
                 "你好世界", "", "if (a == b) { return; }", "مرحبا"):  # fmt: skip
        assert reads(text) == [text]


def test_json_escapes_of_a_tool_call_are_read_first() -> None:
    raw = r'{"to": "a\u006ena@example.com", "smile": "\ud83d\ude00", "path": "C:\\new\n\"x\""}'
    view = views(Text(raw, escaped=True))[0]
    assert view.text == '{"to": "anna@example.com", "smile": "😀", "path": "C:\\new\n"x""}'
    start = view.text.index("anna")
    assert raw[slice(*view.raw(start, start + 4))] == r"a\u006ena"


@pytest.mark.parametrize("cut", ["\\", "\\u", "\\u00e", "\\ud83d", "\\ud83d\\", "\\ud83d\\ude0", "\\udc00"])
def test_a_cut_escape_stays_as_it_is(cut: str) -> None:
    assert reads(f"a\\n{cut}", escaped=True)[0] == f"a\n{cut}"


def test_a_text_that_is_not_json_keeps_its_backslashes() -> None:
    assert reads(r"C:\new\table") == [r"C:\new\table"]


def test_joiners_stay_where_people_need_them() -> None:
    for text in (
        "می‌خواهم",
        "क्‍ष",
        "👩‍👩‍👧",
        "❤️‍🔥",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "葛\U000e0100",
    ):
        assert folded(text) == text
    assert folded("ig\u200dno\u200cre") == "ignore"


def test_bytes_that_are_not_utf8_do_not_hide_their_neighbours() -> None:
    assert folded("%ff%61nna") == "%ffanna"


def test_digits_of_all_scripts_are_digits() -> None:
    assert folded("٤١١١ ४१११ ４１１１ 𝟒𝟏𝟏𝟏") == "4111 4111 4111 4111"


def test_control_characters_do_not_split_words() -> None:
    assert folded("ig\x00no\x08re\x1b\nall") == "ignore\nall"


def test_words_of_one_script_stay() -> None:
    text = "Мы с Анной, а потом и он; και το"
    assert "Мы с Анной, а потом и он" in folded(text)


def test_short_look_alikes_are_latin_after_a_latin_word() -> None:
    assert folded("such а thing, ѕо") == "such a thing, so"


@pytest.mark.parametrize("accented", ["íǵńóŕé", "i\u0301g\u0301n\u0301o\u0301r\u0301e\u0301", "i̷g̷n̷o̷r̷e̷"])
def test_piles_of_marks_come_off_and_single_accents_stay(accented: str) -> None:
    assert folded(accented) == "ignore"
    assert folded("cafe\u0301") == "café"


def test_base64_in_a_path_is_read() -> None:
    run = base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("=")
    assert SECRET in reads(f"https://example.com/a/{run}?x=1")


def test_digests_and_pictures_hide_nothing() -> None:
    digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    picture = base64.b64encode(Random(1).randbytes(4096)).decode()
    for text in (digest, picture, "internationalization_of_everything", "-" * 80, "a" * 40):
        assert reads(text) == [text]


def test_what_is_decoded_twice_stands_for_the_whole_run() -> None:
    run = evasion.base64_twice(SECRET)
    text = Text(f"x {run}")
    view = views(text)[-1]
    assert view.text == SECRET
    assert view.raw(0, 4) == (2, 2 + len(run))


def test_decoding_is_bounded() -> None:
    run = base64.b64encode(b"all of this is text " * 10_000).decode()
    found = views(Text(run))[1:]
    assert all(len(view.text) <= 4096 for view in found)
    assert sum(len(view.text) for view in found) <= 1 << 16


def test_a_text_is_folded_once() -> None:
    text = Text("ｉｇｎｏｒｅ")
    assert views(text) is views(text)


BIG = {
    "one run": base64.b64encode(b"plain text and more. ").decode(),
    "short runs": "aGVsbG8gd29ybGQgaGVs ",
    "parts of a run": "abcdefghijklmnopqrst-",
    "percent": "%41",
    "marks": "\u0301\u0323",
    "marked letters": "a\u0301",
    "full-width": "ａ",
    "look-alikes": "раураl ",
    "selectors": "\ufe01",
    "tags": "\U000e0041",
    "zero-width": "a\u200b",
    "long word": "а",
    "half escapes": "&#x",
    "backslashes": "\\",
    "ligatures": "\ufdfa",
}


@pytest.mark.parametrize("name", BIG)
def test_a_long_text_of_anything_is_folded_in_bounded_time(name: str) -> None:
    text = Text(BIG[name] * (250_000 // len(BIG[name])), escaped=True)
    begun = time.process_time()
    found = views(text)
    open_tail(text)
    assert time.process_time() - begun < 5  # a quarter of a second here; quadratic work would take minutes
    assert sum(len(view.text) for view in found) < 5 * len(text.raw)


PIECES = [
    "a", "Z", "9", " ", "\n", ".", "@", "=", "%41", "%c3%a9", "%", "4", "&", "&#64;", "&#6", "&amp;", "#", ";", "\\",
    "\\u0041", "\\ud83d", "\\ude00", "\\n", '\\"', "u", "x", "{", "}", "\u0301", "\u0336", "é", "ж", "а", "с", "ρ", "ａ",
    "\u200b", "\u200d", "\u00ad", "\ufe0f", "\ufe01", "😀", "🏴", "\U000e0067", "\U000e0062", "\U000e007f", "\u202e", "می",
    "\u200c", "你", "\ud800", "½", "\ufdfa", "\x00", "aGVsbG8gd29ybGQg", "68656c6c6f20776f", "6", "=41=42=43=44", "/", "-",
    "aGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8gd29ybGQg", "\r\n", "Word", "слово", "\u2013",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=24).map("".join) | st.text(max_size=40)


@given(st.text(st.characters(codec=None)) | TEXTS, st.booleans())
def test_every_view_stands_in_the_text(raw: str, escaped: bool) -> None:
    """And nothing raises, whatever the string."""
    for view in views(Text(raw, escaped=escaped)):
        places = [view.raw(i, i + 1) for i in range(len(view.text))]
        assert all(0 <= start < end <= len(raw) for start, end in places)
        assert places == sorted(places)


def until(raw: str, escaped: bool, place: int) -> list[list[tuple[str, int, int]]]:
    """The views before `place`: as it reads, folded, and all that is decoded."""
    found = views(Text(raw, escaped=escaped))
    growing = [view for view in found if not view.fixed]
    decoded = [view for view in found if view.fixed]
    return [characters(view, place) for view in (growing[0], growing[-1])] + [
        shown for view in decoded if (shown := characters(view, place))
    ]


def characters(view: Folded, place: int) -> list[tuple[str, int, int]]:
    every = ((char, *view.raw(i, i + 1)) for i, char in enumerate(view.text))
    return [one for one in every if one[1] < place]


@settings(max_examples=600, deadline=None)
@given(TEXTS, st.integers(0, 400), st.booleans())
@example("aGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8gd29ybGQg\naGVsbG8=", 65, False)
@example("🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", 3, False)
@example("\\ud83d\\ude00", 6, True)
@example("a\u0301b\u0301c\u0301", 4, False)
def test_before_its_open_tail_a_text_reads_as_it_always_will(raw: str, cut: int, escaped: bool) -> None:
    prefix = Text(raw[:cut], escaped=escaped)
    place = len(prefix.raw) - open_tail(prefix)
    assert until(prefix.raw, escaped, place) == until(raw, escaped, place)


@given(TEXTS, st.booleans())
def test_settled_views_are_the_views_before_the_open_tail(raw: str, escaped: bool) -> None:
    place, growing = settled(Text(raw, escaped=escaped))
    assert [characters(view, len(raw)) for view in growing] == [
        characters(view, place) for view in views(Text(raw, escaped=escaped)) if not view.fixed
    ]


def test_prose_is_open_for_its_last_word_only() -> None:
    prose = "Ordinary prose flows at once, word for word. Schöne Wörter auch; и русские слова."
    for end in range(len(prose) + 1):
        assert open_tail(Text(prose[:end])) <= len("Ordinary") + 1
    assert open_tail(Text("天地玄黄，宇宙洪荒")) == 0


@settings(max_examples=50)
@given(st.sampled_from(list(evasion.TRANSFORMS)), TEXTS)
def test_transforms_take_any_text(name: str, raw: str) -> None:
    assert isinstance(evasion.TRANSFORMS[name](raw.encode("utf-8", "ignore").decode()), str)


def test_the_evasion_table_shows_recall_and_false_positives() -> None:
    def sees(text: str) -> bool:
        return any("canary@" in view.text for view in views(Text(text)))

    rows = evasion.table({"mail": sees}, {"mail": [SECRET]}, ["Nothing to see here, canary."]).splitlines()
    assert rows[0] == "| transform | mail: found | mail: false |"
    assert {f"| {name} | 100 % | 0 % |" for name in COVERED} <= set(rows)
    assert "| rot13 | 0 % | 0 % |" in rows
    assert len(rows) == 2 + len(evasion.TRANSFORMS)
