"""The animal-photo service: a photo's place, what lives there from the feature store, what it looks like, together."""

import concurrent.futures
import io
import pathlib
import sys

import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

import browser
import harness

ROOT = pathlib.Path(__file__).parents[2]
ANIMALS = ROOT / "examples" / "animals"
PHOTOS = ANIMALS / "photos"
PLACES = {"panda": (31.0362, 103.1986), "paris": (48.8584, 2.2945), "sydney": (-33.9, 151.2)}
sys.path.insert(0, str(ANIMALS))
import geohash  # noqa: E402
import make_places  # noqa: E402


def load_places(daemon):
    """As the example's README says it, for a few places."""
    folder = daemon.data / "features" / "offline"
    folder.mkdir(parents=True, exist_ok=True)
    make_places.write(folder / "places.csv", [(geohash.encode(*place, 3), *place) for place in PLACES.values()])
    for words in (["apply", ANIMALS / "features.toml"], ["materialize", "places"]):
        done = daemon.run("features", *words)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def animals(shared_daemon):
    load_places(shared_daemon)
    shared_daemon.deploy(ROOT / "models" / "animals", "animals_classifier", memory_mb=1024)
    return shared_daemon.deploy(ANIMALS, "animals_app", environment__CLASSIFIER="animals_classifier")


def identify(function, photo, query="", **options):
    data = photo if isinstance(photo, bytes) else (PHOTOS / photo).read_bytes()
    return function.request("POST", "/identify" + query, data=data, **options)


def with_gps(latitude=None, longitude=None, north="N", east="E"):
    """A JPEG whose EXIF names a place, in degrees, minutes and seconds as given."""
    image = Image.new("RGB", (64, 48), (90, 120, 60))
    exif = image.getexif()
    exif[0x8825] = {1: north, 2: latitude, 3: east, 4: longitude}
    out = io.BytesIO()
    image.save(out, "JPEG", exif=exif)
    return out.getvalue()


def test_the_place_of_the_photo_and_its_looks_make_the_answer(animals):
    answer = identify(animals, "panda.jpg")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    first = told["animals"][0]
    assert first["animal"].startswith("giant panda") and first["lives_here"] and first["rank_by_photo"] == 1, told
    assert told["place"]["geohash"] == geohash.encode(*PLACES["panda"], 3)
    assert told["place"]["from"] == "exif" and told["place"]["animals"] > 50 and not told["place"]["stale"]
    assert set(told["took_ms"]) == {"exif", "features", "classifier", "rank", "total"}
    assert all(ms >= 0 for ms in told["took_ms"].values())
    assert len(told["animals"]) == 5 and abs(sum(one["from_photo"] for one in told["animals"])) <= 1.001


def test_where_an_animal_does_not_live_it_is_less_likely(animals):
    at_home = identify(animals, "panda.jpg", "?top_k=398").json()
    abroad = identify(animals, "panda.jpg", "?top_k=398&lat=-33.9&lon=151.2").json()
    assert abroad["place"]["from"] == "query" and abroad["place"]["geohash"] == geohash.encode(-33.9, 151.2, 3)

    def panda(told):
        return next(one for one in told["animals"] if one["animal"].startswith("giant panda"))

    assert panda(at_home)["from_photo"] == panda(abroad)["from_photo"]
    assert panda(at_home)["from_place"] == 1.0 and panda(abroad)["from_place"] < 0.1
    assert panda(abroad)["score"] < panda(at_home)["score"]
    for told in (at_home, abroad):
        assert len(told["animals"]) == 398 and sum(one["score"] for one in told["animals"]) == pytest.approx(1, abs=0.02)


def test_a_place_that_the_store_does_not_know_leaves_the_photo_alone(animals):
    told = identify(animals, "cat.jpg", "?lat=0&lon=-150").json()
    assert told["place"]["animals"] == 0
    assert [one["rank_by_photo"] for one in told["animals"]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("photo", ["cat.jpg", "raccoon.png", "goldfish.webp"])
def test_all_three_kinds_of_photos_are_taken(animals, photo):
    answer = identify(animals, photo, "?lat=48.8584&lon=2.2945")
    assert answer.status_code == 200 and len(answer.json()["animals"]) == 5, answer.text


BAD_PLACES = {
    "latitude-of-200": (with_gps((200.0, 0.0, 0.0), (3.0, 0.0, 0.0)), "200"),
    "zero-denominator": (with_gps((IFDRational(1, 0), 0.0, 0.0), (3.0, 0.0, 0.0)), "GPSLatitude"),
    "minutes-of-infinity": (with_gps((1.0, 0.0, 0.0), (3.0, IFDRational(5, 0), 0.0)), "GPSLongitude"),
    "no-such-hemisphere": (with_gps((1.0, 0.0, 0.0), (3.0, 0.0, 0.0), north="Q"), "reference"),
    "two-numbers": (with_gps((1.0, 2.0), (3.0, 0.0, 0.0)), "GPSLatitude"),
    "no-place": ((PHOTOS / "raccoon.png").read_bytes(), "lat and lon"),
}


@pytest.mark.parametrize("photo, named", BAD_PLACES.values(), ids=BAD_PLACES.keys())
def test_an_absurd_place_is_refused(animals, photo, named):
    answer = identify(animals, photo)
    assert answer.status_code == 400 and named in answer.json()["error"], answer.text


@pytest.mark.parametrize("query", ["?lat=1", "?lon=1", "?lat=91&lon=0", "?lat=0&lon=-181", "?lat=nan&lon=0", "?lat=1e999&lon=0"])
def test_a_place_in_the_query_is_checked(animals, query):
    answer = identify(animals, "cat.jpg", query)
    assert answer.status_code == 400 and answer.json()["error"], answer.text


def bomb():
    """A PNG of few bytes that claims, and has, 400 megapixels."""
    out = io.BytesIO()
    Image.new("1", (20000, 20000)).save(out, "PNG")
    return out.getvalue()


def test_what_is_no_photo_is_refused(animals):
    place = "?lat=48.8&lon=2.3"
    cat = (PHOTOS / "cat.jpg").read_bytes()
    for data, status in ((b"", 400), (b"GIF89a" + bytes(100), 415), (b"\xff\xd8\xff\xe0 no more", 400), (bomb(), 413)):
        answer = identify(animals, data, place)
        assert answer.status_code == status and answer.json()["error"], (status, answer.text)
    cut = identify(animals, cat[: len(cat) // 2], place)
    assert cut.status_code in (400, 415, 422) and "classifier" in cut.json()["error"], cut.text
    large = identify(animals, cat + bytes(21 << 20), place)
    assert large.status_code == 413 and "20 MB" in large.json()["error"], large.text
    assert identify(animals, "cat.jpg", place).status_code == 200


def test_a_classifier_that_is_not_there_is_named(animals, shared_daemon):
    lost = shared_daemon.deploy(ANIMALS, "animals_lost", environment__CLASSIFIER="nobody_here")
    answer = identify(lost, "panda.jpg")
    assert answer.status_code == 404 and "the classifier" in answer.json()["error"], answer.text


def test_a_published_version_is_restored_and_calls_again(animals, shared_daemon):
    assert shared_daemon.run("publish", "animals_app").returncode == 0
    for _ in range(2):
        answer = shared_daemon.request("POST", "/fn/animals_app:1/identify", data=(PHOTOS / "panda.jpg").read_bytes())
        assert answer.status_code == 200, answer.text
        assert answer.json()["animals"][0]["animal"].startswith("giant panda")
    assert "function=animals_app version=1" in shared_daemon.log()


def test_a_spike_from_zero_fails_none(serve):
    daemon = serve()
    load_places(daemon)
    daemon.deploy(ROOT / "models" / "animals", "classifier")
    daemon.deploy(ANIMALS, "animals")
    for name in ("classifier", "animals"):
        assert daemon.run("publish", name).returncode == 0
    panda = (PHOTOS / "panda.jpg").read_bytes()

    def ask(_):
        return harness.requests.post(f"{daemon.url}/fn/animals:1/identify", data=panda, timeout=harness.HANG_S)

    with concurrent.futures.ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(ask, range(200)))
    assert [one.status_code for one in answers] == [200] * 200, next(one.text for one in answers if one.status_code != 200)
    assert all(one.json()["animals"][0]["animal"].startswith("giant panda") for one in answers)


@browser.NEEDED
def test_the_page_shows_what_a_sample_is(animals, shared_daemon):
    dom = browser.page(f"http://animals_app.localhost:{shared_daemon.port}/#panda.jpg", "giant panda")
    assert "giant panda" in dom and "(exif), cell" in dom and "Milliseconds:" in dom, dom[-3000:]
    grid = animals.get("/grid").json()
    assert len(grid["animals"]) == 180 // grid["degrees"] and len(grid["animals"][0]) == 360 // grid["degrees"]
