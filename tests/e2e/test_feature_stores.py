"""Online stores of features in Redis and PostgreSQL behind the daemon, and the caches in front of them: real servers,
which go away and come back."""

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import harness
import postgres
import redis_server

PLACES = {
    "feature_view": [
        {
            "name": "places",
            "entities": [{"name": "place_id", "type": "Int64"}],
            "features": [{"name": "visits", "type": "Int64"}, {"name": "label", "type": "String"}],
        }
    ]
}
NEEDED = {"redis": redis_server, "postgresql": postgres}


@contextlib.contextmanager
def server_of(kind):
    if why := NEEDED[kind].missing():
        pytest.skip(why)
    with redis_server.RedisServer() if kind == "redis" else postgres.Postgres() as server:
        if kind == "postgresql":
            server.sql("ALTER SYSTEM SET log_statement = 'all'; ALTER SYSTEM SET logging_collector = off")
            server.sql("SELECT pg_reload_conf()")
        yield server


def reads_of(server):
    """How many reads the store has answered so far."""
    if isinstance(server, redis_server.RedisServer):
        return server.calls("mget")
    return server.log_path.read_text().count("execute thaw_read:")


def define(thaw):
    answer = thaw.request("POST", "/thaw/v1/features", json=PLACES)
    assert answer.status_code == 200, answer.text


def write(thaw, visits, event="2026-01-01T00:00:00Z"):
    """visits: of each place."""
    frame = {
        "place_id": list(visits),
        "visits": list(visits.values()),
        "label": [f"place {place}" for place in visits],
        "event_timestamp": [event] * len(visits),
    }
    return thaw.request("POST", "/write-to-online-store", json={"feature_view_name": "places", "df": frame})


def ask(thaw, *places):
    return thaw.request("POST", "/get-online-features",
                        json={"features": ["places:visits", "places:label"], "entities": {"place_id": list(places)}})


def visits_in(answer):
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return body["results"][body["metadata"]["feature_names"].index("visits")]["values"]


def visits(thaw, *places):
    return visits_in(ask(thaw, *places))


def status(thaw):
    answer = thaw.get("/thaw/v1/features/status")
    assert answer.status_code == 200, answer.text
    return answer.json()


def wait_until_served(thaw, places, expected):
    harness.wait_for(lambda: (answer := ask(thaw, *places)).status_code == 200 and visits_in(answer) == expected,
                     f"{expected} of places {places}")


@pytest.mark.parametrize("kind", NEEDED)
def test_a_store_serves_the_newest_values_and_keeps_them(serve, kind):
    with server_of(kind) as server:
        thaw = serve(features_online_store=server.url)
        define(thaw)
        assert visits(thaw, 1, 2) == [None, None]
        assert write(thaw, {1: 10, 2: 20}).status_code == 200
        assert visits(thaw, 2, 1, 3) == [20, 10, None]
        assert write(thaw, {1: 9}, event="2025-01-01T00:00:00Z").status_code == 200
        assert visits(thaw, 1) == [10], "an older event covers no newer one"
        assert write(thaw, {1: 11}, event="2026-02-01T00:00:00Z").status_code == 200
        assert visits(thaw, 1) == [11]
        name = status(thaw)["online_store"]
        assert name.startswith(kind + "://") and str(server.port) in name and "@" not in name
        thaw.stop()
        thaw.start()
        assert visits(thaw, 1, 2) == [11, 20]
        server.stop()
        server.start()
        wait_until_served(thaw, [1, 2, 4], [11, 20, None])
        assert thaw.request("DELETE", "/thaw/v1/features/views/places").status_code == 204
        define(thaw)
        assert visits(thaw, 1, 2) == [None, None]


@pytest.mark.parametrize("kind", NEEDED)
def test_a_thousand_requests_for_twenty_places_ask_the_store_twenty_times(serve, kind):
    with server_of(kind) as server:
        thaw = serve(features_online_store=server.url)
        define(thaw)
        assert write(thaw, {place: 10 * place for place in range(20)}).status_code == 200
        before = reads_of(server)
        with ThreadPoolExecutor(16) as clients:
            answers = list(clients.map(lambda i: visits(thaw, i % 20), range(1000)))
        assert answers == [[10 * (i % 20)] for i in range(1000)]
        assert reads_of(server) - before == 20
        counts = status(thaw)["cache"]
        assert counts["misses"] == 20 and counts["loads"] == 20
        assert counts["hits"] + counts["waits"] == 980
        # Of a batch, what is missing is asked for in one read.
        assert visits(thaw, *range(15, 30)) == [10 * place if place < 20 else None for place in range(15, 30)]
        assert reads_of(server) - before == 21


@pytest.mark.parametrize("kind", NEEDED)
def test_without_a_cache_each_request_asks_the_store(serve, kind):
    with server_of(kind) as server:
        thaw = serve(features_online_store=server.url, features_cache_mb=0)
        define(thaw)
        assert write(thaw, {1: 10}).status_code == 200
        before = reads_of(server)
        for _ in range(5):
            assert visits(thaw, 1) == [10]
        assert reads_of(server) - before == 5
        assert "cache" not in status(thaw)


@pytest.mark.parametrize("kind", NEEDED)
def test_a_store_goes_away_and_comes_back_during_traffic_and_nothing_acknowledged_is_lost(serve, kind):
    with server_of(kind) as server:
        thaw = serve(features_online_store=server.url, features_cache_mb=0)
        define(thaw)
        assert write(thaw, {0: 0}).status_code == 200
        stop = threading.Event()
        acknowledged, refused, wrong = {}, [], []

        def traffic(client):
            number = 0
            while not stop.is_set():
                number += 1
                place = client * 1_000_000 + number
                answers = [write(thaw, {place: number}), ask(thaw, 0)]
                if answers[0].status_code == 200:
                    acknowledged[place] = number
                for answer in answers:
                    if answer.status_code == 503:
                        refused.append(answer)
                    elif answer.status_code != 200:
                        wrong.append(answer.text)

        clients = [threading.Thread(target=traffic, args=(client,)) for client in range(1, 5)]
        for client in clients:
            client.start()
        harness.wait_for(lambda: len(acknowledged) > 20, "writes before the store goes")
        server.stop()
        harness.wait_for(lambda: len(refused) > 20, "errors while it is away")
        before = len(acknowledged)
        server.start()
        harness.wait_for(lambda: len(acknowledged) > before + 20, "writes after it is back")
        stop.set()
        for client in clients:
            client.join()
        assert wrong == []
        for answer in refused[:5]:
            assert str(server.port) in answer.json()["detail"], answer.text
            assert answer.headers["Retry-After"] == "1"
        places = list(acknowledged)
        wait_until_served(thaw, [0], [0])
        for at in range(0, len(places), 1000):
            some = places[at : at + 1000]
            assert visits(thaw, *some) == [acknowledged[place] for place in some]


@pytest.mark.parametrize("kind", NEEDED)
def test_while_the_store_is_away_older_values_are_given_out_marked_where_that_is_wanted(serve, kind):
    with server_of(kind) as server:
        thaw = serve(features_online_store=server.url, features_cache_ttl_s=1, features_cache_stale_s=600)
        define(thaw)
        assert write(thaw, {1: 10, 2: 20}).status_code == 200
        answer = ask(thaw, 1, 2)
        assert visits_in(answer) == [10, 20]
        assert "Thaw-Features" not in answer.headers and "stale" not in answer.text
        server.stop()

        def marked():
            answer = ask(thaw, 1, 2)
            assert visits_in(answer) == [10, 20]
            return answer if answer.headers.get("Thaw-Features") == "stale" else None

        answer = harness.wait_for(marked, "an answer that is marked as stale")
        body = answer.json()
        assert body["results"][body["metadata"]["feature_names"].index("visits")]["stale"] == [True, True]
        assert ask(thaw, 3).status_code == 503, "what was never read is not known"
        assert write(thaw, {1: 99}, event="2026-02-01T00:00:00Z").status_code == 503
        assert visits(thaw, 1) == [10]
        assert status(thaw)["cache"]["stale"] > 0
        server.start()
        harness.wait_for(lambda: "Thaw-Features" not in ask(thaw, 1, 2).headers, "an answer of the store")
        assert visits(thaw, 1, 2) == [10, 20]


@pytest.mark.parametrize("kind", NEEDED)
def test_a_store_that_is_away_at_the_start_does_not_keep_the_daemon(serve, kind):
    with server_of(kind) as server:
        server.stop()
        thaw = serve(features_online_store=server.url)
        define(thaw)
        started = time.monotonic()
        for _ in range(50):
            assert ask(thaw, 1).status_code == 503
        assert time.monotonic() - started < 20
        server.start()
        wait_until_served(thaw, [1], [None])
        assert write(thaw, {1: 10}).status_code == 200
        assert visits(thaw, 1) == [10]


@pytest.mark.parametrize("kind", NEEDED)
def test_daemons_share_a_store_and_see_each_others_writes_when_their_caches_time_is_over(serve, kind):
    with server_of(kind) as server:
        one, other = (serve(features_online_store=server.url, features_cache_ttl_s=1) for _ in range(2))
        define(one)
        define(other)
        assert write(one, {1: 10}).status_code == 200
        assert visits(other, 1) == [10]
        assert write(one, {1: 11}, event="2026-02-01T00:00:00Z").status_code == 200
        assert visits(one, 1) == [11], "the writer sees it at once"
        harness.wait_for(lambda: visits(other, 1) == [11], "the other daemon to see it")


def test_redis_is_a_cache_that_daemons_share_in_front_of_postgresql(serve):
    with server_of("postgresql") as store, server_of("redis") as cache:
        settings = {"features_online_store": store.url, "features_cache": cache.url, "features_cache_mb": 0}
        one, other = serve(**settings), serve(**settings)
        define(one)
        define(other)
        assert write(one, {place: 10 * place for place in range(20)}).status_code == 200
        before = reads_of(store)
        assert [visits(one, place) for place in range(20)] == [[10 * place] for place in range(20)]
        assert reads_of(store) - before == 20
        assert [visits(other, place) for place in range(20)] == [[10 * place] for place in range(20)]
        assert reads_of(store) - before == 20, "the other daemon finds them in Redis"
        assert write(other, {3: 33}, event="2026-02-01T00:00:00Z").status_code == 200
        assert visits(one, 3) == visits(other, 3) == [33]
        counts = status(other)["shared_cache"]
        assert counts["hits"] >= 20 and str(cache.port) in counts["name"]

        cache.stop()
        assert visits(one, 3, 4) == [33, 40]
        assert write(one, {4: 44}, event="2026-02-01T00:00:00Z").status_code == 200
        assert visits(one, 4) == [44]
        cache.start()
        harness.wait_for(lambda: ask(one, 5) and status(one)["shared_cache"]["hits"] > counts["hits"], "hits in Redis again")


@pytest.mark.parametrize("settings, text", [
    ({"features_online_store": "mysql://u:secret@h/db"}, "features_online_store"),
    ({"features_online_store": "redis://u:secret@h/words"}, "features_online_store"),
    ({"features_online_store": "rediss://u:secret@h/0"}, "rediss://"),
    ({"features_online_store": "postgresql://u:secret@h/db?no_such=1"}, "no_such"),
    ({"features_online_store": "postgresql://h/db", "features_cache": "mysql://u:secret@h"}, "features_cache"),
    ({"features_cache": "redis://u:secret@h"}, "features_cache"),
])  # fmt: skip
def test_an_address_that_cannot_be_is_refused_at_the_start(serve, settings, text):
    with pytest.raises(AssertionError, match="thaw serve ended") as refused:
        serve(**settings)
    assert text in str(refused.value)
    daemon_says = str(refused.value).split("thaw serve ended", 1)[1]
    assert "secret" not in daemon_says
