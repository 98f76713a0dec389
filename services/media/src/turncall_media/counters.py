"""What a media worker counts; read at ``/metrics``."""

from prometheus_client import CollectorRegistry, Counter


class Counters:
    """The counters of one process, in its own registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sockets = Counter(
            "turncall_media_sockets", "Media sockets, by what became of them.", ["outcome"], registry=registry
        )
        self.offers = Counter("turncall_media_offers", "Offers of calls, by our answer.", ["answer"], registry=registry)
        self.claims = Counter("turncall_media_claims", "Claims of epochs, by result.", ["result"], registry=registry)
        self.epochs = Counter(
            "turncall_media_epochs", "Epochs served to their end, by reason.", ["reason"], registry=registry
        )
        self.pasts = Counter(
            "turncall_media_pasts",
            "Calls taken over, by what was known of them.",
            ["outcome"],
            registry=registry,
        )
        self.facts = Counter(
            "turncall_media_facts", "Facts stated, by what became of them on this worker.", ["fate"], registry=registry
        )
        self.whispers = Counter("turncall_media_whispers", "Lossy news, by fate.", ["fate"], registry=registry)
        self.jobs = Counter(
            "turncall_media_jobs", "Jobs answered, by kind and outcome.", ["kind", "outcome"], registry=registry
        )
