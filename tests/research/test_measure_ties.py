"""Coarse times: a log with ties scores as the same log with its seconds."""

import pytest

from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.ingest import IngestConfig, ingest
from edgebehave_train.simulator.streamed_log import StreamConfig, stream_log
from edgebehave_train.universal.sequences import users_of_store
from measure_ties import AS_IT_IS, FLOORED, SHUFFLED, floored_stores, hit_rates


def test_a_log_with_ties_scores_within_a_hundredth_of_the_log_with_its_seconds(tmp_path):
    log = tmp_path / "log.parquet"
    stream_log(StreamConfig(num_events=12_000), log, workers=1)
    roles = {"location": "location", "utc_offset": "utc_offset_min", "behavior": "behavior"}
    ingest(IngestConfig(log=log, out=tmp_path / "store", **roles), lambda line: None)
    store = EventStore.open(tmp_path / "store")
    stores = {AS_IT_IS: store, **floored_stores(store, 60, tmp_path)}
    assert all(of.num_events == store.num_events for of in stores.values())
    assert [stores[name].statistics["order_of_ties"] for name in (FLOORED, SHUFFLED)] == ["file", "hash"]
    assert stores[SHUFFLED].statistics["tied_events"] > 0.05 * store.num_events
    rates = {name: hit_rates(users_of_store(of)) for name, of in stores.items()}
    for name in (FLOORED, SHUFFLED):
        assert rates[name] == pytest.approx(rates[AS_IT_IS], abs=0.01)
