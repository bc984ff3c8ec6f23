"""Rows of budgets, rate limits, prices and accounting -> what calls are counted by."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gateway.core.model import Names
from gateway.core.rates import Tier
from gateway.core.usage import BUCKETS
from gateway.policy import schema
from gateway.policy.compile import Accounting
from gateway.policy.limits import LimitRule, Measure
from gateway.policy.suggest import suggestion
from gateway.prices.rows import PriceRow, service_tier

Path = tuple[str | int, ...]
Report = Callable[[Path, str], None]

_SOFT_WARNS_AT = 100


class AccountsBuilder:
    """`report(path, message)` takes every problem; `provider_known(path, name)` reports a provider that is none."""

    def __init__(
        self,
        document: schema.PolicyDocument,
        report: Report,
        is_wrong: Callable[[str, str | None], bool],
        provider_known: Callable[[Path, str], bool],
    ) -> None:
        self._document = document
        self._report = report
        self._is_wrong = is_wrong
        self._provider_known = provider_known

    # -- limits

    def budgets(self) -> tuple[LimitRule, ...]:
        return tuple(
            self._rule("budgets", name, row, (Measure("usd", row.usd, row.window),))
            for name, row in self._document.budgets.items()
        )

    def rate_limits(self) -> tuple[LimitRule, ...]:
        return tuple(
            self._rule("rate_limits", name, row, self._rates(name, row))
            for name, row in self._document.rate_limits.items()
        )

    def _rates(self, name: str, row: schema.RateLimitRow) -> tuple[Measure, ...]:
        found = (
            Measure("requests", row.requests_per_minute or 0, "minute"),
            Measure("tokens", row.tokens_per_minute or 0, "minute"),
            Measure("calls", row.concurrency or 0, "now"),
        )
        if not any(measure.amount for measure in found):
            self._report(("rate_limits", name), "needs one of requests_per_minute, tokens_per_minute and concurrency")
        return tuple(measure for measure in found if measure.amount)

    def _rule(self, section: str, name: str, row: schema.LimitRow, measures: tuple[Measure, ...]) -> LimitRule:
        for key, wanted in row.match.items():
            self._check_match((section, name, "match", key), key, wanted)
        for index, key in enumerate(row.each):
            if key in row.each[:index]:
                self._report((section, name, "each", index), f'"{key}" stands twice')
            self._check_match((section, name, "each", index), key, "*")
        hard = row.mode == "hard"
        warn_at = {*row.warn_at} if hard else {*row.warn_at, _SOFT_WARNS_AT}
        return LimitRule(name, measures, dict(row.match), tuple(row.each), hard, tuple(sorted(warn_at)))

    def _check_match(self, path: Path, key: str, wanted: str) -> None:
        """A limit that can hold for nobody is a mistake that nobody would notice."""
        known = self._known(key)
        if known is None or Names.of(known).meets(wanted):
            return
        labels = {f"label.{label}" for labels in self._labels() for label in labels}
        if key.startswith("label.") and key not in labels:
            self._report(path, f"no caller has this label{suggestion(key, labels)}")
        else:
            self._report(path, f'there is no {key} "{wanted}"{suggestion(wanted, known)}')

    def _known(self, key: str) -> list[str] | None:
        """The values that calls can have; None where they cannot be told from the policy."""
        document = self._document
        if key == "model":
            return None if self._is_wrong("models", None) else list(document.models)
        if self._is_wrong("callers", None) or self._is_wrong("issuers", None):
            return None
        if not document.callers and not document.issuers:
            return None
        if key.startswith("label."):
            return [labels[name] for labels in self._labels() if (name := key.removeprefix("label.")) in labels]
        if document.issuers:
            return None
        return list(document.callers) if key == "caller" else [row.team for row in document.callers.values()]

    def _labels(self) -> list[dict[str, str]]:
        rights = [rule.labels for row in self._document.issuers.values() for rule in row.rights]
        return [row.labels for row in self._document.callers.values()] + rights

    # -- prices

    def prices(self) -> tuple[PriceRow, ...]:
        found: dict[tuple[str, str, str, bool], str] = {}
        for name, row in self._document.prices.items():
            if row.provider is not None:
                self._provider_known(("prices", name, "provider"), row.provider)
            same = found.setdefault((row.provider or "", row.model, row.service_tier or "", _only_fees(row)), name)
            if same != name:
                self._report(("prices", name), f'"{same}" is the price of the same provider, model and service_tier')
            if not _rates(row) and "per_request" not in row.model_fields_set and not row.fees:
                self._report(
                    ("prices", name), "needs a rate such as input or output, or per_request, or fees; 0 is free"
                )
            if _only_fees(row) and (row.above or row.context_window):
                self._report(("prices", name), "has fees only, so above and context_window do nothing")
        return tuple(self._price(name, row) for name, row in self._document.prices.items())

    def _price(self, name: str, row: schema.PriceRow) -> PriceRow:
        for index, tier in enumerate(row.above):
            if not _rates(tier):
                self._report(("prices", name, "above", index), "needs a rate such as input or output")
            if tier.tokens in {other.tokens for other in row.above[:index]}:
                self._report(("prices", name, "above", index, "tokens"), "another tier begins at the same count")
        return PriceRow(
            provider=row.provider or "",
            model=row.model,
            per_million=_rates(row),
            tiers=tuple(sorted((Tier(tier.tokens, _rates(tier)) for tier in row.above), key=lambda tier: tier.above)),
            per_request=row.per_request,
            tier=service_tier(row.service_tier) if row.service_tier else "",
            context_window=row.context_window,
            fees={str(tool): nano for tool, nano in row.fees.items()},
            only_fees=_only_fees(row),
        )

    # -- how calls are counted

    def accounting(self) -> Accounting:
        row = self._document.accounting
        if row.unpriced == "flat" and row.flat_usd is None:
            self._report(("accounting", "unpriced"), "flat needs flat_usd, the charge of such a call")
        if row.unpriced != "flat" and row.flat_usd is not None:
            self._report(("accounting", "flat_usd"), "is used with unpriced: flat only")
        return Accounting(flat_nano=row.flat_usd or 0, **row.model_dump(exclude={"flat_usd"}))

    def model_caps(self) -> dict[str, int]:
        rows: Iterable[tuple[str, schema.ModelRow]] = self._document.models.items()
        return {name: row.max_output_tokens for name, row in rows if row.max_output_tokens is not None}


def _only_fees(row: schema.PriceRow) -> bool:
    return bool(row.fees) and not _rates(row) and "per_request" not in row.model_fields_set


def _rates(row: schema.RatesRow) -> dict[str, int]:
    return {bucket: rate for bucket in BUCKETS if (rate := getattr(row, bucket)) is not None}
