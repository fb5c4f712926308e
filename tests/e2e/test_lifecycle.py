"""The daemon's own life: start, stop, kill -9, restart; nothing acknowledged is lost and nothing is left behind."""

import concurrent.futures
import os
import signal
import threading
import time

import harness

KIT = harness.FUNCTIONS / "kit"


def in_background(function, path):
    pool = concurrent.futures.ThreadPoolExecutor(1)
    running = pool.submit(function.get, path)
    harness.wait_for(lambda: function.environments("busy"), "the request to run")
    pool.shutdown(wait=False)
    return running


def test_sigterm_lets_a_slow_request_finish_and_leaves_nothing(serve):
    daemon = serve()
    function = daemon.deploy(KIT, "kit")
    idle = daemon.deploy(KIT, "idle")
    function.get()
    idle.get()
    running = in_background(function, "/sleep?ms=2500")
    began = time.monotonic()
    assert daemon.stop() == 0
    assert 1 < time.monotonic() - began < 20
    assert running.result().status_code == 200
    daemon.assert_nothing_left()
    assert not (daemon.data / "control.sock").exists()


def test_sigterm_takes_no_new_connections_while_it_drains(serve):
    daemon = serve()
    function = daemon.deploy(KIT, "kit")
    function.get()
    running = in_background(function, "/sleep?ms=8000")
    daemon.process.send_signal(signal.SIGTERM)

    def refused():
        try:
            daemon.connect().close()
            return False
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            return False  # it was in the backlog of the socket that has just been closed

    harness.wait_for(refused, "new connections to be refused", 6)
    assert not running.done()
    assert running.result().status_code == 200
    assert daemon.process.wait(harness.HANG_S) == 0


def test_sigterm_cuts_off_what_outlives_the_drain(serve):
    daemon = serve(drain_s=1)
    function = daemon.deploy(KIT, "kit", timeout_s=600)
    function.get()
    in_background(function, "/sleep?ms=600000")
    began = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - began < 20
    daemon.assert_nothing_left()


def test_a_second_signal_ends_the_drain(serve):
    daemon = serve(drain_s=600)
    function = daemon.deploy(KIT, "kit", timeout_s=600)
    function.get()
    in_background(function, "/sleep?ms=600000")
    daemon.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(20) == 0
    daemon.assert_nothing_left()


def test_an_idle_daemon_stops_at_once(own_daemon):
    began = time.monotonic()
    assert own_daemon.stop() == 0
    assert time.monotonic() - began < 10
    own_daemon.assert_nothing_left()


def test_ctrl_c_stops_it_too(own_daemon):
    own_daemon.process.send_signal(signal.SIGINT)
    assert own_daemon.process.wait(harness.HANG_S) == 0
    own_daemon.assert_nothing_left()


def test_a_restart_serves_the_same_functions(serve):
    daemon = serve()
    daemon.deploy(KIT, "kit", environment__VERSION="7")
    assert daemon.stop() == 0
    daemon.start()
    assert daemon.functions_at_start == 1
    assert harness.Function(daemon, "kit").get().json()["version"] == "7"


def test_kill_9_under_load_leaves_nothing_and_the_next_start_serves_the_same(serve):
    daemon = serve()
    function = daemon.deploy(KIT, "kit", environment__VERSION="7", concurrency=4)
    function.get("/fork?count=3")
    going = True

    def client():
        while going:
            try:
                function.get("/sleep?ms=20")
            except Exception:
                return  # the daemon dies under it

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in clients:
        thread.start()
    time.sleep(0.5)
    assert function.processes()
    daemon.kill()
    going = False
    for thread in clients:
        thread.join()
    daemon.assert_nothing_left()
    daemon.start()
    assert function.get().json()["version"] == "7"
    assert daemon.stop() == 0
    daemon.assert_nothing_left()


def test_kill_9_with_frozen_environments_leaves_nothing(serve):
    daemon = serve()
    function = daemon.deploy(KIT, "kit")
    function.get()
    harness.wait_for(lambda: function.environments("frozen"), "the environment to be frozen")
    daemon.kill()
    daemon.assert_nothing_left()


def test_kill_9_of_every_process_at_once_is_cleared_by_the_next_start(serve):
    """As the kernel's own killer, or a container that is stopped hard, would do."""
    daemon = serve()
    function = daemon.deploy(KIT, "kit")
    function.get()
    harness.wait_for(lambda: function.environments("frozen"), "the environment to be frozen")
    for pid in [*daemon.spawner_processes(), daemon.process.pid]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    daemon.process.wait(harness.HANG_S)
    daemon.start()
    groups = [pid for pid in daemon.group_processes() if harness.function_of(pid)]
    assert groups == []
    assert function.get().status_code == 200
    assert daemon.stop() == 0
    daemon.assert_nothing_left()


def test_kill_9_of_the_spawner_ends_the_daemon_with_an_error_and_leaves_nothing(serve):
    daemon = serve()
    function = daemon.deploy(KIT, "kit")
    function.get()
    for pid in daemon.spawner_processes():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    assert daemon.process.wait(harness.HANG_S) != 0
    assert "spawner" in daemon.log()
    daemon.start()
    assert function.get().status_code == 200
    assert daemon.stop() == 0
    daemon.assert_nothing_left()


def test_what_a_deploy_acknowledged_survives_kill_9_in_the_next_instant(serve):
    daemon = serve()
    for number in range(5):
        daemon.deploy(KIT, f"kit-{number}", environment__VERSION=str(number))
        daemon.kill()
        daemon.start()
        assert daemon.functions_at_start == number + 1
    assert harness.Function(daemon, "kit-4").get().json()["version"] == "4"


def test_kill_9_in_the_middle_of_deploys_leaves_each_function_old_or_new(serve):
    daemon = serve()
    function = daemon.deploy(KIT, "kit", environment__VERSION="0")
    for _ in range(3):
        deploying = threading.Thread(
            target=lambda: [daemon.run("deploy", KIT, "--name", "kit", "--env", f"VERSION={version}") for version in range(1, 20)]
        )
        deploying.start()
        time.sleep(0.3)
        daemon.kill()
        deploying.join()
        daemon.start()
        response = function.get()
        assert response.status_code == 200
        assert response.json()["version"] in {str(version) for version in range(20)}
    harness.wait_for(lambda: not list((daemon.data / "uploads").iterdir()), "uploads to be cleared", 15)
    assert not list((daemon.data / "staging").iterdir())


def test_a_second_daemon_on_the_same_folder_is_refused(own_daemon):
    done = own_daemon.run("serve", "--listen", "127.0.0.1:0", "--data", own_daemon.data)
    assert done.returncode == 1
    assert f"another `thaw serve` runs on {own_daemon.data}" in done.stderr
    assert own_daemon.get("/healthz").status_code == 200


def test_a_port_that_is_taken_is_said(own_daemon, tmp_path):
    done = own_daemon.run("serve", "--listen", f"127.0.0.1:{own_daemon.port}", "--data", tmp_path / "other")
    assert done.returncode == 1
    assert str(own_daemon.port) in done.stderr
    assert own_daemon.get("/healthz").status_code == 200


def test_two_daemons_side_by_side_do_not_touch_each_other(serve):
    first, second = serve(), serve()
    one, two = first.deploy(KIT, "kit"), second.deploy(KIT, "kit")
    one.get(), two.get()
    assert first.stop() == 0
    first.assert_nothing_left()
    assert two.processes()
    assert two.get().status_code == 200


def test_the_half_that_reads_requests_is_not_root(own_daemon):
    status = harness.read(f"/proc/{own_daemon.process.pid}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in fields["Uid"].split() + fields["Gid"].split()
    assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0
    assert fields["NoNewPrivs"] == "1"


def test_a_data_folder_that_nobody_else_may_enter_works(serve, tmp_path):
    """A clone in /root: the unprivileged half could not reach it by its path."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    daemon = serve(data=closed / "data")
    function = daemon.deploy(KIT, "kit")
    assert function.get().status_code == 200
    assert daemon.stop() == 0
    daemon.assert_nothing_left()


def test_a_folder_that_holds_something_else_is_not_taken_over(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    owner = tmp_path.stat().st_uid, (tmp_path / "precious.txt").stat().st_uid
    nobody = harness.Daemon(tmp_path)
    done = nobody.run("serve", "--data", tmp_path, "--listen", "127.0.0.1:0")
    nobody.close()
    assert done.returncode == 1
    assert "is not empty and is no data folder of Thaw" in done.stderr
    assert owner == (tmp_path.stat().st_uid, (tmp_path / "precious.txt").stat().st_uid)
