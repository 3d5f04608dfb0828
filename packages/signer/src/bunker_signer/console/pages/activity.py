"""The audit log to look at, with a chart of requests by day and app."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from bunker_core.describe import Texts, plain
from bunker_signer.console.routing import page
from bunker_signer.console.site import Visit
from bunker_signer.console.view import chart, words
from bunker_signer.store.audit_chain import AuditEntry
from bunker_signer.store.audit_log import AuditFilter

SHOWN: Final = 100  # entries of the list
SEARCHED: Final = 5000  # entries that a search looks at
EXPORTED: Final = 20_000  # entries of an export
DAYS: Final = 14  # of the chart
_DAY: Final = 86400
_OUTCOMES: Final = ("allowed", "denied", "expired", "locked", "rate-limited", "invalid", "error")


async def show(visit: Visit) -> Response:
    console, t = visit.console, visit.texts
    wanted, app, outcome, asked = _filter(visit)
    today = console.now() // _DAY
    since = (today - DAYS + 1) * _DAY
    requests = await console.signer.requests_by_day(since, app or None)
    found = _found(visit, wanted, asked, SHOWN)
    apps = {item.client.pubkey: item.client.metadata.name for item in console.signer.apps()}
    pubkeys = {pubkey for _, pubkey in requests} | {entry.client_pubkey for entry in found}
    pubkeys = (pubkeys | {app}) - {""}
    called = {key: names[-1][1] for key, names in console.signer.names(pubkeys).items()}
    names = {
        key: words.name_of(name, t)
        for key, name in {**called, **apps}.items()
        if name or key in apps
    }
    drawn = chart.draw(
        {(day - today + DAYS - 1, pubkey): count for (day, pubkey), count in requests.items()},
        [_day_name(today - DAYS + 1 + index, t) for index in range(DAYS)],
        names,
        t,
    )
    return visit.render(
        "activity.html",
        entries=tell(visit, found),
        names=names,
        app=app,
        outcome=outcome,
        outcomes=_OUTCOMES,
        asked=asked,
        query=urlencode({"app": app, "outcome": outcome, "q": asked}),
        chart=drawn,
    )


async def export(visit: Visit) -> Response:
    """Return what the filter shows as a table for a spreadsheet, newest first."""
    wanted, _, _, asked = _filter(visit)
    text = io.StringIO()
    table = csv.writer(text)
    t = visit.texts
    columns = ("time", "what", "app", "app_key", "key", "outcome", "by", "event_id")
    table.writerow([t(f"export.{column}") for column in columns])
    for shown in tell(visit, _found(visit, wanted, asked, EXPORTED)):
        entry = shown.entry
        row = (
            words.moment(entry.at, t).iso,
            shown.what,
            shown.app,
            entry.client_pubkey,
            entry.key_name,
            outcome_words(entry, t) if shown.outcome else entry.outcome,
            words.by_words(entry.decided_by, t),
            entry.event_id,
        )
        table.writerow([_cell(value) for value in row])
    headers = {"content-disposition": 'attachment; filename="nostr-bunker-activity.csv"'}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


@dataclass(frozen=True, slots=True)
class ShownEntry:
    """An entry of the audit log as it is shown."""

    entry: AuditEntry
    what: str
    app: str  # as it was called then; "" where the sentence names it, or there is none
    outcome: bool  # whether there is an outcome to show beside the sentence


def tell(visit: Visit, entries: Sequence[AuditEntry]) -> list[ShownEntry]:
    """Return entries in words, with the names that apps had at the time."""
    t = visit.texts
    console = visit.console
    pubkeys = {entry.client_pubkey for entry in entries} - {""}
    known = console.signer.names(pubkeys)
    now = {item.client.pubkey: item.client.metadata.name for item in console.signer.apps()}

    def name(entry: AuditEntry) -> str:
        called = known.get(entry.client_pubkey, ())
        then = [text for number, text in called if number <= entry.seq]
        later = [text for _, text in called]
        found = (*then[-1:], now.get(entry.client_pubkey, ""), *later[:1])
        best = next((text for text in found if text), "")
        return words.name_of(best, t) if best else plain.short(entry.client_pubkey)

    told = []
    for entry in entries:
        app = name(entry) if entry.client_pubkey else ""
        sentence = _sentence(entry, app, t)
        alone = sentence is not None
        what = sentence if sentence is not None else entry_words(entry, t)
        outcome = bool(entry.outcome) and not alone
        told.append(ShownEntry(entry, what, "" if alone else app, outcome))
    return told


def entry_words(entry: AuditEntry, t: Texts) -> str:
    """Return what an entry is about."""
    if entry.action == "request":
        return words.grant_words(entry.method, entry.param or None, t)
    key = f"action.{entry.action.replace(' ', '_')}"
    return t(key, param=entry.param) if t.has(key) else entry.action


def _sentence(entry: AuditEntry, app: str, t: Texts) -> str | None:
    """Return the whole of what happened to an app's rights; None for a request and the rest."""
    if entry.action == "request" or not app:
        return None
    what = words.grant_words(entry.method, entry.param or None, t) if entry.method else ""
    if entry.action == "grant":
        effect, _, limits = entry.outcome.partition(" ")
        said = t(f"told.{'grant' if effect == 'allow' else 'never'}", app=app, what=what)
        return f"{said} ({_limits(limits, t)})" if limits else said
    key = f"told.{entry.action.replace(' ', '_')}"
    if entry.action == "revoke" and entry.method:  # as the command line wrote it once
        key = "told.revoke_grant"
    return t(key, app=app, what=what) if t.has(key) else None


def _limits(text: str, t: Texts) -> str:
    """Return how long and how many times, as the log has it: `600s 2x`."""
    periods = {f"{seconds}s": value for value, seconds in words.PERIODS.items()}
    parts = []
    for part in text.split():
        number = part[:-1]
        if part in periods:
            parts.append(t(f"answer.{periods[part]}"))
        elif part.endswith("x") and number.isdigit():
            parts.append(t.number("told.uses", int(number)))
        elif part.endswith("s") and number.isdigit():
            parts.append(t("keys.seconds", n=number))
    return ", ".join(parts)


def _filter(visit: Visit) -> tuple[AuditFilter, str, str, str]:
    query = visit.request.query_params
    app = query.get("app", "")[:64]
    outcome = query.get("outcome", "") if query.get("outcome") in _OUTCOMES else ""
    wanted = AuditFilter(client_pubkey=app or None, outcome=outcome or None)
    return wanted, app, outcome, query.get("q", "").strip()[:100]


def _found(visit: Visit, wanted: AuditFilter, asked: str, most: int) -> tuple[AuditEntry, ...]:
    """Return the newest entries; of those that were asked for, among the last SEARCHED."""
    signer = visit.console.signer
    if not asked:
        return signer.entries(wanted, most)
    entries = signer.entries(wanted, SEARCHED)
    wanted_text = asked.casefold()
    t = visit.texts
    return tuple(
        shown.entry
        for shown in tell(visit, entries)
        if wanted_text in f"{shown.what} {shown.app}".casefold()
        or (shown.outcome and wanted_text in outcome_words(shown.entry, t).casefold())
        or shown.entry.event_id.startswith(asked.lower())
        or wanted_text in words.by_words(shown.entry.decided_by, t).casefold()
    )[:most]


def _cell(value: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: names are strangers' texts."""
    return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def outcome_words(entry: AuditEntry, t: Texts) -> str:
    """Return how it ended; of an error the stable word that it starts with."""
    word = entry.outcome.partition(":")[0]
    return t(f"activity.out_{word}") if t.has(f"activity.out_{word}") else word


def outcome_class(entry: AuditEntry) -> str:
    """Return the colour of an outcome."""
    return "good" if entry.outcome == "allowed" else "bad"


def _day_name(day: int, t: Texts) -> str:
    date = datetime.fromtimestamp(day * _DAY, UTC)
    return t("date.day", month=f"{date.month:02}", day=f"{date.day:02}")


routes = [page("/activity", show), page("/activity/export", export)]
