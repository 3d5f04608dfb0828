"""What every connection of a relay works with."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bunker_core.bounds.rate import Buckets
    from bunker_relay.client.answers import Answers
    from bunker_relay.client.connection import Connection
    from bunker_relay.client.cork import Corks
    from bunker_relay.client.fair_reads import FairReads
    from bunker_relay.event.hub import Hub
    from bunker_relay.event.ingest import Ingest
    from bunker_relay.event.limits import Budget
    from bunker_relay.event.policy import Policy
    from bunker_relay.metrics import Counters
    from bunker_relay.nodes.bus import Bus
    from bunker_relay.store.store import Store


@dataclass(frozen=True, slots=True)
class Parts:
    """One relay's."""

    policy: "Policy"
    hub: "Hub"
    ingest: "Ingest"
    store: "Store | None"
    bus: "Bus"
    queries: "Buckets"
    memory: "Budget"  # of all subscriptions
    filters: "Budget"  # of all subscriptions, by number
    large: "Budget"  # of messages that are read and are large
    unread: "Budget"  # of what clients have still to take
    answers: "Answers"
    counters: "Counters"
    corks: "Corks"
    fair_reads: "FairReads"
    connections: "set[Connection]"
