"""One caller's flood is that caller's problem."""

import asyncio

from tests.support.raw import chat
from tests.support.running import digest, policy_for, running

POLITE = [f"gw-{'p' * 42}{number}" for number in range(9)]
NOISY = "gw-" + "n" * 43
SHARE = 20


async def test_the_noisy_caller_gets_the_429s_and_nine_polite_ones_get_their_answers(provider, tmp_path):
    """BUD-19: every caller has a share of 20 a minute; one asks for a hundred times as much, all at once."""
    names = {f"polite{number}": key for number, key in enumerate(POLITE)} | {"noisy": NOISY}
    callers = "".join(
        f"  {name}: {{key_sha256: ['{digest(key)}'], team: t, models: ['*']}}\n" for name, key in names.items()
    )
    rest = f"rate_limits:\n  share: {{each: [caller], requests_per_minute: {SHARE}}}\n"
    async with running(policy_for(provider.base_url, callers=callers, rest=rest), tmp_path) as gateway:

        async def asks(key, times):
            raw = await gateway.connect()
            answers = [await raw.ask(body=chat(), key=key) for _ in range(times)]
            raw.close()
            return [answer.status for answer in answers]

        floods = [asks(NOISY, SHARE * 10) for _ in range(10)]
        polite = [asks(key, SHARE) for key in POLITE]
        *found, _ = await asyncio.gather(*polite, *floods, asks(NOISY, 1))
    quiet, noisy = found[: len(POLITE)], [status for flood in found[len(POLITE) :] for status in flood]
    assert all(status == 200 for one in quiet for status in one)
    # A bucket refills while the flood lasts, at one a three seconds.
    assert SHARE - 1 <= noisy.count(200) <= SHARE + 10
    assert noisy.count(429) == len(noisy) - noisy.count(200)
