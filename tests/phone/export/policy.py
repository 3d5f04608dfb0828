"""What a client may do: decisions over random grants, profiles, the chain of the audit log."""

import random
from typing import Any

from bunker_core.nips.nip46 import Method
from bunker_signer.policy import (
    Action,
    Allow,
    Ask,
    Effect,
    Grant,
    Profile,
    Rate,
    Refuse,
    decide,
    profile_grants,
)
from bunker_signer.store.audit_chain import GENESIS, AuditEntry
from phone.export.common import NOW, PEER, USER


def profile(item: Profile) -> list[dict[str, Any]]:
    """Return what a profile grants."""
    return [_grant(grant) for grant in profile_grants(item)]


def policy() -> list[dict[str, Any]]:
    """Return 300 decisions over random grants, every branch among them."""
    draw = random.Random(46)
    rows = []
    for _ in range(300):
        action = _random_action(draw)
        grants = [_random_grant(draw) for _ in range(draw.randint(0, 4))]
        try:
            rule: dict[str, Any] = {"rule": action.rule}
        except ValueError:
            rule = {}
        rows.append(
            {
                "grants": list(map(_grant, grants)),
                "action": facts_of(action),
                **rule,
                "permission": str(action.permission),
                "now": NOW,
                "decision": _decision(grants, decide(grants, action, NOW)),
                "used": [_grant(grant.used(NOW)) for grant in grants],
            }
        )
    return rows


def audit() -> list[dict[str, Any]]:
    """Return a chain of three entries."""
    rows = []
    previous = GENESIS
    for seq, (action, facts) in enumerate(
        [
            ("pair", {"client_pubkey": PEER, "outcome": "allowed", "decided_by": "secret"}),
            ("request", {"method": "sign_event", "param": "1", "outcome": "allowed"}),
            ("request", {"method": "sign_event", "outcome": "denied: é"}),
        ],
        1,
    ):
        entry = AuditEntry(seq, NOW + seq, action, USER, **facts, previous=previous).sealed()
        previous = entry.hash
        rows.append(entry.to_dict())
    return rows


def facts_of(action: Action) -> dict[str, Any]:
    """Return an action as the tables have it."""
    return {
        "method": action.method.value,
        "kind": action.kind,
        "peer": action.peer,
        "host": action.host,
        "own": action.at_own_relay,
        "context": None if action.context is None else list(action.context),
    }


def _random_action(draw: random.Random) -> Action:
    match draw.choice(["sign", "login", "decrypt", "scoped", "ping"]):
        case "sign":
            return Action(Method.SIGN_EVENT, draw.choice([1, 7]))
        case "login":
            host = draw.choice([None, "x.example", "y.example"])
            own = draw.choice([True, False])
            return Action(Method.SIGN_EVENT, 27235, host=host, at_own_relay=own)
        case "decrypt":
            return Action(Method.NIP44_DECRYPT, peer=draw.choice([USER, PEER]))
        case "scoped":
            context = (draw.choice([1, 30078]), draw.choice(["", "app"]))
            return Action(Method.NIP44V3_DECRYPT, peer=PEER, context=context)
        case _:
            return Action(Method.PING)


def _random_grant(draw: random.Random) -> Grant:
    method, params = draw.choice(
        [
            ("sign_event", [None, "1", "7", "27235", "27235:x.example"]),
            ("nip44_decrypt", [None, USER, PEER]),
            ("nip44v3_decrypt", [None, "1", "30078/app", "30078/"]),
        ]
    )
    rate = draw.choice([None, None, Rate(2, 60)])
    return Grant(
        method,
        draw.choice(params),
        draw.choice([Effect.ALLOW, Effect.ALLOW, Effect.DENY]),
        draw.choice([None, None, NOW, NOW + 1]),
        draw.choice([None, None, 0, 1, 5]),
        rate,
        draw.choice([0, NOW - 60, NOW - 59]) if rate else 0,
        draw.choice([0, 1, 2]) if rate else 0,
    )


def _grant(grant: Grant) -> dict[str, Any]:
    return {
        "method": grant.method,
        "param": grant.param,
        "effect": grant.effect.value,
        "expires_at": grant.expires_at,
        "uses_left": grant.uses_left,
        "rate": [grant.rate.count, grant.rate.seconds] if grant.rate else None,
        "window_start": grant.window_start,
        "window_used": grant.window_used,
    }


def _decision(grants: list[Grant], made: Allow | Ask | Refuse) -> dict[str, Any]:
    match made:
        case Allow(grant):
            return {"allow": True, "grant": None if grant is None else _grant(grant)}
        case Ask():
            return {"ask": True}
        case Refuse(error, grant):
            return {"refuse": error, "grant": _grant(grant)}
