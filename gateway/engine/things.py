"""Who may name a stored object: the caller that made it (AUTH-15). All callers share one account at the provider, so an
object's id alone must not open it. Answers tell what was made for whom; the ledger keeps it."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import unquote

import orjson

from gateway.core.errors import Refusal
from gateway.core.model import Call, Caller, Plan, Provider
from gateway.core.ports import Ledger, LedgerDown, UpstreamReply
from gateway.engine.accounts import Accounts
from gateway.engine.admit import PASSTHROUGH, passthrough_row
from gateway.engine.held import Held, is_json
from gateway.engine.runtime import Runtime
from gateway.engine.tasks import for_size
from gateway.wire import references
from gateway.wire.references import Place, Reference
from gateway.wire.sse import data_of

_MAX_RECENT = 10_000
_MAX_NAMED = 4096
_REFERRING = frozenset({"responses", "responses.object", PASSTHROUGH})

Owner = tuple[str, str, str]
"""Team, caller, provider."""


class Things:
    """Ids made by this process lately are known at once; the ledger knows all."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._recent: OrderedDict[str, Owner] = OrderedDict()

    def made(self, accounts: Accounts, things: Collection[str], caller: Caller, provider: str) -> None:
        """Known from now on, and written down beside the answer."""
        new = [thing for thing in things if thing not in self._recent]
        if not new:
            return
        owner = (caller.team, caller.name, provider)
        self._recent.update(dict.fromkeys(new, owner))
        while len(self._recent) > _MAX_RECENT:
            self._recent.popitem(last=False)
        accounts.later(self._write(new, owner, accounts.clock.wall()))

    async def _write(self, things: Sequence[str], owner: Owner, at: float) -> None:
        try:
            await self._ledger.own(things, *owner, at)
        except LedgerDown:
            return  # nobody's for other processes, and once it is forgotten here, so nobody reads it

    async def owners(self, things: Collection[str]) -> Mapping[str, Owner]:
        """Of those that are known. Refusal `ledger_unavailable`."""
        try:
            return await self._known(things)
        except LedgerDown:
            raise Refusal("ledger_unavailable", "It cannot be looked up now whose this is.", retry_after_s=5) from None

    async def _known(self, things: Collection[str]) -> Mapping[str, Owner]:
        found = {thing: self._recent[thing] for thing in things if thing in self._recent}
        asked = [thing for thing in things if thing not in found and references.is_sound(thing)]
        return {**found, **await self._ledger.owners(asked)} if asked else found

    async def noted(
        self, call: Call, reply: UpstreamReply, runtime: Runtime, provider: str, at: float
    ) -> UpstreamReply:
        """The reply to a passed-through call, once it is durable whose the objects are that it made: who gets the
        answer can name them at once. Only a short JSON answer can name any."""
        place = _place(call, runtime)
        if not (place.whole and 200 <= reply.status < 300 and is_json(reply.headers)):
            return reply
        try:
            held = await Held.of(reply)
            with contextlib.suppress(LedgerDown):  # then they are nobody's
                made = await self._made_by(call, place, await held.document())
                if made:
                    await self._ledger.own(made, call.caller.team, call.caller.name, provider, at)
        except BaseException:
            reply.close()
            raise
        return held

    async def _made_by(self, call: Call, place: Place, document: Mapping[str, Any]) -> list[str]:
        if not place.thing:
            made = references.made_by_post(document) if call.method == "POST" else []
            named = {*call.path.split("/"), *(each.thing for each in references.references(call.document or {}))}
            return [thing for thing in made if thing not in named]  # what was there before is not the caller's
        made = references.made_for(document)
        owner = (await self._known([place.thing])).get(place.thing) if made else None
        return made if owner is not None and _is_own(owner, call.caller) else []


class Making:
    """What one answer of the Responses API makes its caller's: the response, its output items, their containers. Of a
    response that is not `stored` only the containers stay."""

    def __init__(self, things: Things, accounts: Accounts, caller: Caller, provider: str, *, stored: bool) -> None:
        self._tell = partial(things.made, accounts, caller=caller, provider=provider)
        self._stored = stored
        self._is_named = not stored

    def document(self, document: Any) -> None:
        if type(document) is dict:
            self._response(document)
            self._items(document.get("output"))

    def frame(self, frame: bytes) -> None:
        """The first event about a response names it; items are told as they begin, containers as they are known. All is
        read as JSON: what the caller wrote is in it too."""
        if not self._is_named and b'"response"' in frame:
            self._is_named = True
            response = _event(frame).get("response")
            if type(response) is dict:
                self._response(response)
        elif b"output_item.added" in frame or b'"container_id"' in frame:
            event = _event(frame)
            if event.get("type") in {"response.output_item.added", "response.output_item.done"}:
                self._items([event.get("item")])

    def _response(self, response: dict[str, Any]) -> None:
        if self._stored and references.is_sound(response.get("id")):
            self._tell(things=[response["id"]])

    def _items(self, items: Any) -> None:
        self._tell(things=references.made_in(items, stored=self._stored))


def making(call: Call, things: Things, accounts: Accounts, provider: str) -> Making | None:
    """None where the answer makes nothing that stays. Providers store responses unless told not to; a response that is
    fetched tells what it has come to meanwhile."""
    if call.endpoint == "responses.object":
        return Making(things, accounts, call.caller, provider, stored=True)
    if call.endpoint != "responses" or call.document is None:
        return None
    stored = call.document.get("store") is not False
    if not stored and not references.may_run(call.document):
        return None
    return Making(things, accounts, call.caller, provider, stored=stored)


def may_refer(call: Call) -> bool:
    """Whether a call can name something that a provider has stored; quick, as nearly all chats cannot."""
    if call.endpoint == "chat":
        return call.document is not None and references.may_name_file(call.document)
    return call.endpoint in _REFERRING


async def narrowed(call: Call, plan: Plan, things: Things, runtime: Runtime) -> Plan:
    """The plan, with the targets that hold what the call refers to. Refusals `response_not_found`, `object_not_found`:
    whether it is somebody else's or nobody's looks the same; `listing_not_allowed`."""
    named = await _named(call, plan, runtime)
    if not named:
        return plan
    if len(named) > _MAX_NAMED:
        raise Refusal("too_many_values", f"A call may name {_MAX_NAMED} stored objects.")
    owners = await things.owners({reference.thing for reference in named})
    providers, targets = runtime.policy.providers, plan.targets
    for reference in named:
        owner = owners.get(reference.thing)
        if owner is None:
            shared = not reference.is_response
            targets = tuple(each for each in targets if shared and providers[each.provider].objects == "shared")
        elif _is_own(owner, call.caller):
            targets = tuple(each for each in targets if _is_same(owner[2], each.provider, providers))
        else:
            targets = ()
        if not targets:
            raise _not_found(reference)
    return plan if targets == plan.targets else replace(plan, targets=targets)


async def _named(call: Call, plan: Plan, runtime: Runtime) -> list[Reference]:
    if call.endpoint == "responses.object":
        thing = call.path.partition("?")[0].split("/")[3]
        return [Reference(unquote(thing), is_response=True)]
    named = []
    if call.endpoint == PASSTHROUGH:
        thing = _place(call, runtime).thing
        if thing:
            named.append(Reference(thing))
        elif call.method != "POST" and runtime.policy.providers[plan.targets[0].provider].objects == "own":
            raise Refusal("listing_not_allowed", "This path shows what all callers stored; name an object of your own.")
    if call.document is not None and isinstance(call.body, bytes):
        named += await for_size(len(call.body), partial(references.references, call.document))
    return named


def _place(call: Call, runtime: Runtime) -> Place:
    path = call.path.partition("?")[0]
    if "%2f" in path.lower():  # the provider may read it as several parts
        raise _not_found(Reference(path))
    return references.place_of(path, passthrough_row(call, runtime).path)


def _not_found(reference: Reference) -> Refusal:
    kind = "response" if reference.is_response else "object"
    return Refusal(f"{kind}_not_found", f"This API key has no {kind} of this id.", param=reference.param)


def _is_own(owner: Owner, caller: Caller) -> bool:
    return owner[:2] == (caller.team, caller.name)


def _is_same(one: str, other: str, providers: Mapping[str, Provider]) -> bool:
    """Whether two rows lead to one account, so that what is stored through one is there for the other."""
    return one == other or (one in providers and _account(providers[one]) == _account(providers[other]))


def _account(provider: Provider) -> tuple[object, ...]:
    built_in = provider.name if not provider.base_url else ""
    return built_in, provider.base_url, provider.api_key, provider.organization, provider.project, provider.headers


def _event(frame: bytes) -> dict[str, Any]:
    try:
        event = orjson.loads(data_of(frame) or b"null")
    except orjson.JSONDecodeError:
        return {}
    return event if type(event) is dict else {}
