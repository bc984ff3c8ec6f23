"""The rig of the acceptance tests: a scripted provider and the real gateway in front of it."""

import pytest

from tests.support.provider import Provider
from tests.support.running import policy_for, running


@pytest.fixture
async def provider():
    async with Provider() as provider:
        yield provider


@pytest.fixture
async def gateway(provider, tmp_path):
    async with running(policy_for(provider.base_url), tmp_path) as gateway:
        yield gateway
