"""What Prometheus is told: counted in plain numbers, written out when it asks."""

from prometheus_client.parser import text_string_to_metric_families

from bunker_signer.process.metrics import Metrics
from support.modules import modules_after


def test_the_page_has_every_number() -> None:
    """Prometheus's own parser reads it; a method that is none of NIP-46's is `other`."""
    metrics = Metrics()
    for method, error in (("sign_event", None), ("sign_event", "denied: by you"), ("x" * 99, None)):
        metrics.count(method, error)
    metrics.count("sign_event", None)
    metrics.drop("stale")
    metrics.sent(delivered=True)
    metrics.sent(delivered=False)
    for seconds in (-1.0, 0.005, 0.006, 60.0, 999.0):
        metrics.took(seconds)
    text = metrics.text(waiting=3, relays=2, unlocked={"default": True, "other": False}).decode()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    name = "bunker_signer_request_seconds"
    buckets = {key[1]: found.pop(key) for key in list(found) if key[0] == f"{name}_bucket"}
    assert found == {
        ("bunker_signer_requests_total", "sign_event", "ok"): 2,
        ("bunker_signer_requests_total", "sign_event", "denied"): 1,
        ("bunker_signer_requests_total", "other", "ok"): 1,
        ("bunker_signer_dropped_total", "stale"): 1,
        ("bunker_signer_replies_total", "delivered"): 1,
        ("bunker_signer_replies_total", "undelivered"): 1,
        (f"{name}_count",): 5,
        (f"{name}_sum",): 0.011 + 60 + 999,
        ("bunker_signer_waiting",): 3,
        ("bunker_signer_relays",): 2,
        ("bunker_signer_key_unlocked", "default"): 1,
        ("bunker_signer_key_unlocked", "other"): 0,
    }
    assert len(buckets) == 13
    assert [buckets[le] for le in ("0.005", "0.01", "15.0", "60.0", "120.0", "+Inf")] == [
        *(2, 3, 3, 4, 4, 5)
    ]


def test_counting_does_not_load_the_library() -> None:
    """A signer whom nobody asks has nothing of it in memory."""
    code = (
        "from bunker_signer.process.metrics import Metrics; import bunker_signer.service.service;"
        "Metrics().count('ping', '')"
    )
    assert "prometheus_client" not in modules_after(code)
