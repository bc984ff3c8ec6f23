"""Builds everything from settings and policy; the only place that names concrete classes."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Mapping
from importlib.metadata import version
from urllib.parse import urlsplit

from structlog.typing import FilteringBoundLogger

from gateway.callers.directory import Directory
from gateway.callers.jwt import JwtVerifier
from gateway.callers.keys import KeyTable
from gateway.core.clock import Clock
from gateway.core.model import Headers, Pool, Provider, Timeouts, Tls
from gateway.core.ports import Ledger, Store, StoreDown, Upstream, UpstreamReply
from gateway.core.reports import Row, balance_row
from gateway.core.secret import Secret
from gateway.engine.accounts import Accounts
from gateway.engine.pipeline import Engine, Render, Services
from gateway.engine.runtime import Runtime
from gateway.engine.statements import balances, known_limits
from gateway.engine.tasks import Tasks
from gateway.engine.things import Things
from gateway.guards import webhook
from gateway.ledgers.table import open_ledger
from gateway.policy.compile import PolicySet
from gateway.policy.guards import Post, Workshop
from gateway.policy.load import PolicyError, Source, load, read_source
from gateway.policy.watch import Watcher
from gateway.prices.catalogue import Catalogue
from gateway.providers.demo.provider import Demo
from gateway.providers.openai import OpenAI
from gateway.settings import Settings
from gateway.sinks.audit import Audit, Trigger
from gateway.sinks.gather import Gather
from gateway.sinks.genai_metrics import Names
from gateway.sinks.log import CallLog
from gateway.sinks.metrics import Metrics
from gateway.sinks.otlp_encode import Series
from gateway.sinks.otlp_export import Exporter
from gateway.sinks.otlp_settings import OtlpSettings, read_otlp
from gateway.sinks.provider_facts import ProviderFacts
from gateway.sinks.sampling import Sampler
from gateway.sinks.traces import Look, Traces
from gateway.stores.local import LocalShare
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore, StoreUnusable
from gateway.stores.table import open_store
from gateway.tokens.tokenizer import Tokenizer
from gateway.transport.http import Http

_FETCH_TIMEOUTS = Timeouts(connect_s=3, first_byte_s=5, idle_s=5, total_s=10)
_MAX_FETCH_BYTES = 1 << 20
_PAID_S = 10.0
_EXPORT_S = 5.0


class Gateway:
    """One process's gateway: the engine and the policy it runs, and how the policy is replaced."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        log: FilteringBoundLogger,
        clock: Clock,
        metrics: Metrics,
        render: Render,
        mask_key: Secret,
        audit: Audit,
        *,
        alone: bool = True,
    ) -> None:
        """`alone`: no other process of this gateway has the ledger's lock, or tells the audit what is loaded."""
        self._settings = settings
        self._alone = alone
        self._node = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._collectors: dict[str, Http] = {}
        self._exporter: Exporter | None = None
        self._mask_key = mask_key
        self._workshop = Workshop(self._post_for)
        directory = self._directory = settings.policies
        self._environ = environ
        self._log = log
        self._audit = audit
        self._clock = clock
        self.metrics = metrics
        self._render = render
        self.tasks = Tasks()
        self._watcher = Watcher(directory)
        self._tokens: JwtVerifier | None = None
        self._keys: KeyTable | None = None
        self.last_error: str = ""
        self._policies_loading = asyncio.Lock()
        self.engine: Engine
        self.accounts: Accounts
        self._gather: Gather
        self._traces: Traces

    async def start(self, source: Source) -> None:
        """Loads the first policy set and opens what usage is kept in. PolicyErrors, LedgerUnusable, StoreUnusable."""
        policy = load(source, self._directory, self._environ, self._workshop)
        refuse_uncounted(policy, self._settings)
        exporter = self._exporter = self._exporter_of(read_otlp(self._environ))
        self._traces = Traces(exporter)
        runtime = self._runtime(policy, previous=None)
        self._told_of(policy)
        if self._alone:
            self._audit.policy_loaded("start", "", policy.version)
        self.accounts = await self._opened(runtime.policy)
        if exporter is not None:
            self.tasks.start(exporter.run(), "export")
        sinks = (self.metrics, CallLog(self._log), self._traces)
        self._gather = Gather(sinks, self.tasks, self._log)
        self.engine = Engine(
            runtime,
            Services(
                accounts=self.accounts,
                things=Things(self.accounts.ledger),
                sinks=(self._gather,),
                clock=self._clock,
                tasks=self.tasks,
                log=self._log,
                render=self._render,
                secret=self._mask_key.reveal().encode(),
                explains=exporter is not None,
            ),
        )
        self.accounts.start()

    async def _opened(self, policy: PolicySet) -> Accounts:
        settings = self._settings
        node = self._node
        ledger = await opened_ledger(settings, node, lock=self._alone)
        found = await ledger.recover(self._clock.wall())
        if found:
            self._log.warning("attempts_recovered", unknown=found)
        shared, store = await self._store(policy)
        return Accounts(
            shared,
            store,
            ledger,
            Tokenizer(),
            self._clock,
            self.tasks,
            self._log,
            node=node,
            retention_s=settings.ledger_retention_days * 86_400.0,
        )

    async def _store(self, policy: PolicySet) -> tuple[Store, Store]:
        """The shared counters; and the same with this process's own share for when they cannot be asked. A server that
        would lose counters is refused (StoreUnusable); one that is away is waited for by the calls that need it."""
        settings = self._settings
        if settings.store is None:
            memory = MemoryStore(self._clock)
            return memory, memory
        self.metrics.store_up.set((), 1)
        url, deadline_s = settings.store.reveal(), settings.store_deadline_s
        shared = open_store(url, self._clock, deadline_s=deadline_s, on_state=self._store_state)
        if isinstance(shared, RedisStore):
            try:
                await shared.check()
            except StoreUnusable:
                raise
            except StoreDown:
                self._store_state(is_down=True)
        return shared, LocalShare(shared, MemoryStore(self._clock), policy.accounting.local_share)

    def _store_state(self, is_down: bool) -> None:
        self.metrics.store_up.set((), not is_down)
        if is_down:
            self._log.error("store_down")
        else:
            self._log.info("store_up")

    @property
    def policy(self) -> PolicySet:
        return self.engine.runtime.policy

    @property
    def traces(self) -> Traces:
        """With every call that has ended."""
        self._gather.flush()
        return self._traces

    async def budgets(self) -> list[Row]:
        """Every counter of the policy's limits that somebody has, as it stands."""
        accounts, now = self.accounts, self._clock.wall()
        limits = await known_limits(self.policy, accounts.ledger, now)
        return [
            balance_row(ask, known, now) for ask, known in await balances(limits, accounts.ledger, accounts.store, now)
        ]

    async def reload(self, source: Source | None = None, trigger: Trigger = "files") -> bool:
        """Replaces the policy set as a whole, or keeps the current one and says why. True when it is loaded."""
        async with self._policies_loading:
            try:
                if source is None:
                    source = await asyncio.to_thread(read_source, self._directory)
                policy = await asyncio.to_thread(load, source, self._directory, self._environ, self._workshop)
                refuse_uncounted(policy, self._settings)
                runtime = self._runtime(policy, previous=self.engine.runtime)
            except Exception as error:
                if self._alone:
                    self._audit.policy_refused(trigger, self.policy.version, problems_of(error))
                self._reload_failed(error)
                return False
            before = self.policy.version
            self._swap(runtime)
            if self._alone:
                self._audit.policy_loaded(trigger, before, policy.version)
            return True

    async def reload_when_changed(self, interval_s: float) -> None:
        """Looks at the files for ever."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                source = await asyncio.to_thread(self._watcher.changed)
            except Exception as error:
                if self._alone and problems_of(error) != self.last_error:  # a look that fails is repeated for ever
                    self._audit.policy_refused("files", self.policy.version, problems_of(error))
                self._reload_failed(error)
                continue
            if source is not None:
                await self.reload(source)

    async def close(self) -> None:
        await self.tasks.paid(_PAID_S)
        self._gather.flush()
        await self.accounts.close()
        if self._exporter is not None:
            await self._exporter.stop(_EXPORT_S)
            await asyncio.gather(*(http.close() for http in self._collectors.values()))
        await self.tasks.stop()
        await asyncio.gather(*(upstream.close() for upstream in self.engine.runtime.upstreams.values()))

    def _reload_failed(self, error: Exception) -> None:
        """The text of policy errors names files, lines and keys, never values of secrets."""
        text = problems_of(error)
        if text != self.last_error:
            self._log.error("policy_refused", problems=text[:4096], kept=self.policy.version)
        self.last_error = text
        self.metrics.reloads.add(("refused",))

    def _swap(self, runtime: Runtime) -> None:
        old, self.engine.runtime = self.engine.runtime, runtime
        self.last_error = ""
        self.metrics.reloads.add(("loaded",))
        self._told_of(runtime.policy)
        kept = {id(upstream) for upstream in runtime.upstreams.values()}
        dropped = [upstream for upstream in old.upstreams.values() if id(upstream) not in kept]
        if dropped:
            self.tasks.start(self.tasks.after_running_calls(dropped), "close dropped providers")

    def _exporter_of(self, settings: OtlpSettings | None) -> Exporter | None:
        """ValueError for a variable that cannot be meant."""
        if settings is None:
            return None
        release = version("llm-gateway")
        scope = ("gateway", release)
        resource = {"service.version": release, **settings.resource, "service.instance.id": self._node}
        for endpoint in (settings.traces, settings.metrics):
            if endpoint is not None:
                pool = Pool(max_connections=4)
                self._collectors[endpoint.url] = Http(_origin(endpoint.url), Timeouts(), pool, endpoint.tls)
        return Exporter(settings, resource, scope, self._post_spans, self._series, self._log)

    def _series(self) -> list[Series]:
        self.note_state()
        return self.metrics.series()

    async def _post_spans(self, url: str, headers: Headers, body: bytes) -> tuple[int, Headers]:
        reply = await self._collectors[url].send("POST", _target(url), headers, body, None)
        try:
            while await reply.read():
                pass
            return reply.status, reply.headers
        finally:
            reply.close()

    def note_state(self) -> None:
        """Every call that has ended, and what no Record tells, as it stands: for a snapshot of the metrics."""
        self._gather.flush()
        metrics, accounts = self.metrics, self.accounts
        metrics.leases.set((), len(accounts.leases))
        metrics.settlements_waiting.set((), accounts.unsettled)
        metrics.ledger_up.set((), accounts.ledger.up)
        metrics.ledger_waiting.set((), accounts.ledger.waiting)
        if self._exporter is not None:
            stats = self._exporter.stats
            metrics.export_waiting.set((), stats.waiting)
            metrics.exported.set((), stats.exported)
            for reason, count in stats.dropped.items():
                metrics.export_drops.set((reason,), count)

    def _told_of(self, policy: PolicySet) -> None:
        facts = {name: ProviderFacts.of(row.base_url) for name, row in policy.providers.items()}
        names = {name: known.name for name, known in facts.items()}
        self.metrics.adopt(policy.version, Names(policy.models.rule_for, names, policy.tracing.metrics))
        sampler = Sampler(policy.tracing.sample, policy.tracing.keep)
        self._traces.adopt(Look(sampler, policy.tracing.profiles, policy.tracing.thin, facts))
        self._log.info(
            "policy_loaded",
            version=policy.version,
            providers=len(policy.providers),
            models=len(policy.models.names()),
            keys=len(policy.keys),
        )

    def _runtime(self, policy: PolicySet, previous: Runtime | None) -> Runtime:
        upstreams = {name: self._upstream(row, previous) for name, row in policy.providers.items()}
        prices = Catalogue(policy.prices)
        # The old verifier's key sets are kept, so that a reload does not depend on the identity provider being up.
        self._tokens = JwtVerifier(policy.issuers, self._clock, self._fetch, self._tokens)
        self._keys = KeyTable(policy.keys, self._keys)
        directory = Directory(self._keys, self._tokens, self._clock, self._audit.revoked_key)
        return Runtime(policy, directory, upstreams, prices, self._clock.wall())

    def _upstream(self, row: Provider, previous: Runtime | None) -> Upstream:
        """An unchanged row keeps its connections over a reload."""
        if previous is not None and previous.policy.providers.get(row.name) == row:
            return previous.upstreams[row.name]
        if row.shape == "demo":
            return Demo(self._clock)
        return OpenAI(row, Http(_origin(row.base_url), row.timeouts, row.pool, row.tls))

    def _post_for(self, row: webhook.Row, secret: str) -> Post:
        """Connections are opened when the first text is to be judged: policies are also built away from the loop."""
        timeouts = Timeouts(connect_s=2, first_byte_s=row.timeout_ms / 1000, idle_s=5, total_s=row.timeout_ms / 1000)
        given = webhook.headers(Secret(secret) if secret else None)
        headers = [(name.encode(), value.encode()) for name, value in given.items()]
        pools: list[Http] = []

        async def post(body: bytes) -> bytes:
            if not pools:
                pools.append(Http(_origin(row.url), timeouts, Pool(max_connections=64), Tls()))
            reply = await pools[0].send("POST", _target(row.url), headers, body, None)
            return await _small_body(reply)

        return post

    async def _fetch(self, url: str) -> bytes:
        """A small document of an identity provider. No redirects, bounded in time and size."""
        http = Http(_origin(url), _FETCH_TIMEOUTS, Pool(max_connections=1), Tls())
        try:
            reply = await http.send("GET", _target(url), [(b"accept", b"application/json")], b"", None)
            return await _small_body(reply)
        finally:
            await http.close()


def problems_of(error: Exception) -> str:
    return str(error) or type(error).__name__


def refuse_uncounted(policy: PolicySet, settings: Settings) -> None:
    """Several processes that count each for itself would let through several times what the policy allows (BUD-16)."""
    if settings.workers > 1 and settings.store is None and policy.limit_table.rules:
        rule = policy.limit_table.rules[0].name
        raise PolicyError(
            f'the limit "{rule}" needs one count for all workers: set GATEWAY_STORE to a Redis or Valkey server, '
            "or run one worker"
        )


async def opened_ledger(settings: Settings, node: str, *, lock: bool) -> Ledger:
    """LedgerUnusable."""
    url = settings.ledger.reveal() if settings.ledger else ""
    return await open_ledger(url, settings.data_dir, node=node, sync=settings.ledger_sync, lock=lock)


async def _small_body(reply: UpstreamReply) -> bytes:
    """OSError for any status but 200 and for a body that is too large."""
    try:
        if reply.status != 200:
            raise OSError(f"status {reply.status}")
        body = b""
        while chunk := await reply.read():
            body += chunk
            if len(body) > _MAX_FETCH_BYTES:
                raise OSError("document too large")
        return body
    finally:
        reply.close()


def _target(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
