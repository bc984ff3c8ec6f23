"""Presidio's recognisers, as its own table lists them, without a language model and without the network.

Everything that presidio needs at run time comes from here: the recognisers of the chosen languages (also those that its
table leaves off), an `NlpEngine` that needs no model, and an e-mail check that reads only the suffix list bundled with
tldextract. `plain` is presidio itself over the same registry: what tests and the bench compare with.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import presidio_analyzer
import regex
import tldextract
import yaml
from presidio_analyzer import AnalyzerEngine, EntityRecognizer, PatternRecognizer, RecognizerRegistry
from presidio_analyzer import predefined_recognizers as predefined
from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine
from presidio_analyzer.predefined_recognizers import EmailRecognizer, PhoneRecognizer

_WORD = regex.compile(r"\w+")
_TOKEN = regex.compile(r"\w+|[^\w\s]")
_TABLE = Path(presidio_analyzer.__file__).parent / "conf" / "default_recognizers.yaml"


@cache
def _suffixes() -> tldextract.TLDExtract:
    """The public suffix list from the package itself: no download, no cache on disk. Read once."""
    extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None, fallback_to_snapshot=True)
    extract("example.com")
    return extract


class OfflineEmail(EmailRecognizer):
    """Presidio's own asks a tldextract that fetches the suffix list from the network; this one does not."""

    def validate_result(self, pattern_text: str) -> bool:
        return _suffixes()(pattern_text).fqdn != ""


class Words(NlpEngine):
    """Tokens for context words: runs of word characters, and every other visible character by itself.

    spaCy's tokeniser would do, but its vocabulary keeps every word that it ever saw, which a server must not.
    """

    def __init__(self, languages: Sequence[str]) -> None:
        self._stop = {language: stop_words(language) for language in languages}

    def load(self) -> None:
        """Nothing to load."""

    def is_loaded(self) -> bool:
        return True

    def get_supported_entities(self) -> list[str]:
        return []

    def get_supported_languages(self) -> list[str]:
        return list(self._stop)

    def is_stopword(self, word: str, language: str) -> bool:
        return word in self._stop[language]

    def is_punct(self, word: str, language: str) -> bool:  # noqa: ARG002 - presidio's signature
        return not _WORD.match(word)

    def process_text(self, text: str, language: str) -> NlpArtifacts:
        found = list(_TOKEN.finditer(text))
        tokens = [token.group() for token in found]
        lemmas = [token.lower() for token in tokens]
        return NlpArtifacts([], cast(Any, tokens), [token.start() for token in found], lemmas, self, language)

    def process_batch(
        self, texts: Iterable[str], language: str, *_: Any, **__: Any
    ) -> Iterator[tuple[str, NlpArtifacts]]:
        for text in texts:
            yield text, self.process_text(text, language)


@cache
def stop_words(language: str) -> frozenset[str]:
    """Words that do not count among the words before a match: spaCy's list of the language, in lower case, and "be"."""
    try:
        words = importlib.import_module(f"spacy.lang.{language}.stop_words").STOP_WORDS
    except ModuleNotFoundError:
        words = ()
    return frozenset({*(word.lower() for word in words), "be"})


def _table() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = yaml.safe_load(_TABLE.read_text())["recognizers"]
    return rows


def _languages(row: dict[str, Any]) -> Iterator[tuple[str | None, list[str] | None]]:
    """The languages of a row of the table with their context words; None stands for every language, or the default."""
    for entry in row.get("supported_languages", [None]):
        if isinstance(entry, dict):
            yield entry["language"], entry.get("context")
        else:
            yield entry, None


def known_languages() -> frozenset[str]:
    """The languages for which presidio has recognisers of their own."""
    return frozenset(language for row in _table() for language, _ in _languages(row) if language)


def recognizers(language: str) -> list[EntityRecognizer]:
    """Every recogniser of a language that works on patterns, checksums and phone plans, new instances."""
    found: list[EntityRecognizer] = []
    for row in _table():
        kind: Any = getattr(predefined, row["name"], None)
        if kind is None or not issubclass(kind, PatternRecognizer | PhoneRecognizer):
            continue
        kind = OfflineEmail if kind is EmailRecognizer else kind
        for of, context in _languages(row):
            if of in (None, language):
                found.append(kind(supported_language=language, **({"context": context} if context else {})))
    return found


def plain(language: str, found: Sequence[EntityRecognizer]) -> AnalyzerEngine:
    """Presidio itself over these recognisers: the reference."""
    registry = RecognizerRegistry(recognizers=list(found), supported_languages=[language])
    return AnalyzerEngine(registry=registry, nlp_engine=Words([language]), supported_languages=[language])
