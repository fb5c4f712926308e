"""thaw batch: a function over files, lines and rows, by the real daemon and real databases."""

import base64
import json
import os
import re
import signal
import sqlite3
import subprocess

import harness
import postgres
import pytest
import terminal

BATCH = harness.FUNCTIONS / "batch"


@pytest.fixture(scope="module")
def shared_batch(shared_daemon):
    return shared_daemon.deploy(BATCH, "batch-web")


@pytest.fixture
def web(daemon, shared_batch):
    return shared_batch


def write_lines(path, values):
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def by_id(lines):
    found = {line["id"]: line for line in lines}
    assert len(found) == len(lines), "an id has more than one line"
    return found


def got(function):
    """Every input that the function says it got, in the order of its log."""
    return re.findall(r"^GOT (.+)$", function.log(), re.M)


def start(daemon, *words, **options):
    return subprocess.Popen(
        [str(harness.THAW), *map(str, words)], env=daemon.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def test_files_of_a_folder_are_bodies(daemon, web, tmp_path):
    photos = tmp_path / "photos"
    (photos / "cats" / "old").mkdir(parents=True)
    (photos / "cats" / "tom.JPG").write_bytes(b"\xff\xd8" + bytes(1000))
    (photos / "cats" / "old" / "a b.png").write_bytes(bytes(10))
    (photos / "dog.webp").write_bytes(bytes(3 << 20))
    (photos / "notes.txt").write_text("hello")
    (photos / "empty").write_bytes(b"")
    (photos / ".hidden.jpg").write_bytes(b"x")
    (photos / "link.jpg").symlink_to("cats/tom.JPG")
    (photos / "round").symlink_to(".")
    output = photos / "out.jsonl"
    done = daemon.run("batch", web.name, "--input", photos, "--output", output, "--path", "/see?x=1")
    assert done.returncode == 0, done.stderr
    assert "6 ok, 0 failed" in done.stderr
    outcomes = by_id(lines_of(output))
    assert {name: (one["output"]["bytes"], one["output"]["type"]) for name, one in outcomes.items()} == {
        "cats/tom.JPG": (1002, "image/jpeg"),
        "cats/old/a b.png": (10, "image/png"),
        "dog.webp": (3 << 20, "image/webp"),
        "notes.txt": (5, "text/plain; charset=utf-8"),
        "empty": (0, "application/octet-stream"),
        "link.jpg": (1002, "image/jpeg"),
    }
    for one in outcomes.values():
        assert one["status"] == 200 and one["duration_ms"] > 0 and "error" not in one
        assert one["output"]["path"] == "/see?x=1"
    chosen = daemon.run("batch", web.name, "--input", photos, "--include", "*.webp", "--include", "cats/*.JPG")
    assert {json.loads(line)["id"] for line in chosen.stdout.splitlines()} == {"dog.webp", "cats/tom.JPG"}


def test_lines_are_bodies_and_answers_keep_their_form(daemon, web, tmp_path):
    input = tmp_path / "in.jsonl"
    input.write_text(
        '{"n": 1}\n\n{"n": 3, "do": "text"}\r\n{"n": 4, "do": "bytes"}\n{"n": 5, "do": "nothing"}\n{"n": 6, "do": "number"}\n'
        'not JSON\n{"n": 8, "do": "fail"}\n{"n": 9, "do": "big"}\n{"n": 10}'
    )
    done = daemon.run("batch", web.name, "--input", input)
    assert done.returncode == 1
    assert "6 ok, 3 failed" in done.stderr
    assert '"output":{"exact":12345678901234567890123.10,"text":" a \\" b "}' in done.stdout
    found = by_id([json.loads(line) for line in done.stdout.splitlines()])
    assert found["1"]["output"]["n"] == 1
    assert found["3"]["output_text"] == "Grüße\nvon hier"
    assert base64.b64decode(found["4"]["output_base64"]) == bytes(range(256))
    assert not {"output", "output_text", "output_base64"} & set(found["5"])
    assert found["7"]["status"] is None and "line 7 is not JSON" in found["7"]["error"]
    assert found["8"]["status"] == 422 and found["8"]["error"] == "8 cannot be done"
    assert "larger than 16 MB" in found["9"]["error"]
    assert found["10"]["output"]["n"] == 10
    assert sorted(found) == ["1", "10", "3", "4", "5", "6", "7", "8", "9"]


def test_events_go_to_event_functions_and_their_errors_are_failures(daemon, tmp_path):
    daemon.deploy(harness.FUNCTIONS / "events", "batch-events")
    input = write_lines(tmp_path / "in.jsonl", [{"key": "a", "x": 1}, {"key": "b", "do": "fail"}, {"x": 3}])
    done = daemon.run("batch", "batch-events", "--input", input, "--id-field", "key", "--limit", "3")
    assert done.returncode == 1, done.stderr
    found = by_id([json.loads(line) for line in done.stdout.splitlines()])
    assert found["a"]["output"]["event"] == {"key": "a", "x": 1}
    assert found["b"]["status"] == 200 and found["b"]["error"] == "Oops: as asked"
    assert "no text or number in the member 'key'" in found["3"]["error"]
    refused = daemon.run("batch", "batch-events", "--input", input, "--path", "/x")
    assert refused.returncode == 1 and "takes events" in refused.stderr


def test_no_more_requests_at_a_time_than_the_bound(daemon, web, tmp_path):
    input = write_lines(tmp_path / "in.jsonl", [{"n": n, "sleep_ms": 20} for n in range(60)])
    function = daemon.deploy(BATCH, "batch-bound")
    done = daemon.run("batch", function.name, "--input", input, "--concurrency", 3, "--json", "--output", tmp_path / "out.jsonl")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["Ok"] == 60
    assert max(one["output"]["most_at_once"] for one in lines_of(tmp_path / "out.jsonl")) == 3


def test_an_output_that_is_there_needs_a_word(daemon, web, tmp_path):
    input = write_lines(tmp_path / "in.jsonl", [{"n": n} for n in range(3)])
    output = tmp_path / "out.jsonl"
    words = ["batch", web.name, "--input", input, "--output", output]
    assert daemon.run(*words, "--limit", 2).returncode == 0
    refused = daemon.run(*words)
    assert refused.returncode == 1
    assert "--resume" in refused.stderr and "--restart" in refused.stderr
    assert daemon.run(*words, "--restart", "--limit", 1).returncode == 0
    assert [one["id"] for one in lines_of(output)] == ["1"]
    done = daemon.run(*words, "--resume", "--json")
    summary = json.loads(done.stdout)
    assert (summary["Ok"], summary["FinishedBefore"]) == (2, 1)
    assert sorted(by_id(lines_of(output))) == ["1", "2", "3"]
    other = tmp_path / "other.jsonl"
    other.write_text('{"name": "mine"}\n')
    refused = daemon.run("batch", web.name, "--input", input, "--output", other, "--resume")
    assert refused.returncode == 1 and "line 1 is none of a batch's" in refused.stderr
    assert other.read_text() == '{"name": "mine"}\n'
    # Not even the input, by a slip of the hand.
    refused = daemon.run("batch", web.name, "--input", input, "--output", input, "--restart")
    assert refused.returncode == 1 and "holds something else" in refused.stderr
    assert len(lines_of(input)) == 3
    assert daemon.run("batch", web.name, "--input", input, "--resume").returncode == 1


def test_resume_tries_again_what_failed_and_nothing_else(daemon, tmp_path):
    function = daemon.deploy(BATCH, "batch-mend")
    input = write_lines(tmp_path / "in.jsonl", [{"n": n, "do": "fail unless mended" if n % 5 == 0 else "echo"} for n in range(1, 21)])
    output = tmp_path / "out.jsonl"
    words = ["batch", function.name, "--input", input, "--output", output]
    done = daemon.run(*words)
    assert done.returncode == 1
    assert "16 ok, 4 failed" in done.stderr and "--resume" in done.stderr
    function.wait_log("GOT 20")
    assert daemon.run("deploy", BATCH, "--name", "batch-mend", "--env", "MENDED=1").returncode == 0
    with open(output, "a") as torn:
        torn.write('{"id":"99","sta')
    done = daemon.run(*words, "--resume")
    assert done.returncode == 0, done.stderr
    assert "4 ok, 0 failed; 16 were finished before" in done.stderr
    found = by_id(lines_of(output))
    assert len(found) == 20 and not any("error" in one for one in found.values())
    assert not list(tmp_path.glob("*.resume"))
    harness.wait_for(lambda: len(got(function)) >= 24, "the log of what it got")
    assert sorted(map(int, got(function))) == sorted([*range(1, 21), 5, 10, 15, 20])


def test_kill_9_in_the_middle_loses_nothing_that_was_written(daemon, tmp_path):
    function = daemon.deploy(BATCH, "batch-killed")
    input = write_lines(tmp_path / "in.jsonl", [{"n": n, "sleep_ms": 10} for n in range(1, 301)])
    output = tmp_path / "out.jsonl"
    words = ["batch", function.name, "--input", input, "--output", output, "--concurrency", 4]
    for at_least in (40, 120):
        process = start(daemon, *words, *(["--resume"] if output.exists() else []))
        harness.wait_for(lambda: output.exists() and output.read_text().count("\n") >= at_least, f"{at_least} outcomes")
        process.kill()
        process.communicate(timeout=harness.HANG_S)
    before = {one["id"] for one in map(json.loads, output.read_text().splitlines(keepends=True)[:-1])}
    done = daemon.run(*words, "--resume", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["FinishedBefore"] >= len(before)
    found = by_id(lines_of(output))
    assert set(found) == {str(n) for n in range(1, 301)} and before <= set(found)
    harness.wait_for(lambda: "300" in got(function), "the log of what it got")
    # Twice at most what was under way when it was killed: being sent, and waiting to be written.
    assert len(got(function)) - len(set(got(function))) <= 2 * (4 + 4 + 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_lets_what_is_under_way_end(daemon, number, tmp_path):
    function = daemon.deploy(BATCH, f"batch-interrupted-{int(number)}")
    input = write_lines(tmp_path / "in.jsonl", [{"n": n, "sleep_ms": 50} for n in range(1, 501)])
    output = tmp_path / "out.jsonl"
    words = ["batch", function.name, "--input", input, "--output", output]
    process = start(daemon, *words)
    harness.wait_for(lambda: output.exists() and output.read_text().count("\n") >= 8, "outcomes")
    process.send_signal(number)
    out, err = process.communicate(timeout=harness.HANG_S)
    assert process.returncode == 130
    assert "interrupted" in err and "--resume" in err
    found = by_id(lines_of(output))
    assert 8 <= len(found) < 500
    harness.wait_for(lambda: len(got(function)) >= len(found), "the log of what it got")
    assert len(got(function)) == len(found)
    assert daemon.run(*words, "--resume", "--limit", len(found) + 5).returncode == 0
    assert len(by_id(lines_of(output))) == len(found) + 5


def test_a_second_ctrl_c_waits_for_nothing(daemon, tmp_path):
    function = daemon.deploy(BATCH, "batch-impatient")
    input = write_lines(tmp_path / "in.jsonl", [{"n": 1, "sleep_ms": 50000}])
    process = start(daemon, "batch", function.name, "--input", input)
    function.wait_log("GOT 1")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130 and out == ""


def test_a_daemon_that_restarts_is_waited_for(serve, tmp_path):
    own = serve()
    function = own.deploy(BATCH, "batch-restart")
    input = write_lines(tmp_path / "in.jsonl", [{"n": n, "sleep_ms": 20} for n in range(1, 201)])
    output = tmp_path / "out.jsonl"
    process = start(own, "batch", function.name, "--input", input, "--output", output)
    harness.wait_for(lambda: output.exists() and output.read_text().count("\n") >= 20, "outcomes")
    own.kill()
    own.start()
    out, err = process.communicate(timeout=harness.HANG_S)
    assert process.returncode == 0, err
    assert "200 ok, 0 failed" in err
    assert set(by_id(lines_of(output))) == {str(n) for n in range(1, 201)}


def test_a_daemon_that_stays_away_ends_the_batch_which_can_be_resumed(serve, tmp_path):
    own = serve()
    function = own.deploy(BATCH, "batch-away")
    input = write_lines(tmp_path / "in.jsonl", [{"n": n, "sleep_ms": 20} for n in range(1, 101)])
    output = tmp_path / "out.jsonl"
    words = ["batch", function.name, "--input", input, "--output", output]
    process = start(own, *words, "--retries", "1")
    harness.wait_for(lambda: output.exists() and output.read_text().count("\n") >= 20, "outcomes")
    own.stop()
    out, err = process.communicate(timeout=harness.HANG_S)
    assert process.returncode == 1
    assert "stopped" in err and "cannot reach thaw" in err and "--resume" in err
    assert len(lines_of(output)) < 100
    own.start()
    assert own.run(*words, "--resume").returncode == 0
    found = by_id(lines_of(output))
    assert len(found) == 100 and not any("error" in one for one in found.values())


def test_a_busy_function_is_waited_for(daemon, tmp_path):
    function = daemon.deploy(BATCH, "batch-busy")
    input = write_lines(tmp_path / "in.jsonl", [{"n": n, "do": "busy once"} for n in (1, 2)])
    done = daemon.run("batch", function.name, "--input", input, "--concurrency", 1, "--retries", 0)
    assert done.returncode == 0, done.stderr
    assert "2 ok, 0 failed" in done.stderr
    function.wait_log("GOT 2")
    assert got(function) == ["1", "1", "1", "2"]


def test_what_hangs_or_crashes_fails_alone(daemon, tmp_path):
    function = daemon.deploy(BATCH, "batch-frail")
    input = write_lines(tmp_path / "in.jsonl", [{"n": 1, "sleep_ms": 30000}, {"n": 2, "do": "exit"}, {"n": 3}])
    done = daemon.run("batch", function.name, "--input", input, "--timeout", 1, "--concurrency", 1)
    assert done.returncode == 1
    assert "1 ok, 2 failed" in done.stderr
    found = outcomes_of(done)
    assert found["1"]["status"] is None and "no answer within 1 s" in found["1"]["error"]
    assert found["2"]["status"] == 502 and found["2"]["error"]
    assert found["3"]["output"]["n"] == 3


def test_a_terminal_sees_what_is_waited_for(daemon, tmp_path):
    function = daemon.deploy(BATCH, "batch-closed")
    limit = f"/2017-10-31/functions/{function.name}/concurrency"
    assert daemon.request("PUT", limit, json={"ReservedConcurrentExecutions": 0}).status_code == 200
    input = write_lines(tmp_path / "in.jsonl", [{"n": 1}, {"n": 2}])
    words = [str(harness.THAW), "batch", function.name, "--input", str(input), "--output", str(tmp_path / "out.jsonl")]
    with terminal.Terminal(words, daemon.environment()) as screen:
        screen.until("2 waiting: the function is busy (429)")
        assert daemon.request("DELETE", limit).status_code == 204
        screen.until("2 ok, 0 failed")
        assert screen.exit_status() == 0


def test_a_full_queue_is_waited_for(daemon, tmp_path):
    function = daemon.deploy(BATCH, "batch-queue", concurrency=1, queue_max=1)
    input = write_lines(tmp_path / "in.jsonl", [{"n": n, "sleep_ms": 50} for n in range(1, 21)])
    done = daemon.run("batch", function.name, "--input", input, "--concurrency", 8, "--retries", 0, "--output", tmp_path / "out.jsonl")
    assert done.returncode == 0, done.stderr
    assert "20 ok, 0 failed" in done.stderr
    assert all(one["output"]["most_at_once"] == 1 for one in lines_of(tmp_path / "out.jsonl"))


def test_a_version_gets_lines_of_standard_input(daemon, tmp_path):
    function = daemon.deploy(BATCH, "batch-version")
    assert daemon.run("publish", function.name).returncode == 0
    lines = "".join(json.dumps({"n": n}) + "\n" for n in range(1, 6))
    done = daemon.run("batch", f"{function.name}:1", "--input", "-", "--id-field", "n", input=lines)
    assert done.returncode == 0, done.stderr
    assert {name: one["output"]["n"] for name, one in outcomes_of(done).items()} == {str(n): n for n in range(1, 6)}
    missing = daemon.run("batch", f"{function.name}:7", "--input", "-", input=lines)
    assert missing.returncode == 1 and done.stdout and "7" in missing.stderr


def test_a_full_disk_ends_the_batch_at_a_whole_line(daemon, web, mount_tmpfs, tmp_path):
    output = mount_tmpfs(1) / "out.jsonl"
    (output.parent / "ballast").write_bytes(bytes((1 << 20) - 16384))
    input = write_lines(tmp_path / "in.jsonl", [{"n": n} for n in range(1, 501)])
    words = ["batch", web.name, "--input", input, "--output", output]
    done = daemon.run(*words)
    assert done.returncode == 1
    assert "No space left" in done.stderr
    written = by_id(lines_of(output))
    assert 0 < len(written) < 500
    (output.parent / "ballast").unlink()
    done = daemon.run(*words, "--resume")
    assert done.returncode == 0, done.stderr
    assert f"{len(written)} were finished before" in done.stderr
    assert len(by_id(lines_of(output))) == 500


def test_two_batches_do_not_share_an_output(daemon, web, tmp_path):
    input = write_lines(tmp_path / "in.jsonl", [{"n": n, "sleep_ms": 50} for n in range(1, 2001)])
    output = tmp_path / "out.jsonl"
    words = ["batch", web.name, "--input", input, "--output", output]
    process = start(daemon, *words)
    harness.wait_for(lambda: output.exists() and output.read_text().count("\n") >= 4, "outcomes")
    second = daemon.run(*words, "--resume")
    assert second.returncode == 1 and "another batch writes" in second.stderr
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=harness.HANG_S)
    assert process.returncode == 130


def test_a_terminal_sees_how_far_it_is(daemon, web, tmp_path):
    input = write_lines(tmp_path / "in.jsonl", [{"n": n, "sleep_ms": 100, "do": "fail" if n % 9 == 0 else "echo"} for n in range(1, 201)])
    words = [str(harness.THAW), "batch", web.name, "--input", str(input), "--output", str(tmp_path / "out.jsonl")]
    with terminal.Terminal(words, daemon.environment()) as screen:
        screen.until("failed")
        screen.until("left")
        screen.type("\x03")
        screen.until("ctrl-C again lets go of it")
        screen.until("interrupted")
        assert screen.exit_status() == 130
    with terminal.Terminal([*words, "--resume"], daemon.environment()) as screen:
        screen.until("from before")
        screen.until("were finished before")
        assert screen.exit_status() == 1


@pytest.fixture(scope="module")
def database():
    if postgres.missing():
        pytest.skip(postgres.missing())
    with postgres.Postgres() as server:
        yield server


def outcomes_of(done):
    return by_id([json.loads(line) for line in done.stdout.splitlines()])


def test_ctrl_c_does_not_wait_for_an_input_that_does_not_come(daemon, web, database):
    words = ["batch", web.name, "--input", database.url, "--query", "SELECT 1 AS id, pg_sleep(600)"]
    process = start(daemon, *words)
    asked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT%pg_sleep(600)%' AND pid <> pg_backend_pid()"
    harness.wait_for(lambda: int(database.sql(asked)) >= 1, "the query to run")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "interrupted" in err
    read, write = os.pipe()
    process = start(daemon, "batch", web.name, "--input", "-", stdin=read)
    os.write(write, b'{"n": 1}\n')
    assert json.loads(process.stdout.readline())["id"] == "1"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    os.close(write)
    os.close(read)
    assert process.returncode == 130


def test_rows_of_a_csv_file_are_objects(daemon, web, tmp_path):
    input = tmp_path / "rows.csv"
    input.write_text('n,name,note\r\n1,"Fuchs, rot","""so"""\r\n2,Bär,\r\n3,"zwei\nZeilen",""\r\n')
    done = daemon.run("batch", web.name, "--input", input, "--path", "/row")
    assert done.returncode == 0, done.stderr
    found = outcomes_of(done)
    assert [found[n]["output"]["row"] for n in "123"] == [
        {"n": "1", "name": "Fuchs, rot", "note": '"so"'},
        {"n": "2", "name": "Bär", "note": None},
        {"n": "3", "name": "zwei\nZeilen", "note": ""},
    ]
    done = daemon.run("batch", web.name, "--input", input, "--id-column", "name", "--limit", 2)
    assert set(outcomes_of(done)) == {"Fuchs, rot", "Bär"}
    refused = daemon.run("batch", web.name, "--input", input, "--id-column", "nme")
    assert refused.returncode == 1 and "there is no column nme; there are n, name, note" in refused.stderr
    input.write_text('n\n1\n2\n3,4\n')
    broken = daemon.run("batch", web.name, "--input", input)
    assert broken.returncode == 1 and "stopped" in broken.stderr and "row 3" in broken.stderr


def test_rows_of_a_sqlite_table_are_objects(daemon, web, tmp_path):
    path = tmp_path / "zoo.db"
    with sqlite3.connect(path) as zoo:
        zoo.execute("CREATE TABLE animals (id INTEGER PRIMARY KEY, name TEXT, weight REAL, photo BLOB)")
        zoo.execute("INSERT INTO animals VALUES (7, 'Fuchs', 6.5, x'ff00'), (9, NULL, 1e300, NULL)")
    words = ["batch", web.name, "--input", f"sqlite:{path}", "--path", "/row"]
    done = daemon.run(*words, "--table", "animals")
    assert done.returncode == 0, done.stderr
    found = outcomes_of(done)
    assert found["7"]["output"]["row"] == {"id": 7, "name": "Fuchs", "weight": 6.5, "photo": "/wA="}
    assert found["9"]["output"]["row"] == {"id": 9, "name": None, "weight": 1e300, "photo": None}
    done = daemon.run(*words, "--query", "SELECT name, weight * 2 AS n FROM animals WHERE id < 10 -- all")
    assert done.returncode == 1
    found = outcomes_of(done)
    assert found["Fuchs"]["output"]["row"] == {"name": "Fuchs", "n": 13.0}
    assert "row 2 has no value in the column name" in found["2"]["error"]
    for extra, expected in (
        ([], "one of --table NAME and --query"),
        (["--table", "animls"], "no such table"),
        (["--query", "DELETE FROM animals"], "must be one SELECT"),
    ):
        refused = daemon.run(*words, *extra)
        assert refused.returncode == 1 and expected in refused.stderr


def test_rows_of_a_postgresql_table_are_objects(daemon, web, database):
    database.sql(
        "CREATE TABLE animals (id int PRIMARY KEY, name text, weight float8, wild bool, seen timestamptz, tags text[]);"
        "INSERT INTO animals VALUES (1, 'Grüner \"Fuchs\"', 6.5, true, '2026-01-31 12:00:00+02', '{a,b}'), (2, NULL, NULL, false, NULL, NULL)"
    )
    words = ["batch", web.name, "--input", database.url, "--path", "/row"]
    done = daemon.run(*words, "--table", "animals")
    assert done.returncode == 0, done.stderr
    found = outcomes_of(done)
    first = found["1"]["output"]["row"]
    assert first.pop("seen").startswith("2026-01-31 10:00:00")
    assert json.loads(first.pop("tags")) == ["a", "b"]
    assert first == {"id": 1, "name": 'Grüner "Fuchs"', "weight": 6.5, "wild": True}
    assert found["2"]["output"]["row"] == {"id": 2, "name": None, "weight": None, "wild": False, "seen": None, "tags": None}
    done = daemon.run(*words, "--query", "SELECT id, name FROM animals", "--id-column", "name", "--limit", 1)
    assert set(outcomes_of(done)) == {'Grüner "Fuchs"'}
    refused = daemon.run(*words, "--query", "SELECT nothing FROM animals")
    assert refused.returncode == 1 and 'column "nothing" does not exist' in refused.stderr


def test_a_database_that_goes_away_ends_the_batch_which_can_be_resumed(daemon, tmp_path):
    if postgres.missing():
        pytest.skip(postgres.missing())
    function = daemon.deploy(BATCH, "batch-rows")
    output = tmp_path / "out.jsonl"
    with postgres.Postgres() as server:
        # More than what the sockets between hold.
        server.sql("CREATE TABLE inputs AS SELECT n, 10 AS sleep_ms, repeat('x', 100000) AS pad FROM generate_series(1, 300) AS n")
        words = ["batch", function.name, "--input", server.url, "--table", "inputs", "--output", output]
        process = start(daemon, *words)
        harness.wait_for(lambda: output.exists() and output.read_text().count("\n") >= 10, "outcomes")
        server.stop()
        out, err = process.communicate(timeout=harness.HANG_S)
        assert process.returncode == 1
        assert "stopped" in err and "postgresql://127.0.0.1/postgres" in err and "--resume" in err
        assert 10 <= len(by_id(lines_of(output))) < 300
        refused = daemon.run(*words, "--resume")
        assert refused.returncode == 1 and "Connection refused" in refused.stderr
        server.start()
        assert daemon.run(*words, "--resume").returncode == 0
    assert set(by_id(lines_of(output))) == {str(n) for n in range(1, 301)}
    harness.wait_for(lambda: len(set(got(function))) >= 300, "the log of what it got")
    assert len(got(function)) == 300


def rows_of(path, table="outcomes"):
    with sqlite3.connect(path) as zoo:
        return {row[0]: row[1:] for row in zoo.execute(f"SELECT id, status, output, error, duration_ms FROM {table}")}


def test_outcomes_go_to_a_table_of_the_database_that_the_inputs_come_from(daemon, tmp_path):
    function = daemon.deploy(BATCH, "batch-table")
    path = tmp_path / "zoo.db"
    with sqlite3.connect(path) as zoo:
        zoo.execute("CREATE TABLE inputs (id INTEGER PRIMARY KEY, n INTEGER, do TEXT)")
        zoo.executemany("INSERT INTO inputs VALUES (?, ?, ?)", [(n, n, "echo") for n in range(6, 501)])
        kinds = ["text", "bytes", "nothing", "number", "fail unless mended"]
        zoo.executemany("INSERT INTO inputs VALUES (?, ?, ?)", [(n, n, do) for n, do in enumerate(kinds, 1)])
    words = ["batch", function.name, "--input", f"sqlite:{path}", "--table", "inputs", "--output", f"sqlite:{path}", "--output-table", "done here"]
    done = daemon.run(*words)
    assert done.returncode == 1, done.stderr
    assert "499 ok, 1 failed" in done.stderr
    rows = rows_of(path, '"done here"')
    assert set(rows) == {str(n) for n in range(1, 501)}
    assert json.loads(rows["1"][1]) == "Grüße\nvon hier"
    assert base64.b64decode(json.loads(rows["2"][1])["base64"]) == bytes(range(256))
    assert rows["3"][:3] == (200, None, None) and rows["3"][3] > 0
    assert rows["4"][1] == '{"exact":12345678901234567890123.10,"text":" a \\" b "}'
    assert rows["5"][:3] == (422, None, "5 cannot be done")
    assert json.loads(rows["6"][1])["n"] == 6
    refused = daemon.run(*words)
    assert refused.returncode == 1 and "--resume" in refused.stderr and "--restart" in refused.stderr
    assert daemon.run("deploy", BATCH, "--name", function.name, "--env", "MENDED=1").returncode == 0
    done = daemon.run(*words, "--resume")
    assert done.returncode == 0 and "1 ok, 0 failed; 499 were finished before" in done.stderr
    assert rows_of(path, '"done here"')["5"][0] == 200
    done = daemon.run(*words, "--restart", "--limit", 2)
    assert done.returncode == 0 and len(rows_of(path, '"done here"')) == 2
    hashed = daemon.run(*words[:-2], "--limit", 3)
    assert hashed.returncode == 0 and len(rows_of(path)) == 3
    hashed = daemon.run(*words[:-3], f"sqlite:{path}#third", "--limit", 4)
    assert hashed.returncode == 0 and len(rows_of(path, "third")) == 4


def test_kill_9_and_a_database_that_goes_away_lose_nothing_that_is_in_the_table(daemon, tmp_path):
    if postgres.missing():
        pytest.skip(postgres.missing())
    function = daemon.deploy(BATCH, "batch-postgres")
    input = write_lines(tmp_path / "in.jsonl", [{"n": n, "sleep_ms": 10} for n in range(1, 401)])
    with postgres.Postgres() as server:
        words = ["batch", function.name, "--input", input, "--output", server.url, "--output-table", "public.done"]
        count = lambda: int(server.sql("SELECT count(*) FROM done"))  # noqa: E731
        server.sql("CREATE TABLE done (id text PRIMARY KEY, status int, output text, error text, duration_ms float8, kept int DEFAULT 7)")
        process = start(daemon, *words)
        harness.wait_for(lambda: count() >= 50, "outcomes")
        process.kill()
        process.communicate(timeout=harness.HANG_S)
        before = count()
        process = start(daemon, *words, "--resume")
        harness.wait_for(lambda: count() >= 150, "outcomes")
        server.stop()
        server.start()
        out, err = process.communicate(timeout=harness.HANG_S)
        assert process.returncode == 0, err
        assert f"{before} were finished before" in err
        assert server.sql("SELECT count(*), count(DISTINCT id), min(status), max(status), count(error), sum(kept) FROM done") == "400\t400\t200\t200\t0\t2800\n"
        harness.wait_for(lambda: len(set(got(function))) >= 400, "the log of what it got")
        assert len(got(function)) <= 400 + 4 + 4 + 4
        server.stop()
        refused = daemon.run(*words, "--resume")
        assert refused.returncode == 1 and "postgresql://127.0.0.1" in refused.stderr


class Clock:
    """The clock of day as one process sees it: it goes on, and can be set forward."""

    LIBRARIES = ["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"]

    def __init__(self, folder):
        self.library = next((path for path in self.LIBRARIES if os.path.exists(path)), None)
        if self.library is None:
            pytest.skip("faketime is not installed")
        self.file = folder / "clock"
        self.ahead_s = 0
        self.forward(0)

    def forward(self, seconds):
        self.ahead_s += seconds
        # Replaced whole: it is read again at each look at the clock.
        beside = self.file.with_suffix(".new")
        beside.write_text(f"+{self.ahead_s}\n")
        beside.rename(self.file)

    def environment(self):
        return {"LD_PRELOAD": self.library, "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


class Scheduled:
    """thaw batch --schedule with a clock of its own."""

    def __init__(self, daemon, clock, log, *words):
        self.clock, self.log = clock, log
        with open(log, "wb") as err:
            self.process = subprocess.Popen([str(harness.THAW), *map(str, words)],
                                            env={**daemon.environment(), **clock.environment()}, stderr=err)

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def until(self, word, count):
        return harness.wait_for(lambda: len(self.lines(word)) >= count and self.lines(word), f"{count} times {word!r} in {self.log.read_text()!r}")

    def lines(self, word):
        return [line for line in self.log.read_text().splitlines() if f" {word}" in line]

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(harness.HANG_S)


def test_a_schedule_makes_a_file_for_each_run(daemon, web, tmp_path):
    input = write_lines(tmp_path / "in.jsonl", [{"n": 1}, {"n": 2, "do": "fail"}])
    output = tmp_path / "out-{time}.jsonl"
    words = ["batch", web.name, "--input", input, "--schedule", "rate(1 minute)", "--output", output]
    with Scheduled(daemon, Clock(tmp_path), tmp_path / "log", *words) as batch:
        batch.until("waiting: the first run is at", 1)
        assert not list(tmp_path.glob("out-*"))
        batch.clock.forward(60)
        line = batch.until("done", 1)[0]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ done: 2 inputs in \d+ s: 1 ok, 1 failed", line)
        batch.clock.forward(60)
        batch.until("done", 2)
        input.unlink()
        batch.clock.forward(60)
        assert "no such folder or file" in batch.until("failed:", 1)[0]
        # A machine that slept does not make up for what it missed.
        write_lines(input, [{"n": 3}])
        batch.clock.forward(600)
        batch.until("done", 3)
        batch.clock.forward(60)
        batch.until("done", 4)
        files = sorted(tmp_path.glob("out-*"))
        assert [len(lines_of(file)) for file in files] == [2, 2, 1, 1]
        assert all(re.fullmatch(r"out-\d{8}T\d{6}Z.jsonl", file.name) for file in files)
        assert batch.end(signal.SIGTERM) == 0


def test_a_run_that_still_goes_on_makes_the_next_one_skipped(daemon, tmp_path):
    function = daemon.deploy(BATCH, "batch-slow")
    input = write_lines(tmp_path / "in.jsonl", [{"n": 1, "do": "wait"}])
    release = lambda: function.request("POST", "/", json={"do": "release"})  # noqa: E731
    words = ["batch", function.name, "--input", input, "--schedule", "rate(1 minute)", "--output", f"sqlite:{tmp_path}/o.db"]
    with Scheduled(daemon, Clock(tmp_path), tmp_path / "log", *words) as batch:
        batch.until("waiting", 1)
        batch.clock.forward(60)
        function.wait_log("GOT 1")
        batch.clock.forward(60)
        assert "still goes on" in batch.until("skipped", 1)[0]
        release()
        batch.until("done", 1)
        batch.clock.forward(60)
        harness.wait_for(lambda: got(function).count("1") == 2, "the third time")
        batch.process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            batch.process.wait(1)
        release()
        # What is under way may end.
        assert batch.process.wait(harness.HANG_S) == 130
        assert len(batch.lines("interrupted: 1 input")) == 1
    assert len(rows_of(tmp_path / "o.db")) == 1


def test_a_schedule_with_resume_does_what_is_new(daemon, tmp_path):
    function = daemon.deploy(BATCH, "batch-new")
    input = write_lines(tmp_path / "in.jsonl", [{"n": 1}, {"n": 2, "do": "fail"}])
    words = ["batch", function.name, "--input", input, "--schedule", "rate(1 minute)", "--resume", "--output", f"sqlite:{tmp_path}/o.db"]
    with Scheduled(daemon, Clock(tmp_path), tmp_path / "log", *words) as batch:
        batch.until("waiting", 1)
        batch.clock.forward(60)
        assert "1 ok, 1 failed" in batch.until("done", 1)[0]
        write_lines(input, [{"n": 1}, {"n": 2}, {"n": 3}])
        batch.clock.forward(60)
        assert "2 ok, 0 failed; 1 were finished before" in batch.until("done", 2)[1]
        assert batch.end(signal.SIGTERM) == 0
    assert sorted(got(function)) == ["1", "2", "2", "3"]
    assert all(row[2] is None for row in rows_of(tmp_path / "o.db").values())


def test_a_schedule_is_checked_before_it_waits(daemon, web, tmp_path):
    words = ["batch", web.name, "--input", tmp_path, "--schedule"]
    for extra, expected in (
        (["rate(5 minute)", "--output", "a-{time}.jsonl"], "--schedule:"),
        (["rate(5 minutes)"], "--schedule needs --output with {time}"),
        (["rate(5 minutes)", "--output", "a.jsonl"], "--schedule needs --output with {time}"),
        (["rate(5 minutes)", "--output", "a-{time}.jsonl", "--resume"], "a file of its own"),
    ):
        done = daemon.run(*words, *extra, cwd=tmp_path)
        assert done.returncode == 1 and expected in done.stderr


def test_wrong_words_are_told(daemon, web, tmp_path):
    for words, expected in (
        (["batch", "batch-wab", "--input", tmp_path], "did you mean batch-web?"),
        (["batch", web.name, "--input", tmp_path / "none"], "no such folder or file"),
        (["batch", web.name, "--input", BATCH / "app.py"], "is neither a folder, nor a .jsonl or .csv file"),
        (["batch", web.name, "--input", tmp_path, "--id-field", "x"], "--id-field is for lines"),
    ):
        done = daemon.run(*words)
        assert done.returncode == 1
        assert expected in done.stderr
