"""Schedules of event functions: in thaw.toml, by the command and the API; what fires, and how often."""

import json
import re
import time

import harness
import pytest

EVENTS = harness.FUNCTIONS / "events"
APP = """
import json
def handler(event, context):
    print("EVENT", json.dumps(event), flush=True)
"""


@pytest.fixture
def package(tmp_path):
    """A function that prints its events; its thaw.toml has what the test adds."""

    def make(manifest=""):
        folder = tmp_path / "package"
        folder.mkdir(exist_ok=True)
        (folder / "app.py").write_text(APP)
        (folder / "thaw.toml").write_text('runtime = "python3.11"\nhandler = "app.handler"\n' + manifest)
        return folder

    return make


def seen(function):
    return [json.loads(text) for text in re.findall(r"EVENT (.*)", function.log())]


def schedules(daemon, name=""):
    return {one["Name"]: one for one in daemon.json("schedule", "list", *([name] if name else []))["Schedules"]}


def put(daemon, name, schedule, **body):
    return daemon.request("PUT", f"/thaw/v1/schedules/{name}/{schedule}", json=body)


def edit(daemon, change):
    """Of the stopped daemon's schedules."""
    path = daemon.data / "schedules.json"
    stored = json.loads(path.read_text())
    for one in stored["schedules"]:
        change(one)
    path.write_text(json.dumps(stored))


def test_the_command_adds_lists_and_removes(daemon, package):
    daemon.deploy(package(), "by-command")
    done = daemon.run("schedule", "add", "by-command", "nightly", "cron(0 3 * * ? *)", "--input", '{"n": 1}')
    assert done.returncode == 0 and re.search(r"fires next at \d{4}-\d\d-\d\d 03:00:00 UTC", done.stdout), done.stderr
    one = schedules(daemon, "by-command")["nightly"]
    assert (one["Expression"], one["Input"], one["Source"]) == ("cron(0 3 * * ? *)", '{"n": 1}', "api")
    assert one["Next"] % 86400 == 3 * 3600 and "LastFired" not in one
    assert "nightly" in daemon.run("schedule", "list").stdout
    assert daemon.run("schedule", "add", "by-command", "nightly", "rate(2 days)", "--disabled").returncode == 0
    one = schedules(daemon, "by-command")["nightly"]
    assert not one["Enabled"] and "Next" not in one
    assert daemon.run("schedule", "remove", "by-command", "nightly").returncode == 0
    assert schedules(daemon, "by-command") == {}
    done = daemon.run("schedule", "remove", "by-command", "nightly")
    assert done.returncode == 1 and "no schedule nightly" in done.stderr


def test_bad_schedules_are_refused_by_name(daemon, package):
    daemon.deploy(package(), "refuses")
    daemon.deploy(harness.FUNCTIONS / "kit", "refuses-web")
    for name, schedule, body, status, words in [
        ("refuses", "a", {}, 400, "Expression is missing"),
        ("refuses", "a", {"Expression": "rate(5 minute)"}, 400, "minutes"),
        ("refuses", "a", {"Expression": "cron(0 0 * * * *)"}, 400, "must be ?"),
        ("refuses", "a", {"Expression": "rate(1 day)", "Input": "{"}, 400, "must be JSON"),
        ("refuses", "a", {"Expression": "rate(1 day)", "Cron": 1}, 400, "Cron is not possible"),
        ("refuses", "a", {"Expression": "rate(1 day)", "Enabled": "yes"}, 400, "Enabled"),
        ("refuses", "a%20b", {"Expression": "rate(1 day)"}, 400, "letters"),
        ("refuses", "a", {"Expression": "rate(1 day)", "Qualifier": "live"}, 404, "no version or alias"),
        ("refuses-not", "a", {"Expression": "rate(1 day)"}, 404, "no function"),
        ("refuses-web", "a", {"Expression": "rate(1 day)"}, 400, "web function"),
    ]:
        answer = put(daemon, name, schedule, **body)
        assert answer.status_code == status and words in answer.json()["Message"], (body, answer.text)
    assert daemon.request("POST", "/thaw/v1/schedules").status_code == 400
    assert daemon.request("GET", "/thaw/v1/schedules/refuses").status_code == 404


def test_a_schedule_of_the_manifest_goes_with_it(daemon, package):
    manifest = '[[schedules]]\nname = "hourly"\nschedule = "rate(1 hour)"\n'
    function = daemon.deploy(package(manifest), "by-manifest")
    one = schedules(daemon, "by-manifest")["hourly"]
    assert one["Source"] == "manifest" and 3500 < one["Next"] - time.time() <= 3601
    answer = put(daemon, "by-manifest", "hourly", Expression="rate(1 day)")
    assert answer.status_code == 409 and "thaw.toml" in answer.json()["Message"]
    assert daemon.request("DELETE", "/thaw/v1/schedules/by-manifest/hourly").status_code == 409
    done = daemon.run("deploy", package('[[schedules]]\nname = "x"\nschedule = "cron(9)"\n'), "--name", "by-manifest")
    assert done.returncode == 1 and "schedules[0]: a cron expression has 6 fields" in done.stderr
    daemon.deploy(package(), "by-manifest")
    assert schedules(daemon, "by-manifest") == {}
    daemon.deploy(package(manifest), "by-manifest")
    put(daemon, "by-manifest", "added", Expression="rate(1 day)")
    assert set(schedules(daemon, "by-manifest")) == {"added", "hourly"}
    assert function.delete().status_code == 204
    assert schedules(daemon, "by-manifest") == {}


def test_a_schedule_fires_with_eventbridges_event(serve, package):
    daemon = serve()
    manifest = '[[schedules]]\nname = "often"\nschedule = "rate(1 minute)"\n'
    function = daemon.deploy(package(manifest), "fires")
    schedules(daemon)
    # Begun so long ago that its minute is over in two seconds.
    harness.wait_for(lambda: (daemon.data / "schedules.json").exists(), "the schedule to be stored")
    assert daemon.stop() == 0
    begun = int(time.time()) - 58
    edit(daemon, lambda one: one.update(began=begun, fired=0))
    daemon.start()
    event = harness.wait_for(lambda: seen(function), "the schedule to fire")[0]
    assert event.pop("id") in function.log().replace(json.dumps(event), "")
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begun + 60))
    assert event == {
        "version": "0",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": at,
        "region": "us-east-1",
        "resources": ["arn:aws:events:us-east-1:000000000000:rule/often"],
        "detail": {},
    }
    assert schedules(daemon)["often"]["LastFired"] == begun + 60


def test_times_that_were_missed_are_made_up_for_once(serve, package):
    daemon = serve()
    function = daemon.deploy(package(), "missed")
    for name in ("one", "off"):
        assert put(daemon, "missed", name, Expression="rate(1 hour)", Input=json.dumps({"n": name})).status_code == 200
    assert put(daemon, "missed", "off", Expression="rate(1 hour)", Enabled=False).status_code == 200
    assert daemon.stop() == 0
    begun = int(time.time()) - 5 * 3600 - 60
    edit(daemon, lambda one: one.update(began=begun))
    daemon.start()
    assert harness.wait_for(lambda: seen(function), "the missed time to be made up for") == [{"n": "one"}]
    # It is on the disk: a kill right now does not fire it again.
    daemon.kill()
    daemon.start()
    harness.wait_for(lambda: daemon.status()["Events"]["Waiting"] == daemon.status()["Events"]["Running"] == 0, "quiet")
    assert daemon.log().count("schedule_fired function=missed schedule=one") == 1
    assert "schedule=off" not in daemon.log()
    one = schedules(daemon)["one"]
    assert (one["LastFired"], one["Next"]) == (begun + 5 * 3600, begun + 6 * 3600)


def test_a_damaged_file_is_named(serve):
    daemon = serve()
    assert daemon.stop() == 0
    (daemon.data / "schedules.json").write_text("{")
    with pytest.raises(AssertionError, match="schedules.json is damaged"):
        daemon.start()
