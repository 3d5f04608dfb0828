"""The audit log to look at, with a chart of requests by day and app."""

from datetime import UTC, datetime
from typing import Final

from starlette.responses import Response

from bunker_core.describe import Texts
from bunker_signer.console.routing import Visit, page
from bunker_signer.console.view import chart, words
from bunker_signer.store.audit_chain import AuditEntry
from bunker_signer.store.audit_log import AuditFilter

SHOWN: Final = 100  # entries of the list
DAYS: Final = 14  # of the chart
_DAY: Final = 86400
_OUTCOMES: Final = ("allowed", "denied", "expired", "locked", "rate-limited", "invalid", "error")


async def show(visit: Visit) -> Response:
    console, t = visit.console, visit.texts
    query = visit.request.query_params
    names = {
        app.client.pubkey: words.name_of(app.client.metadata.name, t)
        for app in console.signer.apps()
    }
    app = query.get("app", "")
    outcome = query.get("outcome", "") if query.get("outcome") in _OUTCOMES else ""
    wanted = AuditFilter(client_pubkey=app or None, outcome=outcome or None)
    today = console.now() // _DAY
    since = (today - DAYS + 1) * _DAY
    requests = console.signer.entries(
        AuditFilter(action="request", since=since, client_pubkey=app or None)
    )
    drawn = chart.draw(
        [(entry.at // _DAY - today + DAYS - 1, entry.client_pubkey) for entry in requests],
        [_day_name(today - DAYS + 1 + index, t) for index in range(DAYS)],
        names,
        t,
    )
    return visit.render(
        "activity.html",
        entries=console.signer.entries(wanted, SHOWN),
        names=names,
        app=app,
        outcome=outcome,
        outcomes=_OUTCOMES,
        chart=drawn,
    )


def entry_words(entry: AuditEntry, t: Texts) -> str:
    """Return what an entry is about."""
    if entry.action == "request":
        return words.grant_words(entry.method, entry.param or None, t)
    key = f"action.{entry.action.replace(' ', '_')}"
    return t(key) if t.has(key) else entry.action


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


routes = [page("/activity", show)]
