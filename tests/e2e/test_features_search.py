"""Search for the nearest vectors of a feature view, over HTTP."""

import datetime
import math
import random

import pytest


def view(name, dimensions=4, metric="cosine", **more):
    return {
        "name": name,
        "entities": [{"name": "id", "type": "Int64"}],
        "features": [
            {"name": "embedding", "type": "Array(Float32)"},
            {"name": "kind", "type": "String"},
            {"name": "weight", "type": "Float32"},
        ],
        "vector": {"feature": "embedding", "dimensions": dimensions, "metric": metric},
        **more,
    }


def apply(daemon, *views, force=False):
    path = "/thaw/v1/features" + ("?force=1" if force else "")
    answer = daemon.request("POST", path, json={"feature_view": list(views)})
    assert answer.status_code == 200, answer.text


def when(seconds=0):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)).isoformat()


def write(daemon, name, ids, vectors, kinds=None, times=None):
    columns = {
        "id": ids,
        "embedding": vectors,
        "kind": kinds or ["x"] * len(ids),
        "weight": [0.1] * len(ids),
        "event_timestamp": times or [when()] * len(ids),
    }
    body = {"feature_view_name": name, "df": columns}
    answer = daemon.request("POST", "/write-to-online-store", json=body)
    assert answer.status_code == 200, answer.text


def search(daemon, name, query=None, **more):
    body = {"feature_view": name, **more}
    if query is not None:
        body["query"] = query
    return daemon.request("POST", "/search", json=body)


def ids(answer):
    assert answer.status_code == 200, answer.text
    return [one["entities"]["id"] for one in answer.json()["results"]]


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.hypot(*a) / math.hypot(*b)


def distance(metric, a, b):
    if metric == "cosine":
        return 1 - cosine(a, b)
    if metric == "l2":
        return math.dist(a, b)
    return -sum(x * y for x, y in zip(a, b))


@pytest.mark.parametrize("metric", ["cosine", "l2", "inner_product"])
@pytest.mark.parametrize("approximate", [False, True])
def test_the_nearest_are_found_by_every_metric(daemon, metric, approximate):
    chance = random.Random(5)
    name = f"e2e_near_{metric}_{approximate}"
    vectors = [[chance.gauss(0, 1) for _ in range(8)] for _ in range(200)]
    apply(daemon, view(name, 8, metric))
    write(daemon, name, list(range(200)), vectors)
    query = [chance.gauss(0, 1) for _ in range(8)]
    wanted = sorted(range(200), key=lambda i: distance(metric, query, vectors[i]))[:5]
    answer = search(daemon, name, query, top_k=5, approximate=approximate, ef=200, features=["kind", "weight"])
    assert ids(answer) == wanted
    assert answer.json()["exact"] is not approximate
    first = answer.json()["results"][0]
    expected = distance(metric, query, vectors[wanted[0]])
    assert first["distance"] == pytest.approx(expected, abs=1e-5)
    scores = {"cosine": 1 - expected, "l2": 1 / (1 + expected), "inner_product": -expected}
    assert first["score"] == pytest.approx(scores[metric], abs=1e-5)
    assert first["features"] == {"kind": "x", "weight": 0.1}


def test_writes_after_the_first_search_and_other_definitions_are_seen(daemon):
    name = "e2e_search_written"
    apply(daemon, view(name, 2, "l2"))
    write(daemon, name, [1, 2], [[0, 0], [5, 5]])
    assert ids(search(daemon, name, [0, 0])) == [1, 2]
    write(daemon, name, [3, 1], [[1, 1], [9, 9]], times=[when(1)] * 2)
    assert ids(search(daemon, name, [0, 0])) == [3, 2, 1]
    assert ids(search(daemon, name, [0, 0], approximate=True)) == [3, 2, 1]
    # An older event changes nothing, a null takes the vector away.
    write(daemon, name, [1, 2], [[0, 0], None], times=[when(-50), when(2)])
    assert ids(search(daemon, name, [0, 0])) == [3, 1]
    assert ids(search(daemon, name, [0, 0], approximate=True)) == [3, 1]
    # Another metric; a time to live that rows are beyond; no rows after a delete.
    apply(daemon, view(name, 2, "inner_product"))
    assert ids(search(daemon, name, [1, 1])) == [1, 3]
    write(daemon, name, [7], [[1, 0]], times=[when(-3600)])
    assert ids(search(daemon, name, [1, 0], top_k=1, filter={"id": 7})) == [7]
    apply(daemon, view(name, 2, "inner_product", ttl_s=600))
    assert ids(search(daemon, name, [1, 1])) == [1, 3]
    assert daemon.request("DELETE", f"/thaw/v1/features/views/{name}").status_code == 204
    assert search(daemon, name, [1, 1]).status_code == 404
    apply(daemon, view(name, 2))
    assert ids(search(daemon, name, [1, 1])) == []


def test_filters_by_entity_keys_and_features(daemon):
    name = "e2e_search_filter"
    apply(daemon, view(name, 2, "l2"))
    write(daemon, name, [1, 2, 3, 4], [[i, i] for i in range(4)], kinds=["cat", "dog", "cat", None])
    for approximate in (False, True):
        more = {"approximate": approximate}
        assert ids(search(daemon, name, [0, 0], filter={"kind": "cat"}, **more)) == [1, 3]
        assert ids(search(daemon, name, [9, 9], filter={"kind": ["dog", None]}, **more)) == [4, 2]
        assert ids(search(daemon, name, [0, 0], filter={"kind": "cat", "id": [2, 3]}, **more)) == [3]
        assert ids(search(daemon, name, [0, 0], filter={"weight": 0.1}, top_k=2, **more)) == [1, 2]
        assert ids(search(daemon, name, [0, 0], filter={"kind": "cow"}, **more)) == []
    assert ids(search(daemon, name, entities={"id": 4}, top_k=2, features=["embedding"])) == [4, 3]
    assert search(daemon, name, entities={"id": 99}).status_code == 404


def test_documents_in_feasts_shape(daemon):
    name = "e2e_documents"
    apply(daemon, view(name, 2, "l2"))
    write(daemon, name, [1, 2], [[3, 4], [0, 1]], kinds=["far", None], times=["2026-01-31T12:00:00Z"] * 2)
    body = {"features": [f"{name}:embedding", f"{name}:kind"], "query": [0, 0], "top_k": 2, "api_version": 2}
    answer = daemon.request("POST", "/retrieve-online-documents", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["metadata"]["feature_names"] == ["id", "embedding", "kind", "distance"]
    results = answer.json()["results"]
    assert [one["values"] for one in results] == [[2, 1], [[0, 1], [3, 4]], [None, "far"], [1, 5]]
    assert results[2]["statuses"] == ["NULL_VALUE", "PRESENT"]
    assert results[3]["event_timestamps"] == ["2026-01-31T12:00:00Z"] * 2
    refused = daemon.request("POST", "/retrieve-online-documents", json={**body, "query_string": "cat"})
    assert refused.status_code == 422 and "query_string" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("query", {"query": [1, 2, 3]}),
        ("query", {"query": [1, "NaN"]}),
        ("query", {"query": [1, 1e300]}),
        ("query", {"query": None}),
        ("query", {"entities": {"id": 1}}),
        ("entities", {"query": None, "entities": {"ids": 1}}),
        ("top_k", {"top_k": 0}),
        ("top_k", {"top_k": 1001}),
        ("ef", {"ef": 10001}),
        ("approximate", {"approximate": 1}),
        ("filter: 'colour'", {"filter": {"colour": "red"}}),
        ("filter: 'embedding'", {"filter": {"embedding": [1, 2]}}),
        ("filter: 'id'", {"filter": {"id": "seven"}}),
        ("features: 'colour'", {"features": ["colour"]}),
    ],
)
def test_what_is_wrong_is_named(daemon, field, change):
    name = "e2e_search_wrong"
    apply(daemon, view(name, 2))
    answer = search(daemon, name, **{"query": [1, 2], **change})
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"].startswith(field)


def test_a_view_must_be_there_and_have_a_vector(daemon):
    plain = view("e2e_search_plain")
    del plain["vector"]
    apply(daemon, plain)
    answer = search(daemon, "e2e_search_plain", [1, 2])
    assert answer.status_code == 422 and "no vector" in answer.json()["detail"]
    assert search(daemon, "e2e_search_none", [1, 2]).status_code == 404


def test_vectors_are_found_after_a_restart(serve):
    own = serve()
    apply(own, view("e2e_search_kept", 2, "l2"))
    write(own, "e2e_search_kept", [1, 2], [[0, 0], [5, 5]])
    assert ids(search(own, "e2e_search_kept", [0, 0])) == [1, 2]
    own.stop()
    own.start()
    assert ids(search(own, "e2e_search_kept", [5, 4])) == [2, 1]
