"""What calls cost, and what their budgets let through, end to end: the real gateway and its SQLite ledger."""

import asyncio
import contextlib
import json

import openai
import pytest

from gateway.core.accounts import Intent, Origin, Query
from gateway.core.clock import SystemClock
from gateway.core.usage import Usage
from gateway.ledgers.sqlite import open_sqlite
from tests.support.patience import patience
from tests.support.provider import ANSWER, DONE, LAST_CHUNK, STREAM_HEAD, chunk, delta, plain, usage_chunk
from tests.support.raw import chat
from tests.support.running import KEY, digest, policy_for, running

OTHER_KEY = "gw-" + "o" * 43
# Dollars a million tokens: 1000 and 10 000 nano-dollars a token.
PRICES = "prices:\n  any: {model: '*', input: 1, output: 10}\n"
CENT = "prices:\n  any: {model: '*', input: 0, output: 0, per_request: 0.01}\n"
CALLERS = (
    f"  app: {{key_sha256: ['{digest(KEY)}'], team: team-a, models: ['*']}}\n"
    f"  other: {{key_sha256: ['{digest(OTHER_KEY)}'], team: team-b, models: ['*']}}\n"
)
THREE_AND_FOUR = 3 * 1000 + 4 * 10_000


def serving(provider, tmp_path, rest=PRICES, clock=None, **extra):
    tmp_path.mkdir(exist_ok=True)
    return running(policy_for(provider.base_url, callers=CALLERS, rest=rest, **extra), tmp_path, clock)


async def rows(gateway, count):
    """The ledger's entries, once so many are concluded and settled; nothing is left reserved."""
    accounts = gateway.gateway.accounts
    async with patience():
        while True:
            found = [entry async for entry in accounts.ledger.entries(Query())]
            if len(found) >= count and all(entry.outcome for entry in found) and not accounts.leases:
                break
    assert len(found) == count
    assert all(line["reserved_nano"] == 0 for line in await gateway.gateway.budgets() if line["unit"] == "usd")
    return found


async def line_of(gateway, count=1):
    async with patience():
        while len(gateway.lines) < count:
            await asyncio.sleep(0)
    return gateway.lines[count - 1]


async def budget(gateway, name="all"):
    return next(line for line in await gateway.gateway.budgets() if line["name"] == name)


def said(usage, model="m", **fields):
    choices = [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]
    return plain(json.dumps({"id": "c", "model": model, "choices": choices, "usage": usage, **fields}).encode())


def streamed(*frames):
    return (STREAM_HEAD, *(chunk(frame) for frame in frames), LAST_CHUNK)


def response(status="completed", usage=True, **fields):
    counts = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7} if usage else None
    return {
        "id": "resp_mine",
        "object": "response",
        "model": "m",
        "status": status,
        "usage": counts,
        "output": [],
    } | fields


def response_events():
    begun = {"type": "response.created", "sequence_number": 0, "response": response("in_progress", usage=False)}
    done = {"type": "response.completed", "sequence_number": 1, "response": response()}
    return streamed(*(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in (begun, done)))


# -- costs, to the nano

CALLS = {
    "chat": ("/v1/chat/completions", chat(), (plain(ANSWER),), Usage(3, output=4)),
    "chat stream": ("/v1/chat/completions", chat(stream=True), streamed(delta("a"), usage_chunk(), DONE), Usage(3, output=4)),
    "completions": (
        "/v1/completions",
        b'{"model":"m","prompt":"hi"}',
        (said({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}),),
        Usage(3, output=4),
    ),
    "embeddings": (
        "/v1/embeddings",
        b'{"model":"m","input":"hi"}',
        (plain(b'{"object":"list","data":[],"model":"m","usage":{"prompt_tokens":3,"total_tokens":3}}'),),
        Usage(3),
    ),
    "responses": ("/v1/responses", b'{"model":"m","input":"hi"}', (plain(json.dumps(response()).encode()),), Usage(3, output=4)),
    "responses stream": ("/v1/responses", b'{"model":"m","input":"hi","stream":true}', response_events(), Usage(3, output=4)),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
async def test_every_shape_is_counted_and_charged_to_the_nano(provider, tmp_path, name):
    target, body, parts, usage = CALLS[name]
    provider.says(*parts)
    async with serving(provider, tmp_path) as gateway:
        answer = await gateway.ask(target=target, body=body, key=KEY)
        (entry,) = await rows(gateway, 1)
        line = await line_of(gateway)
    cost = usage.input_tokens * 1000 + usage.output_tokens * 10_000
    assert (entry.outcome.state, entry.outcome.cost_nano, entry.outcome.usage) == ("settled", cost, usage)
    assert entry.outcome.flags == ()
    assert (entry.intent.origin.caller, entry.intent.origin.team, entry.intent.origin.endpoint) == (
        "app",
        "team-a",
        name.split()[0],
    )
    assert entry.intent.attempt == f"{line['call']}.1"
    usd = f"0.0000{cost // 1000:02d}"
    assert (line["usd"], line["input_tokens"], line["output_tokens"]) == (usd, usage.input_tokens, usage.output_tokens)
    assert "flags" not in line
    assert answer.header("x-gateway-cost-usd") == (None if "stream" in name else usd)


async def test_a_cost_can_be_explained_by_the_rates_in_its_row(provider, tmp_path):
    async with serving(provider, tmp_path) as gateway:
        await gateway.ask(body=chat(), key=KEY)
        (entry,) = await rows(gateway, 1)
    rates = json.loads(entry.outcome.rates)
    assert (rates["source"], rates["rates"]) == ("policy", {"input": 10**9, "output": 10**10})


async def test_cached_and_reasoning_tokens_are_paid_once_and_at_their_own_rates(provider, tmp_path):
    usage = {
        "prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 60}, "completion_tokens_details": {"reasoning_tokens": 20},
    }  # fmt: skip
    provider.says(said(usage))
    rest = "prices:\n  any: {model: '*', input: 1, output: 10, cached_input: 0.1, reasoning: 20}\n"
    async with serving(provider, tmp_path, rest) as gateway:
        await gateway.ask(body=chat(), key=KEY)
        (entry,) = await rows(gateway, 1)
    assert entry.outcome.usage == Usage(input=40, cached_input=60, output=30, reasoning=20)
    assert entry.outcome.cost_nano == 40 * 1000 + 60 * 100 + 30 * 10_000 + 20 * 20_000


async def test_metrics_count_tokens_dollars_attempts_and_flags(provider, tmp_path):
    async with serving(provider, tmp_path) as gateway:
        await gateway.ask(body=chat(), key=KEY)
        provider.says(plain(b'{"choices":[]}'))
        await gateway.ask(body=chat(), key=KEY)
        await rows(gateway, 2)
        await line_of(gateway, 2)
        text = gateway.gateway.metrics.render()
    assert 'gateway_tokens_total{provider="fake",bucket="output"} 4' in text
    assert 'gateway_attempts_total{provider="fake",state="settled"} 2' in text
    assert 'gateway_usage_flags_total{provider="fake",flag="estimated"} 1' in text
    assert 'gateway_cost_usd_total{provider="fake"}' in text


async def test_callers_read_their_own_usage_and_nobody_elses(provider, tmp_path):
    rest = PRICES + "budgets:\n  mine: {usd: 1, window: month, each: [caller]}\n"
    async with serving(provider, tmp_path, rest) as gateway:
        for _ in range(2):
            await gateway.ask(body=chat(), key=KEY)
        await gateway.ask(body=chat(), key=OTHER_KEY)
        await rows(gateway, 3)
        answer = (await gateway.ask("GET", "/v1/usage", key=KEY)).json()
        refused = await gateway.ask("GET", "/v1/usage?caller=other", key=KEY)
    assert [(row["model"], row["attempts"], row["cost_nano"]) for row in answer["rows"]] == [
        ("m", 2, 2 * THREE_AND_FOUR)
    ]
    assert answer["limits"][0]["spent_nano"] == 2 * THREE_AND_FOUR
    assert refused.status == 400


# -- usage that is not as it should be


async def test_usage_that_is_missing_is_estimated_and_never_zero(provider, tmp_path):
    """BUD-08: in a whole answer and in a stream, for which it was asked."""
    whole = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "one two three four"}}]}
    async with serving(provider, tmp_path) as gateway:
        provider.says(plain(json.dumps(whole).encode()))
        answer = await gateway.ask(body=chat(), key=KEY)
        provider.says(*streamed(delta("one two"), delta(" three four"), DONE))
        await gateway.ask(body=chat(stream=True), key=KEY)
        first, second = await rows(gateway, 2)
        line = await line_of(gateway)
    assert provider.calls[1].json()["stream_options"] == {"include_usage": True}
    for entry in (first, second):
        assert entry.outcome.flags == ("estimated",)
        assert entry.outcome.usage.output == 4
        assert 5 <= entry.outcome.usage.input <= 12
    assert line["flags"] == ["estimated"]
    assert answer.header("x-gateway-cost-usd") is None


@pytest.mark.parametrize(
    ("usage", "counted", "flags"),
    [
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, Usage(), ()),
        ({"prompt_tokens": 3, "completion_tokens": 10**15}, Usage(3, output=1_000_000), ("clamped",)),
        ({"prompt_tokens": -5, "completion_tokens": 4}, None, ("estimated", "inconsistent")),
    ],
)
async def test_odd_usage_is_honoured_clamped_or_estimated_and_flagged(provider, tmp_path, usage, counted, flags):
    """BUD-09."""
    provider.says(said(usage))
    async with serving(provider, tmp_path) as gateway:
        await gateway.ask(body=chat(), key=KEY)
        (entry,) = await rows(gateway, 1)
    assert entry.outcome.flags == flags
    if counted is None:
        assert entry.outcome.usage.input > 0
    else:
        assert entry.outcome.usage == counted


async def test_usage_that_is_told_twice_is_counted_once(provider, tmp_path):
    """BUD-09: cumulative frames, and the last one again."""
    provider.says(*streamed(delta("a"), usage_chunk(3, 1), usage_chunk(3, 4), usage_chunk(3, 4), DONE))
    async with serving(provider, tmp_path) as gateway:
        await gateway.ask(body=chat(stream=True), key=KEY)
        (entry,) = await rows(gateway, 1)
    assert entry.outcome.cost_nano == THREE_AND_FOUR


# -- ends that are not sound


async def test_a_provider_that_dies_is_free_before_its_answer_and_charged_after(provider, tmp_path):
    """BUD-07."""
    budgets = "budgets:\n  all: {usd: 1, window: total}\n"
    whole = plain(ANSWER)

    def breaks(*parts):
        async def script(_, writer):
            for part in parts:
                writer.write(part)
            await writer.drain()
            writer.close()

        return script

    async with serving(provider, tmp_path, PRICES + budgets) as gateway:
        provider.script = breaks()
        assert (await gateway.ask(body=chat(), key=KEY)).status == 502
        provider.says(plain(b"{}", 500))
        assert (await gateway.ask(body=chat(), key=KEY)).status == 500
        provider.script = breaks(whole[:-20])
        assert (await gateway.ask(body=chat(), key=KEY)).status == 502
        provider.script = breaks(STREAM_HEAD, chunk(delta("one two three")))
        answer = await gateway.ask(body=chat(stream=True), key=KEY)
        assert b"upstream_closed" in answer.body
        found = await rows(gateway, 4)
        spent = (await budget(gateway))["spent_nano"]
    assert [entry.outcome.state for entry in found] == ["failed", "failed", "settled", "settled"]
    assert [entry.outcome.cost_nano for entry in found[:2]] == [0, 0]
    assert found[2].outcome.flags == found[3].outcome.flags == ("partial", "estimated")
    assert found[3].outcome.usage.output == 3
    assert spent == sum(entry.outcome.cost_nano for entry in found)


PLACES = {"before the head": 0, "after the head": 1, "mid-stream": 3, "before usage": 4, "not a stream": 1}


class Halting:
    """A provider's script that stops at a place of its answer until it may go on. `reached` counts who is there."""

    def __init__(self, place):
        self._parts = [
            STREAM_HEAD,
            *map(chunk, [delta("one "), delta("two "), delta("three"), usage_chunk(), DONE]),
            LAST_CHUNK,
        ]
        if place == "not a stream":
            self._parts = [plain(ANSWER)[:-20], plain(ANSWER)[-20:]]
        self._place = PLACES[place]
        self.go_on = asyncio.Event()
        self.reached = asyncio.Semaphore(0)

    async def __call__(self, _, writer):
        writer.write(b"".join(self._parts[: self._place]))
        await writer.drain()
        self.reached.release()
        await self.go_on.wait()
        with contextlib.suppress(ConnectionError):
            writer.write(b"".join(self._parts[self._place :]))
            await writer.drain()


async def left_at(place, gateway, script, times):
    """So many callers that leave when the answer has come that far."""
    callers = [await gateway.connect() for _ in range(times)]
    for raw in callers:
        await raw.send(raw.request(body=chat(stream=place != "not a stream", max_tokens=100), key=KEY))
    for raw in callers:
        await script.reached.acquire()
        if place in {"mid-stream", "before usage"}:
            await raw.head()
            await raw.chunk()
    for raw in callers:
        raw.close()
    async with patience():
        while len(gateway.gateway.tasks):
            await asyncio.sleep(0)


@pytest.mark.parametrize("disconnect", ["close", "drain"])
@pytest.mark.parametrize("place", PLACES)
async def test_a_caller_that_leaves_has_a_row_every_time(provider, tmp_path, disconnect, place):
    """BUD-06."""
    times, script = 50, Halting(place)
    provider.script = script
    rest = PRICES + f"accounting: {{disconnect: {disconnect}}}\nbudgets:\n  all: {{usd: 100, window: total}}\n"
    async with serving(provider, tmp_path, rest) as gateway:
        await left_at(place, gateway, script, times)
        script.go_on.set()
        found = await rows(gateway, times)
        await line_of(gateway, times)
        spent = (await budget(gateway))["spent_nano"]
    costs = [entry.outcome.cost_nano for entry in found]
    assert {entry.outcome.state for entry in found} == {"settled"}
    assert spent == sum(costs)
    assert {line["outcome"] for line in gateway.lines} == {"client_closed"}
    if disconnect == "drain":
        assert set(costs) == {THREE_AND_FOUR}
        assert {entry.outcome.flags for entry in found} == {()}
    else:
        assert all(0 < cost < 2 * THREE_AND_FOUR for cost in costs)
        assert {entry.outcome.flags for entry in found} == {("partial", "estimated")}


# -- what is reserved


async def test_a_model_without_a_price_is_refused_under_a_budget_or_charged_flat(provider, tmp_path):
    """BUD-04."""
    budgets = "budgets:\n  all: {usd: 0.05, window: total}\n"
    async with serving(provider, tmp_path / "one", budgets) as gateway:
        answer = await gateway.ask(body=chat(), key=KEY)
        assert (answer.status, answer.code) == (402, "unpriced_model")
        assert provider.calls == []
    flat = budgets + "accounting: {unpriced: flat, flat_usd: 0.03}\n"
    async with serving(provider, tmp_path / "two", flat) as gateway:
        first = await gateway.ask(body=chat(), key=KEY)
        second = await gateway.ask(body=chat(), key=KEY)
        (entry,) = await rows(gateway, 1)
    assert (first.status, first.header("x-gateway-cost-usd")) == (200, "0.03")
    assert (entry.outcome.cost_nano, entry.outcome.flags) == (30_000_000, ("flat",))
    assert (second.status, second.code) == (402, "budget_exceeded")


async def test_a_model_without_a_price_and_without_a_budget_passes_and_says_so(provider, tmp_path):
    """BUD-04: unknown is not zero."""
    async with serving(provider, tmp_path, "") as gateway:
        answer = await gateway.ask(body=chat(), key=KEY)
        (entry,) = await rows(gateway, 1)
        line = await line_of(gateway)
    assert (answer.status, answer.header("x-gateway-cost-usd")) == (200, None)
    assert (entry.outcome.cost_nano, entry.outcome.flags) == (None, ("unpriced",))
    assert "usd" not in line
    assert line["flags"] == ["unpriced"]


@pytest.mark.parametrize(
    ("target", "body", "field"),
    [
        ("/v1/chat/completions", chat(), "max_completion_tokens"),
        ("/v1/completions", b'{"model":"m","prompt":"hi"}', "max_tokens"),
        ("/v1/responses", b'{"model":"m","input":"hi"}', "max_output_tokens"),
    ],
)
async def test_an_absent_limit_is_written_in_where_a_budget_holds(provider, tmp_path, target, body, field):
    """BUD-05."""
    rest = PRICES + "accounting: {max_output_tokens: 500}\nbudgets:\n  all: {usd: 1, window: total}\n"
    async with serving(provider, tmp_path, rest) as gateway:
        await gateway.ask(target=target, body=body, key=KEY)
        (entry,) = await rows(gateway, 1)
    assert provider.calls[0].json() == {**json.loads(body), field: 500}
    assert entry.intent.reserved_nano == 500 * 10_000 + (entry.intent.reserved_tokens - 500) * 1000


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"max_tokens": 2**31}, "invalid_value"),
        ({"max_tokens": 2**31 - 1}, "budget_exceeded"),
        ({"n": 128}, "budget_exceeded"),
        ({"max_tokens": 100, "n": 128}, "budget_exceeded"),
        ({"max_tokens": 100, "service_tier": "priority"}, "budget_exceeded"),
        ({"model": "small", "max_tokens": 51}, "max_tokens_too_large"),
    ],
)
async def test_what_could_exceed_the_budget_is_refused_before_anything_is_sent(provider, tmp_path, fields, code):
    """BUD-05: the worst case is reserved."""
    rest = (
        "prices:\n  any: {model: '*', input: 1, output: 10}\n"
        "  dear: {model: '*', service_tier: priority, input: 1, output: 1000}\n"
        "budgets:\n  all: {usd: 0.01, window: total}\naccounting: {max_output_tokens: 100}\n"
    )
    models = "  '*': {targets: [{provider: fake}]}\n  small: {targets: [{provider: fake}], max_output_tokens: 50}\n"
    async with serving(provider, tmp_path, rest, models=models) as gateway:
        assert (await gateway.ask(body=chat(max_tokens=100), key=KEY)).status == 200
        answer = await gateway.ask(body=chat(**fields), key=KEY)
    assert (answer.status, answer.code) == (402 if code == "budget_exceeded" else 400, code)
    assert len(provider.calls) == 1


async def test_the_payer_is_the_key_whatever_the_call_says(provider, tmp_path):
    """BUD-12."""
    headers = (("X-Customer-Id", "other"), ("OpenAI-Organization", "team-b"), ("X-Gateway-Caller", "other"))
    body = chat(user="other", metadata={"caller": "other", "team": "team-b", "user_api_key": "x"})
    async with serving(provider, tmp_path) as gateway:
        await gateway.ask(body=body, key=KEY, headers=headers)
        (entry,) = await rows(gateway, 1)
    assert (entry.intent.origin.caller, entry.intent.origin.team, dict(entry.intent.origin.labels)) == (
        "app",
        "team-a",
        {},
    )


async def test_of_several_limits_all_are_reserved_or_none_and_the_refusal_names_the_level(provider, tmp_path):
    """BUD-13."""
    rest = CENT + (
        "budgets:\n  everyone: {usd: 1, window: total}\n  per-team: {usd: 0.015, window: month, each: [team]}\n"
        "  per-caller: {usd: 0.5, window: day, each: [caller]}\n"
    )
    async with serving(provider, tmp_path, rest) as gateway:
        assert (await gateway.ask(body=chat(), key=KEY)).status == 200
        await rows(gateway, 1)
        answer = await gateway.ask(body=chat(), key=KEY)
        assert (answer.status, answer.json()["error"]["limit"]["name"]) == (402, "per-team")
        assert '"per-team"' in answer.json()["error"]["message"]
        assert b"0.5" not in answer.body
        assert (await gateway.ask(body=chat(), key=OTHER_KEY)).status == 200
        await rows(gateway, 2)
        lines = await gateway.gateway.budgets()
    assert {line["counter"]: line["spent_nano"] for line in lines if line["name"] == "everyone"}.popitem()[
        1
    ] == 20_000_000
    assert all(line["spent_nano"] <= 10_000_000 for line in lines if line["name"] != "everyone")


async def test_a_regenerated_answer_is_one_request_and_two_rows(provider, tmp_path):
    """BUD-15."""
    answers = ["falcon-7", "a bird"]

    async def script(_, writer):
        document = json.loads(ANSWER)
        document["choices"][0]["message"]["content"] = answers.pop(0)
        writer.write(plain(json.dumps(document).encode()))

    provider.script = script
    rest = PRICES + (
        "rate_limits:\n  rpm: {requests_per_minute: 10, concurrency: 1}\nbudgets:\n  all: {usd: 1, window: total}\n"
        "guards:\n  names: {type: words, action: regenerate, on_error: block, words: [falcon-7]}\n"
        "guard_sets:\n  default: {output: [names], unreadable: allow}\n"
    )
    async with serving(provider, tmp_path, rest) as gateway:
        answer = await gateway.ask(body=chat(), key=KEY)
        found = await rows(gateway, 2)
        line = await line_of(gateway)
        spent = (await budget(gateway))["spent_nano"]
    assert answer.status == 200
    assert [entry.intent.number for entry in found] == [1, 2]
    assert len({entry.intent.call for entry in found}) == 1
    assert [entry.outcome.cost_nano for entry in found] == [THREE_AND_FOUR] * 2
    assert spent == 2 * THREE_AND_FOUR
    assert (line["attempts"], line["usd"]) == (2, "0.000086")
    assert answer.header("x-gateway-cost-usd") == "0.000086"
    assert answer.header("x-ratelimit-remaining-requests") == "9"
    names = [call.header("x-client-request-id").decode() for call in provider.calls]
    assert names == [entry.intent.attempt for entry in found]


class Skewed(SystemClock):
    """The system's clocks, ahead by so many seconds."""

    ahead = 0.0

    def monotonic(self):
        return SystemClock.monotonic() + self.ahead

    def wall(self):
        return SystemClock.wall() + self.ahead


async def test_a_rate_limit_is_told_and_its_retry_after_is_true(provider, tmp_path):
    """BUD-18."""
    clock, rest = Skewed(), "rate_limits:\n  rpm: {requests_per_minute: 2}\n"
    async with serving(provider, tmp_path, rest, clock) as gateway:
        told = [(await gateway.ask(body=chat(), key=KEY)).header("x-ratelimit-remaining-requests") for _ in range(2)]
        refused = await gateway.ask(body=chat(), key=KEY)
        wait = int(refused.header("retry-after"))
        clock.ahead += wait - 3
        early = await gateway.ask(body=chat(), key=KEY)
        clock.ahead += int(early.header("retry-after"))
        late = await gateway.ask(body=chat(), key=KEY)
    assert told == ["1", "0"]
    assert (refused.status, refused.code) == (429, "rate_limit_exceeded")
    assert (refused.header("x-ratelimit-limit-requests"), refused.header("x-ratelimit-remaining-requests")) == (
        "2",
        "0",
    )
    assert 28 <= wait <= 30
    assert (early.status, late.status) == (429, 200)


async def test_a_soft_budget_warns_and_lets_through(provider, tmp_path):
    rest = CENT + "budgets:\n  all: {usd: 0.02, window: total, mode: soft, warn_at: [50]}\n"
    async with serving(provider, tmp_path, rest) as gateway:
        warnings = []
        for number in range(4):
            answer = await gateway.ask(body=chat(), key=KEY)
            assert answer.status == 200
            warnings.append(answer.header("x-gateway-budget-warning"))
            await rows(gateway, number + 1)
        text = gateway.gateway.metrics.render()
    assert warnings == [None, "all=50", "all=100", "all=100"]
    assert 'gateway_limit_warnings_total{limit="all",percent="100"} 2' in text


async def test_openais_sdk_raises_the_class_that_its_users_expect(provider, tmp_path):
    rest = CENT + (
        "budgets:\n  each: {usd: 0.01, window: total, each: [caller]}\n"
        "rate_limits:\n  b: {requests_per_minute: 1, match: {team: team-b}}\n"
    )
    ask = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    async with serving(provider, tmp_path, rest) as gateway:
        mine = openai.AsyncOpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0)
        other = openai.AsyncOpenAI(base_url=gateway.base_url, api_key=OTHER_KEY, max_retries=0)
        for client in (mine, other):
            await client.chat.completions.create(**ask)
        await rows(gateway, 2)
        with pytest.raises(openai.APIStatusError) as money:
            await mine.chat.completions.create(**ask)
        with pytest.raises(openai.RateLimitError) as rate:
            await other.chat.completions.create(**ask)
        with pytest.raises(openai.NotFoundError) as foreign:
            await mine.responses.retrieve("resp_foreign")
        await mine.close()
        await other.close()
    assert (money.value.status_code, money.value.code, money.value.type) == (
        402,
        "budget_exceeded",
        "insufficient_quota",
    )
    assert (rate.value.code, foreign.value.code) == ("rate_limit_exceeded", "response_not_found")


# -- over restarts and reloads


async def test_a_budget_holds_over_a_restart(provider, tmp_path):
    """The counters are memory, the ledger is the truth."""
    rest = CENT + "budgets:\n  all: {usd: 0.03, window: total}\n"
    for _ in range(3):
        async with serving(provider, tmp_path, rest) as gateway:
            assert (await gateway.ask(body=chat(), key=KEY)).status == 200
    async with serving(provider, tmp_path, rest) as gateway:
        answer = await gateway.ask(body=chat(), key=KEY)
        line = await budget(gateway)
    assert (answer.status, answer.code) == (402, "budget_exceeded")
    assert (line["spent_nano"], line["reserved_nano"], line["remaining_nano"]) == (30_000_000, 0, 0)
    assert len(provider.calls) == 3


async def test_what_a_dead_process_left_open_is_charged_what_it_reserved(provider, tmp_path):
    """LED-01, BUD-10: once, whatever comes after."""
    dead = await open_sqlite(tmp_path / "ledger.db", node="dead")
    origin = Origin("app", "team-a", {}, "chat", "m", "fake", "m", "v", "dead")
    await dead.intend(Intent("gone.1", "gone", 1, 1.0, origin, 20_000_000, 5))
    await dead.close()
    rest = CENT + "budgets:\n  all: {usd: 0.03, window: total}\n"
    for _ in range(2):
        async with serving(provider, tmp_path, rest) as gateway:
            await gateway.ask(body=chat(), key=KEY)
            found = await rows(gateway, 2)
            spent = (await budget(gateway))["spent_nano"]
    assert [(entry.outcome.state, entry.outcome.cost_nano) for entry in found] == [
        ("unknown", 20_000_000),
        ("settled", 10_000_000),
    ]
    assert spent == 30_000_000
    assert len(provider.calls) == 1


async def test_a_call_is_charged_by_the_prices_it_began_with(provider, tmp_path):
    """LED-13: the price list is reloaded in the middle of a stream."""
    go_on = asyncio.Event()

    async def script(_, writer):
        writer.write(STREAM_HEAD + chunk(delta("a")))
        await go_on.wait()
        writer.write(chunk(usage_chunk()) + chunk(DONE) + LAST_CHUNK)
        await writer.drain()

    provider.script = script
    async with serving(provider, tmp_path) as gateway:
        raw = await gateway.connect()
        await raw.send(raw.request(body=chat(stream=True), key=KEY))
        await raw.head()
        dearer = policy_for(provider.base_url, callers=CALLERS, rest=PRICES.replace("1,", "7,").replace("10}", "70}"))
        before = gateway.gateway.policy.version
        assert await gateway.gateway.reload((("policy.yaml", dearer.encode()),))
        go_on.set()
        while await raw.chunk() is not None:
            pass
        raw.close()
        await gateway.ask(body=chat(stream=True), key=KEY)
        old, new = await rows(gateway, 2)
    assert (old.outcome.cost_nano, old.intent.origin.policy) == (THREE_AND_FOUR, before)
    assert (new.outcome.cost_nano, new.intent.origin.policy != before) == (7 * THREE_AND_FOUR, True)
    assert json.loads(old.outcome.rates)["rates"] == {"input": 10**9, "output": 10**10}


async def test_an_idempotency_key_is_answered_once_also_after_a_restart_and_nothing_readable_is_kept(
    provider, tmp_path
):
    """LED-07."""
    provider.says(said({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, id="the-answers-canary"))
    headers = (("Idempotency-Key", "the-keys-canary"),)
    answers = []
    for _ in range(2):
        async with serving(provider, tmp_path) as gateway:
            answers += [await gateway.ask(body=chat(), key=KEY, headers=headers) for _ in range(2)]
            other = await gateway.ask(body=chat("x"), key=KEY, headers=headers)
            await rows(gateway, 1)
            kept = b"".join(file.read_bytes() for file in tmp_path.glob("ledger.db*"))
    assert len({answer.body for answer in answers}) == 1
    assert [answer.header("x-gateway-idempotent-replay") for answer in answers] == [None, "true", "true", "true"]
    assert (other.status, other.code) == (422, "idempotency_mismatch")
    assert len(provider.calls) == 1
    assert b"canary" not in kept


async def test_a_stored_response_is_its_callers_own_also_after_a_restart(provider, tmp_path):
    """AUTH-15."""
    provider.says(*response_events())
    async with serving(provider, tmp_path) as gateway:
        body = b'{"model":"m","input":"hi","stream":true}'
        assert (await gateway.ask(target="/v1/responses", body=body, key=KEY)).status == 200
        await rows(gateway, 1)
    provider.says(plain(json.dumps(response()).encode()))
    async with serving(provider, tmp_path) as gateway:
        foreign = await gateway.ask("GET", "/v1/responses/resp_mine", key=OTHER_KEY)
        assert len(provider.calls) == 1
        own = await gateway.ask("GET", "/v1/responses/resp_mine", key=KEY)
        found = await rows(gateway, 2)
    assert (foreign.status, foreign.code, own.status) == (404, "response_not_found", 200)
    assert (found[1].intent.origin.endpoint, found[1].outcome.cost_nano) == ("responses.object", 0)
