"""Who may read a stored response: the caller that made it (AUTH-15). All callers share one account at the provider, so
its id alone must not open it."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import replace
from urllib.parse import unquote

from gateway.core.errors import Refusal
from gateway.core.model import Call, Caller, Plan
from gateway.core.ports import Ledger, LedgerDown
from gateway.engine.accounts import Accounts
from gateway.engine.runtime import Runtime
from gateway.policy.compile import passthrough_for

_ID = re.compile(r"/v1/responses/([^/?]+)")
_MAX_RECENT = 10_000

REFERRING = frozenset({"responses", "responses.object"})
"""Endpoints of which a call can refer to something that a provider has stored."""

_CONVERSATIONS = "/v1/conversations"


class Things:
    """Ids made by this process lately are known at once; the ledger knows all."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._recent: OrderedDict[str, tuple[str, str, str]] = OrderedDict()

    def made(self, accounts: Accounts, thing: str, caller: Caller, provider: str) -> None:
        """Known from now on, and written down beside the answer."""
        owner = (caller.team, caller.name, provider)
        self._recent[thing] = owner
        if len(self._recent) > _MAX_RECENT:
            self._recent.popitem(last=False)
        accounts.later(self._write(thing, owner, accounts.clock.wall()))

    async def _write(self, thing: str, owner: tuple[str, str, str], at: float) -> None:
        team, caller, provider = owner
        try:
            await self._ledger.own(thing, team, caller, provider, at)
        except LedgerDown:
            return  # known here until the process ends; then nobody's, and so nobody reads it

    async def provider_of(self, thing: str, caller: Caller, param: str | None) -> str:
        """Refusal `response_not_found`: whether it is somebody else's or nobody's looks the same."""
        try:
            owner = self._recent.get(thing) or await self._ledger.owner(thing)
        except LedgerDown:
            raise Refusal("ledger_unavailable", "It cannot be looked up now whose this is.", retry_after_s=5) from None
        if owner is None or owner[:2] != (caller.team, caller.name):
            raise Refusal("response_not_found", "This API key has no response of this id.", param=param)
        return owner[2]


def stores_response(call: Call) -> bool:
    """Whether its answer can be fetched again. Providers store it unless told not to."""
    return call.endpoint == "responses" and call.document is not None and call.document.get("store") is not False


async def narrowed(call: Call, plan: Plan, things: Things, runtime: Runtime) -> Plan:
    """The plan of one of `REFERRING`, with the target that holds what the call refers to. Refusal
    `response_not_found`."""
    if call.endpoint == "responses.object":
        match = _ID.match(call.path)
        provider = await things.provider_of(unquote(match.group(1)) if match else "", call.caller, None)
        return _only(plan, provider)
    if call.endpoint == "responses" and call.document is not None:
        _refuse_conversation(call, runtime)
        previous = call.document.get("previous_response_id")
        if isinstance(previous, str):
            provider = await things.provider_of(previous, call.caller, "previous_response_id")
            return _only(plan, provider)
    return plan


def _only(plan: Plan, provider: str) -> Plan:
    targets = tuple(target for target in plan.targets if target.provider == provider)
    if not targets:
        raise Refusal("response_not_found", "This API key has no response of this id.")
    return replace(plan, targets=targets[:1])


def _refuse_conversation(call: Call, runtime: Runtime) -> None:
    """Conversations are made through a passed-through path, so where none is listed nobody made one here."""
    named = call.document.get("conversation") if call.document is not None else None
    if named is not None and passthrough_for(runtime.policy, _CONVERSATIONS) is None:
        raise Refusal("response_not_found", "This gateway keeps no conversations.", param="conversation")
