"""Spoilt pictures sent to the server."""

import json

from tests.fuzz.mutations import mutations
from tests.fuzz.pictures import whole_pictures
from tests.serve.conftest import Server

CASES, SEED = 200, 3


def test_each_is_refused_in_a_sentence_or_comes_back(server: Server) -> None:
    statuses, before = [], server.metrics()["mirl_restarts_total"]
    for name, data in mutations(whole_pictures(), CASES, SEED):
        answer = server.restore(data)
        statuses.append(answer.status)
        if answer.status == 200:
            assert answer.headers["Content-Type"].startswith("image/"), name
        else:
            assert answer.status in (400, 413, 415, 422), f"{name}: {answer.status} {answer.body[:300]!r}"
            assert list(json.loads(answer.body)) == ["error"], name
    assert 0.02 < statuses.count(200) / CASES < 0.7, "most damage is found, and some does none"
    assert server.ask("/ready").status == 200
    assert server.metrics()["mirl_restarts_total"] == before, "no picture has killed the restoring process"
