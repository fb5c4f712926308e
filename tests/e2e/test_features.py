"""The feature store: definitions, pushes and reads over Feast's HTTP API, on the embedded online store."""

import datetime
import json
import subprocess
import threading

import harness
import pytest
import requests

EPOCH = "1970-01-01T00:00:00Z"


def view(name, features, entities=None, **settings):
    return {
        "name": name,
        "entities": [{"name": key, "type": kind} for key, kind in (entities or {"driver_id": "Int64"}).items()],
        "features": [{"name": key, "type": kind} for key, kind in features.items()],
        **settings,
    }


def apply(daemon, *views, services=(), pushes=(), force=False):
    body = {"feature_view": list(views), "feature_service": list(services), "push_source": list(pushes)}
    return daemon.request("POST", "/thaw/v1/features" + ("?force=1" if force else ""), json=body)


def write(daemon, view_name, /, **columns):
    return daemon.request("POST", "/write-to-online-store", json={"feature_view_name": view_name, "df": columns})


def get(daemon, features, entities, **more):
    return daemon.request("POST", "/get-online-features", json={"features": features, "entities": entities, **more})


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat()


def test_what_is_written_is_read_in_feasts_shape(daemon):
    stats = view("e2e_stats", {"conv_rate": "Float32", "trips": "Int64", "name": "String", "tags": "Array(String)"})
    assert apply(daemon, stats).json()["Applied"][0]["Result"] == "created"
    times = ["2026-01-31 12:00:00", "2026-01-31T13:00:00.250+01:00"]
    done = write(
        daemon,
        "e2e_stats",
        driver_id=[1001, 1002],
        conv_rate=[0.1, None],
        trips=[7, 8],
        name=["a", "b\"\n"],
        tags=[["x", "y"], []],
        event_timestamp=times,
    )
    assert (done.status_code, done.json()) == (200, None)
    wanted = [f"e2e_stats:{name}" for name in ("trips", "conv_rate", "name", "tags")]
    answer = get(daemon, wanted, {"driver_id": [1002, 9, 1001]}).json()
    assert answer["metadata"] == {"feature_names": ["driver_id", "trips", "conv_rate", "name", "tags"]}
    stamps = ["2026-01-31T12:00:00.250Z", EPOCH, "2026-01-31T12:00:00Z"]
    assert answer["results"] == [
        {"values": [1002, 9, 1001], "statuses": ["PRESENT"] * 3, "event_timestamps": [EPOCH] * 3},
        {"values": [8, None, 7], "statuses": ["PRESENT", "NOT_FOUND", "PRESENT"], "event_timestamps": stamps},
        {"values": [None, None, 0.1], "statuses": ["NULL_VALUE", "NOT_FOUND", "PRESENT"], "event_timestamps": stamps},
        {"values": ['b"\n', None, "a"], "statuses": ["PRESENT", "NOT_FOUND", "PRESENT"], "event_timestamps": stamps},
        {"values": [[], None, ["x", "y"]], "statuses": ["PRESENT", "NOT_FOUND", "PRESENT"], "event_timestamps": stamps},
    ]
    full = get(daemon, wanted[:1], {"driver_id": [1001]}, full_feature_names=True).json()
    assert full["metadata"]["feature_names"] == ["driver_id", "e2e_stats__trips"]
    assert daemon.get("/health").status_code == 200


def test_services_and_pushes_and_several_views(daemon):
    orders = view("e2e_orders", {"count": "Int32"}, {"zone": "String", "driver_id": "Int64"})
    drivers = view("e2e_drivers", {"rating": "Float64"})
    applied = apply(
        daemon,
        orders,
        drivers,
        services=[{"name": "e2e_ranking", "features": ["e2e_drivers:rating", "e2e_orders:count"]}],
        pushes=[{"name": "e2e_push", "view": "e2e_orders"}],
    )
    assert applied.status_code == 200, applied.text
    frame = {"driver_id": [1, 1], "zone": ["n", "s"], "count": [10, 20], "event_timestamp": [now()] * 2, "more": [0, 0]}
    body = {"push_source_name": "e2e_push", "df": frame, "allow_registry_cache": True, "to": "online"}
    assert daemon.request("POST", "/push", json=body).status_code == 200
    assert write(daemon, "e2e_drivers", driver_id=[1], rating=[4.0], event_timestamp=[now()]).status_code == 200
    entities = {"zone": ["s", "n", "w"], "driver_id": [1, 1, 1]}
    answer = daemon.request("POST", "/get-online-features", json={"feature_service": "e2e_ranking", "entities": entities})
    results = dict(zip(answer.json()["metadata"]["feature_names"], answer.json()["results"]))
    assert results["rating"]["values"] == [4.0] * 3 and "4.0" in answer.text
    assert results["count"]["values"] == [20, 10, None]


def test_old_values_are_outside_their_age(daemon):
    apply(daemon, view("e2e_aging", {"f": "Int64"}, ttl_s=3600))
    hour = datetime.timedelta(hours=1)
    old = (datetime.datetime.now(datetime.timezone.utc) - 2 * hour).isoformat()
    write(daemon, "e2e_aging", driver_id=[1, 2], f=[1, 2], event_timestamp=[old, now()])
    result = get(daemon, ["e2e_aging:f"], {"driver_id": [1, 2]}).json()["results"][1]
    assert (result["values"], result["statuses"]) == ([None, 2], ["OUTSIDE_MAX_AGE", "PRESENT"])
    # The later event stays, however late another one is written.
    write(daemon, "e2e_aging", driver_id=[2], f=[1], event_timestamp=[old])
    assert get(daemon, ["e2e_aging:f"], {"driver_id": [2]}).json()["results"][1]["values"] == [2]


def test_errors_have_feasts_status_and_say_what_is_wrong(daemon):
    apply(daemon, view("e2e_wrong", {"f": "Int64", "g": "String"}), view("e2e_other", {"f": "Int64"}))

    def refused(answer, status, text):
        assert (answer.status_code, text in answer.json()["detail"]) == (status, True), answer.text
        assert answer.json()["message"] == answer.json()["detail"] and answer.json()["requestId"]

    one = {"driver_id": [1]}
    refused(get(daemon, ["no_view:f"], one), 404, "no feature view 'no_view'")
    refused(get(daemon, ["e2e_wrong:h"], one), 404, "no feature 'e2e_wrong:h'")
    refused(get(daemon, ["f"], one), 422, "VIEW:FEATURE")
    refused(get(daemon, [], one), 422, "features")
    refused(get(daemon, ["e2e_wrong:f"], {}), 422, "entities")
    refused(get(daemon, ["e2e_wrong:f"], {"driver_id": 1}), 422, "entities: 'driver_id' must be an array")
    refused(get(daemon, ["e2e_wrong:f"], {"rider_id": [1]}), 404, "no entity key 'rider_id'")
    refused(get(daemon, ["e2e_wrong:f"], {"driver_id": ["x"]}), 422, "'driver_id'[0] must be a whole number")
    refused(get(daemon, ["e2e_wrong:f"], {"driver_id": [None]}), 422, "must not be null")
    refused(get(daemon, ["e2e_wrong:f"], {"driver_id": list(range(10001))}), 422, "at most 10000")
    refused(get(daemon, ["e2e_wrong:f", "e2e_other:f"], one), 422, "full_feature_names")
    refused(get(daemon, None, one, feature_service="none"), 404, "no feature service 'none'")
    refused(daemon.request("POST", "/get-online-features", data=b"{"), 422, "no JSON object")
    refused(daemon.request("POST", "/get-online-features", data=b" " * (9 << 20)), 413, "8 MB")
    frame = {"driver_id": [1], "f": [1], "g": ["x"], "event_timestamp": [now()]}
    refused(write(daemon, "no_view", **frame), 404, "no feature view")
    refused(write(daemon, "e2e_wrong", **{**frame, "f": ["x"]}), 422, "df: 'f'[0] must be a whole number")
    refused(write(daemon, "e2e_wrong", **{**frame, "f": [1, 2]}), 422, "'f' must be an array of 1 values")
    refused(write(daemon, "e2e_wrong", **{**frame, "event_timestamp": ["soon"]}), 422, "must be a time")
    refused(write(daemon, "e2e_wrong", **{k: v for k, v in frame.items() if k != "g"}), 422, "'g' is missing")
    refused(daemon.request("POST", "/push", json={"push_source_name": "none", "df": frame}), 404, "no push source")
    refused(daemon.request("POST", "/push", json={"push_source_name": "none", "df": frame, "to": "there"}), 422, "to:")
    # A web page of this machine's browser may not write.
    page = {"Origin": "http://evil.example"}
    body = {"feature_view_name": "e2e_wrong", "df": frame}
    assert daemon.request("POST", "/write-to-online-store", json=body, headers=page).status_code == 403
    assert get(daemon, ["e2e_wrong:f"], one).json()["results"][1]["statuses"] == ["NOT_FOUND"]


def test_definitions_change_only_where_rows_stay_readable(daemon):
    first = view("e2e_change", {"f": "Int64", "g": "Int64"})
    apply(daemon, first)
    write(daemon, "e2e_change", driver_id=[1], f=[1], g=[2], event_timestamp=[now()])
    assert apply(daemon, first).json()["Applied"][0]["Result"] == "unchanged"
    # More features and fewer are possible: old rows are read.
    more = view("e2e_change", {"g": "Int64", "h": "String"})
    assert apply(daemon, more).json()["Applied"][0]["Result"] == "changed"
    results = get(daemon, ["e2e_change:g", "e2e_change:h"], {"driver_id": [1]}).json()["results"]
    assert [one["statuses"] for one in results[1:]] == [["PRESENT"], ["NOT_FOUND"]]
    for other in (view("e2e_change", {"g": "String"}), view("e2e_change", {"g": "Int64"}, {"id": "String"})):
        refused = apply(daemon, other)
        assert refused.status_code == 409 and "force" in refused.json()["message"], refused.text
    forced = apply(daemon, view("e2e_change", {"g": "String"}), force=True).json()["Applied"][0]
    assert forced == {"Kind": "feature_view", "Name": "e2e_change", "Result": "changed", "RowsDropped": True}
    assert get(daemon, ["e2e_change:g"], {"driver_id": [1]}).json()["results"][1]["statuses"] == ["NOT_FOUND"]
    apply(daemon, services=[{"name": "e2e_uses", "features": ["e2e_change:g"]}])
    path = "/thaw/v1/features/"
    assert daemon.request("DELETE", path + "views/e2e_change").status_code == 409
    assert daemon.get(path + "services/e2e_uses").json()["features"] == ["e2e_change:g"]
    assert daemon.request("DELETE", path + "services/e2e_uses").status_code == 204
    assert daemon.request("DELETE", path + "views/e2e_change").status_code == 204
    assert daemon.get(path + "views/e2e_change").status_code == 404
    assert "e2e_change" not in [one["name"] for one in daemon.get("/thaw/v1/features").json()["feature_view"]]


def test_definitions_and_rows_survive_a_kill_in_the_middle_of_writes(serve):
    daemon = serve()
    toml = b'[[feature_view]]\nname = "kept"\nentities = [{name = "id", type = "int64"}]\n' + (
        b'features = [{name = "a", type = "int64"}, {name = "b", type = "int64"}]\n'
    )
    headers = {"Content-Type": "application/toml"}
    assert daemon.request("POST", "/thaw/v1/features", data=toml, headers=headers).status_code == 200
    answered = {}
    stop = threading.Event()

    def writer(worker):
        for n in range(100000):
            if stop.is_set():
                return
            try:
                if write(daemon, "kept", id=[worker], a=[n], b=[n], event_timestamp=[n + 1]).status_code == 200:
                    answered[worker] = n
            except requests.RequestException:
                return

    threads = [threading.Thread(target=writer, args=[worker]) for worker in range(4)]
    for thread in threads:
        thread.start()
    harness.wait_for(lambda: len(answered) == 4 and min(answered.values()) > 5, "writes by all")
    daemon.kill()
    stop.set()
    for thread in threads:
        thread.join()
    daemon.start()
    results = get(daemon, ["kept:a", "kept:b"], {"id": list(range(4))}).json()["results"]
    assert results[1]["values"] == results[2]["values"]
    for worker in range(4):
        assert results[1]["values"][worker] in (answered[worker], answered[worker] + 1)


@pytest.mark.parametrize("damaged", ["online.db", "registry.json"])
def test_damage_is_named_at_the_start(serve, damaged):
    daemon = serve()
    apply(daemon, view("kept", {"f": "Int64"}))
    write(daemon, "kept", driver_id=[1], f=[1], event_timestamp=[now()])
    daemon.stop()
    path = daemon.data / "features" / damaged
    path.write_bytes(b"\x00damage" + path.read_bytes()[7:])
    done = subprocess.run(daemon.command(), env=daemon.environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and damaged in done.stderr, done.stderr


TOML = """
[[feature_view]]
name = "{name}"
description = "what riders said"
entities = [{{name = "rider_id", type = "Int64"}}, {{name = "city", type = "String"}}]
ttl_s = 864000000
features = [
  {{name = "stars", type = "Float32"}},
  {{name = "words", type = "Array(String)"}},
  {{name = "fresh", type = "Bool"}},
]
[[feature_service]]
name = "{name}_service"
features = ["{name}:stars"]
[[push_source]]
name = "{name}_push"
view = "{name}"
"""


def test_the_command_applies_pushes_reads_and_deletes(daemon, tmp_path):
    name = "e2e_cli"
    toml, lines, csv = tmp_path / "features.toml", tmp_path / "rows.jsonl", tmp_path / "rows.csv"
    toml.write_text(TOML.format(name=name))
    done = daemon.run("features", "apply", toml)
    assert done.returncode == 0 and f"created feature_view {name}\n" in done.stdout, done.stderr
    at = now()
    rows = [{"rider_id": n, "city": "c", "stars": n / 2, "words": [], "fresh": None, "event_timestamp": at} for n in range(3)]
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert daemon.run("features", "push", f"{name}_push", "--file", lines).stdout == f"wrote 3 rows of {name}\n"
    csv.write_text(f'rider_id,city,stars,words,fresh,event_timestamp\n7,"c,d",,"[""a""]",true,{at}\n')
    assert daemon.json("features", "push", name, "--file", csv) == {"Rows": 1}
    wanted = [f"{name}:{feature}" for feature in ("stars", "words", "fresh")]
    words = ["--entity", "rider_id=1", "--entity", "city=c", "--entity", "rider_id=7", "--entity", "city=c,d"]
    answer = daemon.json("features", "get", *wanted, *words)
    assert [one["values"] for one in answer["results"]] == [[1, 7], ["c", "c,d"], [0.5, None], [[], ["a"]], [None, True]]
    table = daemon.run("features", "get", *wanted, *words).stdout.split("\n")
    assert table[0].split() == ["rider_id", "city", "stars", "words", "fresh"]
    assert table[1].split() == ["1", "c", "0.5", "[]", "(NULL_VALUE)"], table
    one = daemon.json("features", "get", "--service", f"{name}_service", "--entity", "rider_id=2", "--entity", "city=c")
    assert one["results"][2]["values"] == [1.0]
    listed = daemon.run("features", "list").stdout
    assert all(word in listed for word in (name, f"{name}_service", f"{name}_push", "city, rider_id", "864000000 s"))
    described = daemon.run("features", "describe", name).stdout
    assert "Array(String)" in described and "what riders said" in described
    assert daemon.json("features", "describe", f"{name}_push") == {"name": f"{name}_push", "view": name}
    choices = daemon.run("__complete", "--", "features", "get", f"{name}:").stdout.splitlines()
    assert choices == [*wanted, ":none"]
    assert f"{name}_service" in daemon.run("__complete", "--", "features", "describe", name).stdout

    def fails(text, *words, status=1):
        failed = daemon.run("features", *words)
        assert failed.returncode == status and text in failed.stderr, failed.stderr

    fails("did you mean e2e_cli", "describe", "e2e_clj")
    fails("is named by the feature service", "delete", name)
    fails("must be KEY=VALUE", "get", wanted[0], "--entity", "rider_id")
    fails("'rider_id'[0] must be a whole number", "get", wanted[0], "--entity", "rider_id=x", "--entity", "city=c")
    lines.write_text(json.dumps(rows[0]) + "\n{}\n")
    fails("line 2: lacks 'rider_id'", "push", name, "--file", lines)
    fails("--entity is required", "get", wanted[0], status=2)
    toml.write_text(TOML.format(name=name).replace('type = "Bool"', 'type = "bull"'))
    fails("features[2]: type: 'bull' is none of Bool", "apply", toml)
    toml.write_text(TOML.format(name=name).replace('type = "Bool"', 'type = "Int32"'))
    fails("with force", "apply", toml)
    assert "its rows are dropped" in daemon.run("features", "apply", toml, "--force").stdout
    for one in (f"{name}_service", f"{name}_push", name):
        assert daemon.run("features", "delete", one).returncode == 0
    fails("no view, service or push source", "delete", name)


def test_as_many_entities_as_may_be_come_in_their_order(daemon):
    """Read part by part: small rows and large ones, of two views."""
    count, large = 10_000, 200
    apply(daemon, view("e2e_many", {"f": "Int64"}), view("e2e_large", {"text": "String"}))
    for start in range(0, count, 5000):
        ids = list(range(start, start + 5000))
        frame = {"driver_id": ids, "f": [3 * one for one in ids], "event_timestamp": [1 + one for one in ids]}
        assert write(daemon, "e2e_many", **frame).status_code == 200
    texts = [chr(ord("a") + n % 26) * 100_000 for n in range(large)]
    frame = {"driver_id": list(range(large)), "text": texts, "event_timestamp": [now()] * large}
    assert write(daemon, "e2e_large", **frame).status_code == 200
    ids = list(range(count - 1, -1, -1))
    answer = get(daemon, ["e2e_large:text", "e2e_many:f"], {"driver_id": ids}).json()["results"]
    assert answer[2]["values"] == [3 * one for one in ids]
    assert answer[2]["event_timestamps"][-2:] == ["1970-01-01T00:00:02Z", "1970-01-01T00:00:01Z"]
    assert answer[1]["values"][-large:] == texts[::-1] and answer[1]["values"][:-large] == [None] * (count - large)
    assert answer[1]["statuses"].count("NOT_FOUND") == count - large
    refused = get(daemon, ["e2e_large:text"], {"driver_id": [n % large for n in range(5000)]})
    assert refused.status_code == 413 and "128 MB" in refused.json()["detail"]
