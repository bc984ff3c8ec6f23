"""The metrics of the OpenTelemetry GenAI conventions, one attempt an operation. Development status, two generations:

b   semantic-conventions 1.37 to 1.41: what was not counted by the provider is not recorded
c   semantic-conventions-genai, main of 2026-08: every operation is recorded, without usage as 0 of unknown modality

Attributes are closed: the name asked for is told as the rule of the policy that decided for it, the names of models
that served are told up to a number, and nothing tells who asked. `gen_ai.server.*` are as seen from here, one hop from
the server; dashboards look for them. An attribute without a value is "".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from gateway.core import pace
from gateway.core.errors import CODES
from gateway.core.model import Attempt, Record
from gateway.core.usage import Reported, Usage
from gateway.sinks.families import Counter, Histogram, Labels
from gateway.sinks.genai import error_of, operation_of

Generation = Literal["b", "c", "both"]

TOKENS = tuple(float(4**power) for power in range(14))
DURATIONS = pace.BOUNDS
PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

_NOTHING = Reported()
_INFERENCE = frozenset({"chat", "text_completion"})

OTHER = "other"
_UNKNOWN_ERROR = "_OTHER"
_ERRORS = frozenset({"", "cancelled", *CODES})
MAX_SERVED = 200
_MAX_PLACES = 4096
_MAX_NAME = 128

_BASE = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model")


@dataclass(frozen=True, slots=True)
class Names:
    """What a policy set says about names. `rule_for`: the model rule that decides for a name, None: there is none.
    `providers`: `gen_ai.provider.name` by the provider's row; a row that is not in it goes by its own name."""

    rule_for: Callable[[str], str | None]
    providers: Mapping[str, str] = field(default_factory=dict)
    generation: Generation = "c"
    server: bool = True


@dataclass(slots=True)
class _Place:
    """The label sets of one kind of operation, and what is not counted of it yet: seconds, and tokens of each."""

    operation: str
    base: Labels
    timed: Labels  # with error.type
    unknown: Labels  # with that modality
    durations: list[float] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    given: list[int] = field(default_factory=list)


class GenAiMetrics:
    def __init__(self) -> None:
        timed = (*_BASE, "error.type")
        counted = (*_BASE, "gen_ai.token.modality")
        client, inference, token = "gen_ai.client.operation", "gen_ai.client.inference", "{token}"
        usage = f"{inference}.usage"

        def seconds(metric: str, text: str, bounds: tuple[float, ...] = DURATIONS) -> Histogram:
            return Histogram(metric, text, timed, bounds=bounds)

        def tokens(metric: str, text: str, attributes: Labels = timed) -> Histogram:
            return Histogram(metric, text, attributes, token, bounds=TOKENS)

        def total(metric: str, text: str) -> Counter:
            return Counter(metric, text, counted, token)

        typed = (*_BASE, "gen_ai.token.type")
        self.token_usage = tokens("gen_ai.client.token.usage", "Generation b: tokens of an operation.", typed)
        self.operation = seconds(f"{client}.duration", "Generation b; in c of what is no inference.")
        self.operation_first = seconds(f"{client}.time_to_first_chunk", "Generation b: of streams.")
        self.duration = seconds(f"{inference}.duration", "Generation c: until the last chunk.")
        self.operation_chunk = seconds(f"{client}.time_per_output_chunk", "Generation b: of streams, after the first.")
        self.first_chunk = seconds(f"{inference}.time_to_first_chunk", "Generation c: of streams.")
        self.chunk = seconds(f"{inference}.time_per_output_chunk", "Generation c: of streams, after the first.")
        self.input = total(f"{usage}.input_tokens", "Generation c: input, cached included.")
        self.output = total(f"{usage}.output_tokens", "Generation c: output, reasoning included.")
        self.cache_read = total(f"{usage}.cache_read.input_tokens", "Generation c: part of the input.")
        self.cache_write = total(f"{usage}.cache_write.input_tokens", "Generation c: part of the input.")
        self.reasoning = total(f"{usage}.reasoning.output_tokens", "Generation c: part of the output.")
        self.input_size = tokens(f"{inference}.operation.input_tokens", "Generation c: input of an operation.")
        self.output_size = tokens(f"{inference}.operation.output_tokens", "Generation c: output of an operation.")
        self.first_token = seconds(
            "gen_ai.server.time_to_first_token", "Of streams, as seen by the gateway.", FIRST_TOKEN
        )
        self.per_token = seconds(
            "gen_ai.server.time_per_output_token", "After the first, as seen by the gateway.", PER_TOKEN
        )
        self._served: set[str] = set()
        self._places: list[_Place] = []  # those that have anything to count
        self.adopt(Names(lambda _: None))

    def families(self) -> list[Counter | Histogram]:
        return [value for value in vars(self).values() if isinstance(value, Counter | Histogram)]

    def adopt(self, names: Names) -> None:
        """Calls that are told from now on are named as this policy says."""
        self.flush()
        self._names = names
        self._b, self._c = names.generation != "c", names.generation != "b"
        self._place = lru_cache(_MAX_PLACES)(self._found)  # most operations are like one before

    def record(self, record: Record, attempt: Attempt) -> None:
        operation = operation_of(record)
        if not attempt.sent or not operation:
            return
        error = error_of(record, attempt)
        place = self._place(operation, attempt.provider, record.model, attempt.reported.model, error)
        if not place.durations:
            self._places.append(place)
        place.durations.append(attempt.duration_s)
        if record.stream and attempt.first_chunk_s is not None:
            self._stream(place, attempt, attempt.first_chunk_s)
        if operation != "fetch_response":
            self._usage(place, attempt)

    def flush(self) -> None:
        for place in self._places:
            self._count(place)
        self._places.clear()

    def _count(self, place: _Place) -> None:
        is_inference = place.operation in _INFERENCE
        if self._c and is_inference:
            self.duration.observe_all(place.timed, place.durations)
        if self._b or not is_inference:
            self.operation.observe_all(place.timed, place.durations)
        if place.taken:
            self.input_size.observe_all(place.timed, place.taken)
        if place.given:
            self.output_size.observe_all(place.timed, place.given)
        for counted in (place.durations, place.taken, place.given):
            counted.clear()

    def _stream(self, place: _Place, attempt: Attempt, first_s: float) -> None:
        if self._b:
            self.operation_first.observe(place.timed, first_s)
        if self._c:
            self.first_chunk.observe(place.timed, first_s)
        if attempt.pace is not None:
            if self._b:
                self.operation_chunk.add_row(place.timed, attempt.pace.row)
            if self._c:
                self.chunk.add_row(place.timed, attempt.pace.row)
        if not self._names.server or place.timed[-1]:
            return
        self.first_token.observe(place.timed, first_s)
        further = attempt.usage.output_tokens - 1
        if further > 0 and _is_reported(attempt):
            self.per_token.observe(place.timed, max(0.0, attempt.duration_s - first_s) / further)

    def _usage(self, place: _Place, attempt: Attempt) -> None:
        is_reported, usage = _is_reported(attempt), attempt.usage
        taken, given = (usage.input_tokens, usage.output_tokens) if is_reported else (0, 0)
        if self._b and is_reported:
            self.token_usage.observe((*place.base, "input"), taken)
            if place.operation != "embeddings":
                self.token_usage.observe((*place.base, "output"), given)
        if self._c:
            self._sizes(place, taken, given, attempt.reported if is_reported else _NOTHING)
            if is_reported:
                self._parts(place, usage)

    def _sizes(self, place: _Place, taken: int, given: int, reported: Reported) -> None:
        place.taken.append(taken)
        _split(self.input, place, taken, reported.audio_input_tokens, reported.image_input_tokens)
        if place.operation != "embeddings":
            place.given.append(given)
            _split(self.output, place, given, reported.audio_output_tokens, reported.image_output_tokens)

    def _parts(self, place: _Place, usage: Usage) -> None:
        if usage.cached_input:
            self.cache_read.add(place.unknown, usage.cached_input)
        if usage.cache_write:
            self.cache_write.add(place.unknown, usage.cache_write)
        if usage.reasoning:
            self.reasoning.add(place.unknown, usage.reasoning)

    def _found(self, operation: str, provider: str, model: str, served: str, error: str) -> _Place:
        asked = (self._names.rule_for(model) or OTHER) if model else ""
        base = (operation, self._names.providers.get(provider, provider), asked, self._served_as(served))
        return _Place(operation, base, timed=(*base, _closed(error)), unknown=(*base, "unknown"))

    def _served_as(self, model: str) -> str:
        if not model or model in self._served:
            return model
        if len(self._served) >= MAX_SERVED or len(model) > _MAX_NAME or not model.isprintable():
            return OTHER
        self._served.add(model)
        return model


def _is_reported(attempt: Attempt) -> bool:
    """Whether the provider said what it counted: what we estimate is in the gateway's own metrics alone."""
    return attempt.reported.input_tokens is not None and "estimated" not in attempt.flags


def _split(counter: Counter, place: _Place, total: int, audio: int | None, image: int | None) -> None:
    """What is neither audio nor image is text only where the provider told both."""
    rest = total
    if audio or image:
        for modality, told in (("audio", audio or 0), ("image", image or 0)):
            count = min(told, rest)
            if count:
                counter.add((*place.base, modality), count)
            rest -= count
    if rest or rest == total:
        is_text = audio is not None and image is not None
        counter.add((*place.base, "text") if is_text else place.unknown, rest)


def _closed(error: str) -> str:
    """`error.type` as a label: one of ours, or a status."""
    is_status = len(error) == 3 and error.isascii() and error.isdigit() and error < "600"
    return error if is_status or error in _ERRORS else _UNKNOWN_ERROR
