from __future__ import annotations

import asyncio
import gzip
import hashlib
import socket
import time
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.tokens import vocabulary as vocabularies
from gateway.tokens.tokenizer import PIECE, Tokenizer, vocabulary_of

ENGLISH = "The quick brown fox jumps over the lazy dog, and 12345 people saw it.\n"
NAMES = {
    "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",
}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    vocabularies._provided.cache_clear()
    vocabularies.bundled.cache_clear()


def provide(folder: Path, name: str) -> Path:
    """Writes the vocabulary as tiktoken would have fetched it."""
    packed = resources.files("bpe_openai").joinpath("data", f"{name}.tiktoken.gz").read_bytes()
    file = folder / NAMES[name]
    file.write_bytes(gzip.decompress(packed))
    return file


@pytest.mark.parametrize(
    ("text", "model", "tokens"),
    [
        ("tiktoken is great!", "gpt-4", 6),  # OpenAI's cookbook
        ("tiktoken is great!", "gpt-4o", 6),
        ("antidisestablishmentarianism", "gpt-4", 6),
        ("antidisestablishmentarianism", "gpt-4o", 6),
        ("2 + 2 = 4", "gpt-4o", 7),
        ("お誕生日おめでとう", "gpt-4", 9),
        ("お誕生日おめでとう", "gpt-4o", 8),
        ("", "gpt-4o", 0),
    ],
)
def test_texts_are_counted_as_openai_counts_them(text: str, model: str, tokens: int) -> None:
    assert Tokenizer().count(text, model) == (tokens, True)


@pytest.mark.parametrize(
    ("models", "name"),
    [
        (["gpt-4o", "gpt-4o-mini-2024-07-18", "chatgpt-4o-latest", "gpt-4.1-nano", "gpt-4.5-preview"], "o200k_base"),
        (["gpt-5", "gpt-5-mini", "gpt-5.1", "gpt-5.2-codex", "o1", "o3-mini", "o4-mini-2025-04-16"], "o200k_base"),
        (["openai/gpt-oss-120b", "gpt-oss-20b", "ft:gpt-4o-mini-2024-07-18:org::id", "openai/GPT-4o"], "o200k_base"),
        (["gpt-4", "gpt-4-turbo", "gpt-4-32k-0613", "gpt-3.5-turbo-instruct", "gpt-35-turbo"], "cl100k_base"),
        (
            ["text-embedding-3-small", "text-embedding-ada-002", "ft:gpt-3.5-turbo-0125:a:b:c", "davinci-002"],
            "cl100k_base",
        ),
    ],
)
def test_models_have_the_vocabulary_that_they_were_made_with(models: list[str], name: str) -> None:
    assert {model: vocabulary_of(model) for model in models} == dict.fromkeys(models, (name, True))


@pytest.mark.parametrize("model", ["claude-sonnet-4", "gemini-2.5-pro", "gpt-7", "gpt-4.7", "o11", "llama", ""])
def test_an_unknown_model_is_an_estimate(model: str) -> None:
    assert vocabulary_of(model) == ("o200k_base", False)
    assert not Tokenizer().count("text", model).exact


def test_the_bundled_vocabularies_need_no_network(offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    tokenizer = Tokenizer()
    assert set(tokenizer.sources.values()) == {"bpe-openai"}
    assert tokenizer.count(ENGLISH, "gpt-4o").tokens == 18


def test_the_operators_files_are_used_where_they_are_sound(
    offline: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    provide(tmp_path, "cl100k_base")
    tokenizer = Tokenizer()
    assert tokenizer.sources == {"o200k_base": "bpe-openai", "cl100k_base": "tiktoken"}
    for text in ("tiktoken is great! <|endoftext|>", ENGLISH * 500, "\u4e00\U0001f600e\u0301"):
        assert tokenizer.count(text, "gpt-4").tokens == vocabularies.bundled("cl100k_base").count(text)
    assert tokenizer.count("\ud800", "gpt-4").tokens == tokenizer.count("?", "gpt-4").tokens


@pytest.mark.parametrize("content", [None, b"", b"IQ== 0\n"])
def test_a_missing_or_changed_file_is_left_alone(
    offline: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    """tiktoken itself would delete it and ask the network."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    file = tmp_path / NAMES["o200k_base"]
    if content is not None:
        file.write_bytes(content)
    assert set(Tokenizer().sources.values()) == {"bpe-openai"}
    assert content is None or file.read_bytes() == content


def test_the_names_of_the_files_are_tiktokens() -> None:
    for name, (file, _) in vocabularies._FILES.items():
        address = f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
        assert hashlib.sha1(address.encode()).hexdigest() == file == NAMES[name]


def test_lone_surrogates_are_counted() -> None:
    assert Tokenizer().count("a\ud800b", "gpt-4o").tokens == Tokenizer().count("a?b", "gpt-4o").tokens


async def test_pieces_count_like_the_whole() -> None:
    tokenizer = Tokenizer()
    text = ENGLISH.replace("\n", " ") * 3000
    whole = vocabularies.bundled("o200k_base").count(text)
    assert tokenizer.count(text, "gpt-4o").tokens == whole
    assert (await tokenizer.count_all([text], "gpt-4o")).tokens == whole
    assert tokenizer.estimate(text, "gpt-4o") == pytest.approx(whole, rel=0.01)


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab \n\u00e9\U0001f600", max_size=40), max_size=8))
async def test_many_texts_count_as_each_of_them(texts: list[str]) -> None:
    tokenizer = Tokenizer()
    counted = await tokenizer.count_all(texts, "gpt-4o")
    assert counted.tokens == sum(tokenizer.count(text, "gpt-4o").tokens for text in texts)


@pytest.mark.parametrize(
    "text", ["a" * 20_000_000, " " * 2_000_000, "\U0001f600" * 500_000, "1" * 2_000_000, "\u4e00\u4e8c" * 300_000]
)
def test_pathological_texts_take_linear_time(text: str) -> None:
    tokenizer = Tokenizer()
    began = time.process_time()
    assert tokenizer.count(text, "gpt-4o").tokens > 0
    assert time.process_time() - began < len(text.encode()) * 0.5e-6 + 1


async def test_a_large_text_gives_the_loop_its_turn_after_every_piece() -> None:
    tokenizer = Tokenizer()
    text = ENGLISH * 6000
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(others())
    counted = await tokenizer.count_all([text], "gpt-4o")
    running.cancel()
    assert counted.tokens > 100_000
    assert turns >= len(text) // PIECE


async def test_counts_at_the_same_time_take_turns() -> None:
    """One piece a turn, however many callers wait."""
    tokenizer = Tokenizer()
    in_turn: list[int] = []
    count = tokenizer._vocabularies["o200k_base"].count

    class Watched:
        source = "test"

        def count(self, text: str) -> int:
            in_turn[-1] += 1
            return count(text)

    tokenizer._vocabularies["o200k_base"] = Watched()

    async def others() -> None:
        while True:
            in_turn.append(0)
            await asyncio.sleep(0)

    running = asyncio.create_task(others())
    await asyncio.sleep(0)
    counted = await asyncio.gather(*(tokenizer.count_all([ENGLISH * 1000], "gpt-4o") for _ in range(4)))
    running.cancel()
    assert len({found.tokens for found in counted}) == 1
    assert max(in_turn) == 1
