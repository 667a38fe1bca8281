"""Outcomes of a request for a restored picture."""

RESTORED = "restored"
STATUS = {
    RESTORED: 200,
    "empty": 400,
    "foreign": 403,
    "wrong_method": 405,
    "no_such_format": 406,
    "slow": 408,
    "too_large": 413,
    "wrong_type": 415,
    "misdirected": 421,
    "broken": 422,
    "gone": 499,  # nobody reads it: the client has closed the connection
    "crashed": 500,
    "full": 503,
    "unready": 503,
    "late": 504,
}
"""Outcome -> HTTP status; the outcomes are the labels of the metric `mirl_requests_total`."""


class Refusal(Exception):
    """Refusal to restore a picture: the outcome, and one sentence for the client."""

    def __init__(self, outcome: str, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(outcome, sentence, headers)  # what a copy is made of in another process
        assert outcome in STATUS and outcome != RESTORED, outcome
        self.outcome = outcome
        self.sentence = sentence
        self.headers = headers or {}

    @property
    def status(self) -> int:
        return STATUS[self.outcome]
