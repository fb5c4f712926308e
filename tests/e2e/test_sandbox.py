"""What a function sees of the machine: nothing that is not its own. Looked at from inside."""

import pytest

import harness


@pytest.fixture(scope="module")
def inside(shared_daemon):
    function = shared_daemon.deploy(harness.FUNCTIONS / "kit", "inside", environment__GREETING="hello")
    response = function.get("/inside")
    assert response.status_code == 200
    yield response.json()
    function.delete()


def test_it_is_an_unprivileged_user_without_capabilities(inside):
    assert inside["uid"] >= 1000 and inside["gid"] >= 1000
    assert 0 not in inside["groups"]
    assert {int(value, 16) for value in inside["capabilities"].values()} == {0}
    assert inside["no_new_privs"] == "1"
    assert inside["seccomp"] == "2"  # SECCOMP_MODE_FILTER


def test_it_is_process_2_below_the_stub_and_sees_no_other(inside):
    assert (inside["pid"], inside["parent"]) == (2, 1)
    assert set(inside["processes"]) <= {1, 2}


def test_its_root_holds_what_is_allowed_and_no_more(inside):
    assert set(inside["root"]) <= {"usr", "bin", "sbin", "lib", "lib64", "lib32", "libx32", "etc", "proc", "dev", "tmp", "var", "opt", "sys", "thaw-stub"}
    assert not {"shadow", "gshadow", "sudoers", "ssh", "machine-id"} & set(inside["etc"])
    assert inside["task"] == ["app.py", "thaw.toml"]
    assert inside["cwd"] == "/var/task"


def test_it_can_write_to_tmp_alone(inside):
    errors = inside["errors"]
    assert errors["write_tmp"] is None
    for place in ("write_task", "write_usr", "write_root", "write_etc"):
        assert "Read-only file system" in errors[place] or "Permission denied" in errors[place], place


def test_it_cannot_read_what_is_the_hosts(inside):
    for place in ("read_shadow", "list_home", "list_root_home", "list_run"):
        assert inside["errors"][place] is not None, place


def test_it_has_a_loopback_and_no_other_network(inside):
    assert inside["interfaces"] == ["lo"]
    assert inside["errors"]["connect_out"] is not None


def test_it_cannot_mount_or_make_namespaces_or_kill_the_stub(inside):
    assert inside["errors"]["mount"] == "refused"
    assert inside["errors"]["unshare"] == "refused"


def test_no_descriptor_of_the_daemon_came_along(inside):
    for target in inside["descriptors"]:
        assert not target.startswith(("/", "anon_inode")) or target.startswith(("/dev/null", "/proc", "/var/task")), target


def test_its_environment_is_the_configured_one(inside):
    environment = inside["environment"]
    assert environment["GREETING"] == "hello"
    assert environment["PORT"] == "8080"
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == "inside"
    assert environment["HOME"] == "/tmp"
    assert set(environment) <= {
        "GREETING", "PORT", "PATH", "HOME", "TMPDIR", "LANG", "PYTHONUNBUFFERED", "THAW_CPU_MILLI", "PWD", "LC_CTYPE",
        "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
    }  # fmt: skip


def test_the_daemon_survives_a_function_that_kills_all_it_can(deploy):
    function = deploy()
    inside = function.get("/inside").json()
    assert inside["pid"] == 2  # kill -9 of PID 1 is among what it tried
    assert function.get().status_code == 200


def test_tmp_is_bounded(deploy):
    function = deploy(ephemeral_mb=20, memory_mb=512)
    answer = function.get("/fill-tmp?mb=100").json()
    assert answer["error"] == "No space left on device"
    assert 15 << 20 <= answer["written"] <= 20 << 20
    assert function.get("/fill-tmp?mb=10").json() == {"written": 10 << 20, "error": None}


def test_tmp_is_each_environments_own(deploy):
    first, second = deploy(), deploy()
    assert first.get("/remember?text=a").json()["memory"] == "a"
    assert first.get("/remember?text=b").json()["memory"] == "ab"
    assert second.get("/remember?text=c").json()["memory"] == "c"


def test_processes_are_bounded_and_the_daemon_does_not_feel_it(daemon, deploy):
    function = deploy(memory_mb=1769)
    answer = function.get("/fork-bomb?count=3000").json()
    assert answer["error"] is not None
    assert answer["children"] <= 1024
    assert daemon.get("/healthz").status_code == 200


def test_the_stub_reaps_orphans(deploy):
    function = deploy()
    assert function.get("/orphans?count=10").json() == {"zombies": 0}


def test_cpu_is_in_proportion_to_memory(deploy):
    """256 MB are 14 % of a CPU: a busy loop of the wall's second gets about that."""
    function = deploy(memory_mb=256)
    function.get()
    answer = function.get("/spin?ms=2000").json()
    share = answer["cpu_s"] / answer["wall_s"]
    assert 0.05 < share < 0.25
