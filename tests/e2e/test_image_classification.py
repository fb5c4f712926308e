"""The image classifier that ships, deployed as a bare folder and sent photos over HTTP."""

import base64
import io

import pytest

import browser
import harness

MODEL = harness.SOURCE / "models" / "animals"
PHOTOS = harness.SOURCE / "examples" / "animals" / "photos"
ENGINE = harness.BINARIES.parent / "engines" / "thaw-onnx"

pytestmark = pytest.mark.skipif(not ENGINE.exists(), reason="the engine thaw-onnx is not there")


def photo(name):
    return (PHOTOS / name).read_bytes()


def send(function, body, content_type="application/octet-stream", **options):
    return function.request("POST", "/", data=body, headers={"Content-Type": content_type}, **options)


@pytest.fixture(scope="module")
def deployed(shared_daemon):
    function = shared_daemon.deploy(MODEL, "animals")
    yield function
    function.delete()


@pytest.fixture
def animals(daemon, deployed):
    return deployed


@pytest.mark.parametrize(
    "name, content_type, animal",
    [
        ("cat.jpg", "image/jpeg", "cat"),
        ("cat-sideways.jpg", "image/jpeg", "cat"),
        ("crocodile.jpg", "image/jpeg", "crocodile"),
        ("panda.jpg", "application/octet-stream", "giant panda"),
        ("goldfish.webp", "image/webp", "goldfish"),
    ],
)
def test_photos_are_named(animals, name, content_type, animal):
    labels = send(animals, photo(name), content_type).json()
    assert len(labels) == 5
    assert animal in labels[0]["label"]
    assert labels == sorted(labels, key=lambda label: -label["score"])


def test_png_and_a_photo_of_no_known_animal(animals):
    labels = send(animals, photo("raccoon.png"), "image/png").json()
    assert labels[0]["score"] < 0.5


def test_json_answers_as_bytes_do(animals):
    expected = send(animals, photo("cat.jpg")).json()
    text = base64.b64encode(photo("cat.jpg")).decode()
    assert animals.request("POST", "/", json={"inputs": text}).json() == expected
    url = f"data:image/jpeg;base64,{text}"
    assert animals.request("POST", "/", json={"inputs": url, "parameters": {"top_k": 2}}).json() == expected[:2]


def test_parameters(animals):
    best = send(animals, photo("panda.jpg"), params={"top_k": 1}).json()
    assert len(best) == 1 and 0 < best[0]["score"] <= 1
    logits = send(animals, photo("panda.jpg"), params={"function_to_apply": "none"}).json()
    assert logits[0]["score"] > 1


def test_hello_and_openapi(animals):
    assert animals.get("/").json()["task"] == "image-classification"
    assert "post" in animals.get("/openapi.json").json()["paths"]["/"]


@pytest.mark.parametrize(
    "body, content_type, status, words",
    [
        (b"", "image/jpeg", 400, "empty"),
        (b"<html></html>", "image/jpeg", 400, "neither JPEG nor PNG nor WebP"),
        (b"GIF89a" + b"\0" * 100, "application/octet-stream", 400, "neither"),
        ("cut", "image/jpeg", 400, "cut short"),
        (b"x" * 20_000_001, "application/octet-stream", 413, "20000000"),
        (b"{}", "application/json", 400, "inputs: is missing"),
        (b'{"inputs": "!"}', "application/json", 400, "inputs: is no base64"),
        (b"x", "text/html", 415, "text/html"),
    ],
    ids=["empty", "html", "gif", "cut", "large", "no-inputs", "no-base64", "type"],
)
def test_bad_bodies_are_4xx_and_named(animals, body, content_type, status, words):
    if body == "cut":
        body = photo("cat.jpg")[:10_000]
    response = send(animals, body, content_type)
    assert response.status_code == status, response.text
    assert words in response.json()["message"]
    assert send(animals, photo("goldfish.webp")).status_code == 200


def test_the_task_is_known_from_the_files(daemon, animals):
    configuration = daemon.get("/2015-03-31/functions/animals").json()["Configuration"]
    assert configuration["Thaw"]["Task"] == "image-classification"
    shown = daemon.run("deploy", MODEL, "--name", "animals")
    assert "curl --data-binary @photo.jpg" in shown.stdout, shown.stdout + shown.stderr


def test_the_largest_photos_fit_into_the_default_memory(animals):
    """50 megapixels, as a baseline JPEG that is turned upright: the pixels twice."""
    Image = pytest.importorskip("PIL.Image")

    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", (10_000, 5_000), (120, 90, 60)).save(file, "JPEG", exif=exif)
    assert send(animals, file.getvalue()).status_code == 200
    file = io.BytesIO()
    Image.new("RGB", (10_000, 5_001)).save(file, "PNG")
    response = send(animals, file.getvalue())
    assert response.status_code == 413 and "50000000 pixels" in response.json()["message"]


@browser.NEEDED
def test_its_docs_show_the_operations_in_a_browser(animals):
    document = browser.page(f"{animals.daemon.url}/fn/animals/docs", until='class="opblock ')
    assert document.count('class="opblock ') >= 3


def test_bad_parameters_methods_and_paths(animals):
    response = send(animals, photo("cat.jpg"), params={"top_k": 0})
    assert response.status_code == 400 and response.json()["field"] == "top_k"
    assert animals.request("DELETE", "/").status_code == 405
    assert animals.request("POST", "/question").status_code == 404


def test_a_published_version_starts_from_its_snapshot(daemon):
    function = daemon.deploy(MODEL, "animals-frozen", snapshot="true", idle_s=1)
    try:
        published = daemon.request("POST", "/2015-03-31/functions/animals-frozen/versions").json()["Version"]
        address = f"/2015-03-31/functions/animals-frozen?Qualifier={published}"

        def made():
            configuration = daemon.get(address).json()["Configuration"]
            return configuration if configuration["State"] != "Pending" else None

        configuration = harness.wait_for(made, "the version to be made")
        assert configuration["State"] == "Active", configuration
        assert configuration["SnapStart"]["OptimizationStatus"] == "On", configuration
        for _ in range(2):
            labels = daemon.request("POST", f"/fn/animals-frozen:{published}/", data=photo("panda.jpg")).json()
            assert "giant panda" in labels[0]["label"]
            harness.wait_for(lambda: not function.processes(), "its processes to be gone", 20)
    finally:
        function.delete()
