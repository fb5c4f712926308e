"""Sources of feature views: CSV files, SQLite and PostgreSQL, materialized into the online store and joined in time."""

import csv
import datetime
import io
import os
import random
import signal
import sqlite3
import subprocess
import time

import harness
import postgres
import pytest

FEATURES = [{"name": "rate", "type": "Float64"}, {"name": "trips", "type": "Int64"}, {"name": "tags", "type": "Array(String)"}]
HEADER = ["driver_id", "at", "made", "conv_rate", "trips", "tags"]
ROWS = [
    [1, "2026-01-01T10:00:00Z", "2026-01-01T10:00:01Z", 0.1, 10, '["a"]'],
    [1, "2026-01-02T11:00:00+01:00", "2026-01-02T10:00:01Z", 0.2, 20, "[]"],
    [1, "2026-01-02T10:00:00Z", "2026-01-02T10:00:02Z", 0.3, 30, '["later"]'],
    [2, "2026-01-01 00:00:00", "2026-01-01", 0.4, None, None],
    [3, "2026-01-03T00:00:00Z", "2026-01-03T00:00:00Z", 0.5, 50, None],
    [4, None, None, 0.6, 60, None],
]
MAPPING = {"conv_rate": "rate"}


def define(daemon, name, ttl_s=0, **source):
    view = {
        "name": name,
        "entities": [{"name": "driver_id", "type": "Int64"}],
        "features": FEATURES,
        "ttl_s": ttl_s,
        "source": {"timestamp_field": "at", "created_timestamp_field": "made", "field_mapping": MAPPING, **source},
    }
    answer = daemon.request("POST", "/thaw/v1/features?force=1", json={"feature_view": [view]})
    assert answer.status_code == 200, answer.text


def write_csv(path, rows, header=HEADER):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    os.chmod(path, 0o644)
    return str(path)


def write_sqlite(path, rows, time_type="TEXT"):
    with sqlite3.connect(path) as database:
        database.execute(f"CREATE TABLE rides (driver_id INTEGER, at {time_type}, made {time_type}, conv_rate REAL, trips INTEGER, tags TEXT)")
        database.executemany("INSERT INTO rides VALUES (?, ?, ?, ?, ?, ?)", rows)
    database.close()
    os.chmod(path, 0o644)
    return str(path)


def materialize(daemon, name, start, end):
    body = {"start_ts": start, "end_ts": end, "feature_views": [name]}
    return daemon.request("POST", "/materialize", json=body)


def online(daemon, name, *drivers):
    """(rate, trips, tags) of each; None where there is no row."""
    features = [f"{name}:{feature['name']}" for feature in FEATURES]
    answer = daemon.request("POST", "/get-online-features", json={"features": features, "entities": {"driver_id": list(drivers)}})
    columns = answer.json()["results"][1:]
    return [
        None if columns[0]["statuses"][i] == "NOT_FOUND" else tuple(column["values"][i] for column in columns)
        for i in range(len(drivers))
    ]


def end_of(daemon, job):
    def ended():
        one = daemon.get(f"/thaw/v1/features/jobs/{job['Id']}").json()
        return one if one["State"] != "running" else None

    return harness.wait_for(ended, "the job to end")


@pytest.fixture
def folder(tmp_path):
    """One that the daemon's user can enter."""
    for one in [tmp_path, *tmp_path.parents][:4]:
        if one.stat().st_uid == os.geteuid() and str(one) not in ("/", "/tmp"):
            os.chmod(one, 0o755)
    return tmp_path


def check_materialized(daemon, name):
    done = materialize(daemon, name, "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z")
    assert (done.status_code, done.json()) == (200, None)
    assert online(daemon, name, 1, 2, 3, 4) == [(0.3, 30, ["later"]), (0.4, None, None), None, None]
    job = next(job for job in daemon.get("/thaw/v1/features/jobs").json()["Jobs"] if job["Views"][0]["Name"] == name)
    assert (job["State"], job["Views"][0]["RowsWritten"], job["Views"][0]["RowsPassedOver"]) == ("done", 2, 1)
    # What comes later: the interval goes on where it ended.
    done = daemon.request("POST", "/materialize-incremental", json={"end_ts": "2026-01-04", "feature_views": [name]})
    assert done.status_code == 200, done.text
    assert online(daemon, name, 1, 3) == [(0.3, 30, ["later"]), (0.5, 50, None)]
    job = next(job for job in daemon.get("/thaw/v1/features/jobs").json()["Jobs"] if job["Views"][0]["Name"] == name)
    assert job["Views"][0]["Start"] == "2026-01-03T00:00:00Z"


def test_a_csv_file_is_materialized(daemon, folder):
    define(daemon, "offline_csv", kind="csv", path=write_csv(folder / "rides.csv", ROWS))
    check_materialized(daemon, "offline_csv")


@pytest.mark.parametrize("how", ["table", "query"])
def test_sqlite_is_materialized(daemon, folder, how):
    path = write_sqlite(folder / "rides.db", ROWS)
    what = {"table": {"table": "rides"}, "query": {"query": "SELECT * FROM rides WHERE conv_rate > 0"}}[how]
    define(daemon, f"offline_sqlite_{how}", kind="sqlite", path=path, **what)
    check_materialized(daemon, f"offline_sqlite_{how}")


def test_numbers_are_times_of_their_unit(daemon, folder):
    def ms(text):
        moment = text and datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
        if moment and moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.timezone.utc)
        return moment and int(moment.timestamp() * 1000)

    rows = [[row[0], ms(row[1]), ms(row[2]), *row[3:]] for row in ROWS]
    path = write_sqlite(folder / "numbers.db", rows, "INTEGER")
    define(daemon, "offline_numbers", kind="sqlite", path=path, table="rides", timestamp_unit="ms")
    check_materialized(daemon, "offline_numbers")


@pytest.mark.skipif(bool(postgres.missing()), reason=postgres.missing() or "-")
def test_postgresql_is_materialized(daemon):
    with postgres.Postgres() as server:
        server.sql("CREATE TABLE rides (driver_id int, at timestamptz, made timestamptz, conv_rate float8, trips int, tags text[])")
        for driver, at, made, rate, trips, tags in ROWS:
            values = [str(driver), *(f"'{text}'" if text else "NULL" for text in (f"{at}{'Z' if at and at[-1] == '0' and '+' not in at else ''}" if at else None, made))]
            values += [str(rate), str(trips) if trips is not None else "NULL", "NULL" if tags is None else "ARRAY" + tags.replace('"', "'") + "::text[]"]
            server.sql(f"SET timezone = 'UTC'; INSERT INTO rides VALUES ({', '.join(values)})")
        define(daemon, "offline_postgres", kind="postgres", url=server.url, table="public.rides")
        check_materialized(daemon, "offline_postgres")
        server.sql("DROP TABLE rides")
        gone = materialize(daemon, "offline_postgres", "2026-01-01", "2026-01-02")
        assert gone.status_code == 422 and "rides" in gone.json()["detail"]
    away = materialize(daemon, "offline_postgres", "2026-01-01", "2026-01-02")
    assert away.status_code == 503 and "127.0.0.1" in away.json()["detail"]


def test_relative_paths_lie_in_the_data_folder_and_a_restart_remembers(own_daemon):
    daemon = own_daemon
    offline = daemon.data / "features" / "offline"
    write_csv(offline / "rides.csv", ROWS)
    define(daemon, "relative", kind="csv", path="rides.csv")
    check_materialized(daemon, "relative")
    daemon.kill()
    daemon.start()
    job = daemon.request("POST", "/thaw/v1/features/materialize", json={"end_ts": "2026-01-05"}).json()
    assert job["Views"][0]["Start"] == "2026-01-04T00:00:00Z"
    assert end_of(daemon, job)["State"] == "done"
    # A view that goes takes along until when it was materialized.
    assert daemon.request("DELETE", "/thaw/v1/features/views/relative").status_code == 204
    define(daemon, "relative", kind="csv", path="rides.csv", ttl_s=3600)
    body = {"end_ts": datetime.datetime.now(datetime.timezone.utc).isoformat()}
    job = daemon.request("POST", "/thaw/v1/features/materialize", json=body).json()
    start = datetime.datetime.fromisoformat(job["Views"][0]["Start"].replace("Z", "+00:00"))
    age = datetime.datetime.now(datetime.timezone.utc) - start
    assert datetime.timedelta(minutes=59) < age < datetime.timedelta(minutes=70)


def test_what_is_wrong_is_named(daemon, folder):
    def refused(status, *words, start="2026-01-01", end="2026-01-04"):
        answer = materialize(daemon, "offline_wrong", start, end)
        assert answer.status_code == status, answer.text
        for word in words:
            assert word in answer.json()["detail"], answer.text

    path = write_csv(folder / "wrong.csv", [*ROWS, [5, "2026-01-02", "", "fast", 1, ""]])
    define(daemon, "offline_wrong", kind="csv", path=path)
    refused(422, "offline_wrong", "row 7", "column conv_rate", '"fast" is no number')
    write_csv(path, [[5, "02/01/2026", "", 1, 1, ""]])
    refused(422, "row 1", "column at", '"02/01/2026" is no time')
    write_csv(path, [[5, "2026-01-02", "", 1, "1.5", ""]])
    refused(422, "column trips", "no whole number")
    write_csv(path, [[5, "2026-01-02", "", 1, 1, "a,b"]])
    refused(422, "column tags", "JSON array")
    write_csv(path, [[5, "2026-01-02"]])
    refused(422, "row 1 has 2 fields, the header has 6")
    write_csv(path, [], HEADER[:-1])
    refused(422, "there is no column tags", "conv_rate")
    os.chmod(path, 0o600)
    refused(422, path, "Permission denied", "uid")
    os.unlink(path)
    refused(404, path)
    refused(422, "end_ts", "start_ts", start="2026-01-04", end="2026-01-01")
    refused(422, "start_ts", "soon", start="soon")
    assert online(daemon, "offline_wrong", 1, 5) == [None, None]
    unknown = materialize(daemon, "offline_nothing", "2026-01-01", "2026-01-02")
    assert unknown.status_code == 404 and "offline_nothing" in unknown.json()["detail"]


def test_a_job_shows_its_progress_and_can_be_cancelled(daemon, folder):
    path = folder / "endless.db"
    write_sqlite(path, ROWS)
    # More rows than anybody waits for.
    query = (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) "
        "SELECT i % 1000 AS driver_id, '2026-01-02' AS at, NULL AS made, 0.5 AS conv_rate, 1 AS trips, NULL AS tags FROM n"
    )
    define(daemon, "offline_endless", kind="sqlite", path=str(path), query=query)
    body = {"start_ts": "2026-01-01", "end_ts": "2026-01-03", "feature_views": ["offline_endless"]}
    started = daemon.request("POST", "/thaw/v1/features/materialize", json=body)
    assert started.status_code == 202
    job = started.json()
    harness.wait_for(
        lambda: daemon.get(f"/thaw/v1/features/jobs/{job['Id']}").json()["Views"][0]["RowsRead"] > 1000, "rows to be read"
    )
    second = daemon.request("POST", "/materialize", json=body)
    assert second.status_code == 409 and "offline_endless" in second.json()["detail"]
    assert daemon.request("DELETE", f"/thaw/v1/features/jobs/{job['Id']}").status_code == 202
    ended = end_of(daemon, job)
    assert ended["State"] == "cancelled" and "cancelled" in ended["Error"]["Message"]
    assert daemon.get("/thaw/v1/features/jobs/none").status_code == 404


def historical(daemon, entities, **query):
    answer = daemon.request(
        "POST", "/thaw/v1/features/historical", params=query, data=entities.encode(), headers={"Content-Type": "text/csv"}
    )
    return answer


def moment(text):
    """Microseconds since 1970 of the ways that times are written here."""
    parsed = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=datetime.timezone.utc)
    return round((parsed - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) / datetime.timedelta(microseconds=1))


def written(us, style):
    zone = datetime.timezone(datetime.timedelta(hours=style % 27 - 12, minutes=30 * (style % 2)))
    at = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(microseconds=us)
    if style % 5 == 0:
        return at.replace(tzinfo=None).isoformat(" ")
    if style % 5 == 1:
        return at.isoformat().replace("+00:00", "Z")
    return at.astimezone(zone).isoformat()


@pytest.mark.parametrize("kind", ["csv", "sqlite"])
@pytest.mark.parametrize("ttl_s", [0, 90_000])
def test_joins_in_time_are_those_of_a_brute_force(daemon, folder, kind, ttl_s):
    random.seed(ttl_s)
    begin = moment("2026-03-28T00:00:00Z")  # around the change to summer time in Europe
    hour = 3_600_000_000
    rows = []
    for i in range(2000):
        at = begin + random.randrange(80) * hour + random.choice([0, 0, 1, 500_000])
        made = begin + random.randrange(3) * hour
        rows.append([random.randrange(30), written(at, i), written(made, i + 1) if i % 7 else None, i / 8, i, None])
    name = f"offline_join_{kind}_{ttl_s}"
    if kind == "csv":
        define(daemon, name, ttl_s, kind="csv", path=write_csv(folder / "rides.csv", rows))
    else:
        define(daemon, name, ttl_s, kind="sqlite", path=write_sqlite(folder / "rides.db", rows), table="rides")
    # Gaps: drivers without rows, times before all and after all.
    wanted = [
        [f"label, {i}", random.randrange(35), written(begin + random.randrange(-10, 130) * hour + random.choice([0, 1]), i)]
        for i in range(400)
    ]
    parsed = [(row[0], moment(row[1]), moment(row[2]) if row[2] else 0, at) for at, row in enumerate(rows)]
    expected = []
    for label, driver, time_text in wanted:
        until = moment(time_text)
        best = max(
            (
                (event, made, at)
                for one, event, made, at in parsed
                if one == driver and event <= until and (ttl_s == 0 or event >= until - ttl_s * 1_000_000)
            ),
            default=None,
        )
        found = ["", ""] if best is None else [repr(rows[best[2]][3]), str(rows[best[2]][4])]
        expected.append([label, str(driver), time_text, *found])
    assert any(row[3] == "" for row in expected) and any(row[3] != "" for row in expected)
    entities = io.StringIO()
    writer = csv.writer(entities)
    writer.writerow(["label", "driver_id", "event_timestamp"])
    writer.writerows(wanted)
    answer = historical(daemon, entities.getvalue(), features=f"{name}:rate,{name}:trips", full_feature_names=1)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/csv")
    lines = list(csv.reader(io.StringIO(answer.text)))
    assert lines[0] == ["label", "driver_id", "event_timestamp", f"{name}__rate", f"{name}__trips"]
    assert [[*row[:3], row[3] and repr(float(row[3])), row[4]] for row in lines[1:]] == expected


def test_historical_features_of_json_and_of_a_service(daemon, folder):
    define(daemon, "offline_json", kind="csv", path=write_csv(folder / "rides.csv", ROWS))
    service = {"name": "offline_service", "features": ["offline_json:trips", "offline_json:tags"]}
    assert daemon.request("POST", "/thaw/v1/features", json={"feature_service": [service]}).status_code == 200
    body = {
        "feature_service": "offline_service",
        "entities": {"driver_id": [1, 2, 9], "event_timestamp": ["2026-01-02T10:00:00Z"] * 3, "label": ['"x"', None, ""]},
    }
    answer = daemon.request("POST", "/thaw/v1/features/historical", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.text.splitlines() == [
        "driver_id,event_timestamp,label,trips,tags",
        '1,2026-01-02T10:00:00Z,"""x""",30,"[""later""]"',
        "2,2026-01-02T10:00:00Z,,,",
        '9,2026-01-02T10:00:00Z,"",,',
    ]


def test_requests_for_historical_features_that_are_wrong(daemon, folder):
    define(daemon, "offline_bad_join", kind="csv", path=write_csv(folder / "rides.csv", ROWS))

    def refused(answer, status, *words):
        assert answer.status_code == status, answer.text
        for word in words:
            assert word in answer.json()["Message"], answer.text

    features = "offline_bad_join:rate"
    refused(historical(daemon, "driver_id\n1\n", features=features), 400, "event_timestamp")
    refused(historical(daemon, "driver_id,event_timestamp\n1,soon\n", features=features), 400, "row 1", "soon")
    refused(historical(daemon, "driver_id,event_timestamp\n1\n", features=features), 400, "row 1 has 1 fields")
    refused(historical(daemon, "", features=features), 400, "header")
    refused(historical(daemon, "driver_id,event_timestamp,rate\n", features=features), 400, "called rate")
    refused(historical(daemon, "x\n"), 400, "feature_service")
    refused(historical(daemon, "x\n", features="offline_bad_join:none"), 404, "none")
    refused(historical(daemon, "x\n", features="offline_none:rate"), 404, "offline_none")
    refused(daemon.request("POST", "/thaw/v1/features/historical", json={"features": [features]}), 400, "entities")
    uneven = {"features": [features], "entities": {"driver_id": [1], "event_timestamp": []}}
    refused(daemon.request("POST", "/thaw/v1/features/historical", json=uneven), 400, "event_timestamp")
    assert historical(daemon, "driver_id,event_timestamp\n", features=features).text == "driver_id,event_timestamp,rate\n"


def test_the_command_line_materializes_and_joins(daemon, folder):
    define(daemon, "offline_cli", kind="csv", path=write_csv(folder / "rides.csv", ROWS))
    done = daemon.run("features", "materialize", "--start", "2026-01-01", "--end", "2026-01-03", "offline_cli")
    assert done.returncode == 0, done.stderr
    assert "offline_cli: 2 entities written, of 6 rows from 2026-01-01T00:00:00Z to 2026-01-03T00:00:00Z" in done.stdout
    assert "; 1 without a time or an entity passed over" in done.stdout
    done = daemon.run("features", "materialize-incremental", "2026-01-04", "offline_cli")
    assert (done.returncode, "from 2026-01-03T00:00:00Z" in done.stdout) == (0, True), done.stderr
    assert online(daemon, "offline_cli", 1, 3) == [(0.3, 30, ["later"]), (0.5, 50, None)]
    assert "offline_cli" in daemon.run("features", "jobs").stdout
    entities = folder / "entities.csv"
    entities.write_text("driver_id,event_timestamp\n1,2026-01-01T12:00:00Z\n")
    words = ["features", "historical", "--entities", entities, "--features", "offline_cli:rate,offline_cli:trips"]
    assert daemon.run(*words).stdout == "driver_id,event_timestamp,rate,trips\n1,2026-01-01T12:00:00Z,0.1,10\n"
    output = folder / "train.csv"
    done = daemon.run(*words, "--output", output, "--full-names")
    assert done.returncode == 0, done.stderr
    assert output.read_text().splitlines()[0] == "driver_id,event_timestamp,offline_cli__rate,offline_cli__trips"
    entities.write_text("driver_id,event_timestamp\nx,2026-01-01T12:00:00Z\n")
    output.unlink()
    failed = daemon.run(*words, "--output", output)
    assert failed.returncode == 1 and "row 1 of the entities, column driver_id" in failed.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["entities.csv", "rides.csv"]
    write_csv(folder / "rides.csv", [[1, "2026-01-02", "", "fast", 1, ""]])
    failed = daemon.run("features", "materialize", "offline_cli")
    assert failed.returncode == 1 and '"fast" is no number' in failed.stderr


def test_ctrl_c_cancels_the_job(daemon, folder):
    write_sqlite(folder / "endless.db", ROWS)
    query = (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) "
        "SELECT 1 AS driver_id, '2026-01-02' AS at, NULL AS made, 0.5 AS conv_rate, 1 AS trips, NULL AS tags FROM n"
    )
    define(daemon, "offline_ctrl_c", kind="sqlite", path=str(folder / "endless.db"), query=query)

    def job():
        jobs = daemon.get("/thaw/v1/features/jobs").json()["Jobs"]
        return next((one for one in jobs if one["Views"][0]["Name"] == "offline_ctrl_c"), None)

    command = [str(harness.THAW), "features", "materialize", "offline_ctrl_c"]
    process = subprocess.Popen(command, env=daemon.environment(), stderr=subprocess.PIPE, text=True)
    harness.wait_for(job, "the job to be there")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=harness.HANG_S)
    assert process.returncode == 130 and "interrupted" in said
    assert job()["State"] == "cancelled"


def push(daemon, name, to):
    source = {"push_source": [{"name": f"{name}_push", "view": name}]}
    assert daemon.request("POST", "/thaw/v1/features", json=source).status_code == 200
    frame = {
        "driver_id": [7, 8],
        "rate": [0.5, None],
        "trips": [1, 2],
        "tags": [["a", 'b"'], None],
        "event_timestamp": ["2026-01-02T01:00:00+01:00", "2026-01-03T00:00:00Z"],
    }
    return daemon.request("POST", "/push", json={"push_source_name": f"{name}_push", "df": frame, "to": to})


def check_pushed(daemon, name):
    done = push(daemon, name, "offline")
    assert (done.status_code, done.json()) == (200, None), done.text
    assert online(daemon, name, 7, 8) == [None, None]
    assert materialize(daemon, name, "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z").status_code == 200
    assert online(daemon, name, 7, 8) == [(0.5, 1, ["a", 'b"']), None]
    assert push(daemon, name, "online_and_offline").status_code == 200
    assert online(daemon, name, 7, 8) == [(0.5, 1, ["a", 'b"']), (None, 2, None)]


def test_rows_are_pushed_to_sqlite(folder, own_daemon):
    offline = own_daemon.data / "features" / "offline"
    write_sqlite(offline / "rides.db", ROWS)
    owner = offline.stat()
    os.chown(offline / "rides.db", owner.st_uid, owner.st_gid)
    define(own_daemon, "pushed_sqlite", kind="sqlite", path="rides.db", table="rides")
    check_pushed(own_daemon, "pushed_sqlite")
    with sqlite3.connect(offline / "rides.db") as database:
        rows = database.execute("SELECT driver_id, at, conv_rate, tags FROM rides WHERE driver_id > 6 LIMIT 2").fetchall()
    database.close()
    assert rows == [(7, "2026-01-02T00:00:00Z", 0.5, '["a","b\\""]'), (8, "2026-01-03T00:00:00Z", None, None)]


@pytest.mark.skipif(bool(postgres.missing()), reason=postgres.missing() or "-")
def test_rows_are_pushed_to_postgresql(daemon):
    with postgres.Postgres() as server:
        server.sql("CREATE TABLE rides (driver_id int, at timestamptz, made timestamptz, conv_rate float8, trips int, tags text[])")
        define(daemon, "pushed_postgres", kind="postgres", url=server.url, table="rides")
        check_pushed(daemon, "pushed_postgres")
        assert server.sql("SELECT driver_id, tags FROM rides LIMIT 1") == '7\t{a,"b\\""}\n'
        server.sql("ALTER TABLE rides ADD CHECK (trips > 1) NOT VALID")
        refused = push(daemon, "pushed_postgres", "offline")
        assert refused.status_code == 422 and "rides" in refused.json()["detail"], refused.text
        assert server.sql("SELECT count(*) FROM rides") == "4\n"


def test_sources_that_are_only_read_refuse_pushes(daemon, folder):
    define(daemon, "pushed_csv", kind="csv", path=write_csv(folder / "rides.csv", ROWS))
    refused = push(daemon, "pushed_csv", "online_and_offline")
    assert refused.status_code == 422 and "CSV" in refused.json()["detail"]
    assert online(daemon, "pushed_csv", 7) == [None]
    path = write_sqlite(folder / "rides.db", ROWS)
    define(daemon, "pushed_query", kind="sqlite", path=path, query="SELECT * FROM rides")
    refused = push(daemon, "pushed_query", "offline")
    assert refused.status_code == 422 and "query" in refused.json()["detail"]
