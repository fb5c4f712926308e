"""Which animal is this? A photo comes in, its place says what lives there, the classifier says what it looks like."""

import asyncio
import json
import os
import pathlib
import time
from typing import Optional

import httpx
from fastapi import FastAPI, Query, Request
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

import geohash
import photo
import thaw_runtime

HERE = pathlib.Path(__file__).parent
LABELS = json.loads((HERE / "labels.json").read_text())  # of ImageNet's animals, by class: its first 398
CLASSES = {label: number for number, label in reversed(list(enumerate(LABELS)))}
CELL_LETTERS = 3
# What lives elsewhere is seen here too, in zoos, and by mistakes of the ranges: one time in fifty, say.
ELSEWHERE = 0.02
GRID_DEGREES = 5
CLASSIFIER = os.environ.get("CLASSIFIER", "classifier")

app = FastAPI(title="animals", version="1.0.0")
app.add_middleware(thaw_runtime.Asgi)
app.mount("/photos", StaticFiles(directory=HERE / "photos"), name="photos")
thaw = httpx.AsyncClient(base_url=os.environ["THAW_URL"], timeout=20)
grid = []


class Refused(Exception):
    def __init__(self, status, message, retry_after=None):
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


@app.exception_handler(Refused)
@app.exception_handler(photo.BadPhoto)
async def refuse(_, error):
    fields = {"Retry-After": error.retry_after} if getattr(error, "retry_after", None) else {}
    return JSONResponse({"error": str(error)}, error.status, fields)


async def ask(what, path, **options):
    """A call of Thaw. A kept connection may have ended while this function was frozen: one more try."""
    for last in (False, True):
        try:
            answer = await thaw.post(path, **options)
            break
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
            if last:
                raise Refused(502, f"{what} cannot be reached: {error!r}") from None
        except httpx.TimeoutException:
            raise Refused(504, f"{what} did not answer within {thaw.timeout.read:g} s") from None
        except httpx.ConnectError as error:
            raise Refused(502, f"{what} cannot be reached: {error}") from None
    if answer.status_code != 200:
        try:
            told = answer.json()
            told = told.get("error") or told.get("message") or told.get("detail") or told
        except ValueError:
            told = answer.text[:200]
        raise Refused(answer.status_code, f"{what}: {told}", answer.headers.get("retry-after"))
    return answer


async def features(names, cells):
    """For each cell the values of the features in their order; None where there is nothing."""
    request = {"features": [f"places:{name}" for name in names], "entities": {"geohash": cells}}
    answer = await ask("the feature store", "/get-online-features", json=request)
    told = answer.json()
    columns = dict(zip(told["metadata"]["feature_names"], told["results"]))
    stale = "stale" in answer.headers.get("thaw-features", "")
    return [[columns[name]["values"][row] for name in names] for row in range(len(cells))], stale


async def place_of(latitude, longitude):
    """The prior of each animal at the place: class -> weight."""
    began = time.perf_counter()
    cell = geohash.encode(latitude, longitude, CELL_LETTERS)
    [[animals, weights]], stale = await features(["animals", "weights"], [cell])
    prior = dict(zip(animals or [], weights or []))
    return cell, prior, stale, took(began)


async def looks_of(data, content_type):
    """What the photo looks like: class -> probability, of the animals alone."""
    began = time.perf_counter()
    # All classes, for the place may lift any.
    path = f"/fn/{CLASSIFIER}/?top_k=1000"
    answer = await ask("the classifier", path, content=data, headers={"Content-Type": content_type})
    scores = {}
    for one in answer.json():
        number = CLASSES.get(one["label"])
        # ImageNet calls two classes "crane", a bird and a machine: they count together.
        if number is not None:
            scores[number] = scores.get(number, 0.0) + one["score"]
    return scores, took(began)


def took(began):
    return round((time.perf_counter() - began) * 1e3, 2)


def ranked(looks, prior, top_k):
    """Bayes' rule: what it looks like, weighed by what lives there."""
    weighed = {number: score * prior.get(number, ELSEWHERE) for number, score in looks.items()}
    whole = sum(weighed.values()) or 1.0
    order = sorted(weighed, key=weighed.get, reverse=True)[:top_k]
    by_looks = {number: rank for rank, number in enumerate(sorted(looks, key=looks.get, reverse=True), 1)}
    return [
        {
            "animal": LABELS[number],
            "score": round(weighed[number] / whole, 4),
            "from_photo": round(looks[number], 4),
            "rank_by_photo": by_looks[number],
            "from_place": prior.get(number, ELSEWHERE),
            "lives_here": number in prior,
        }
        for number in order
    ]


async def read_body(request):
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > photo.BYTES_MAX:
            raise Refused(413, f"a photo has at most {photo.BYTES_MAX >> 20} MB")
    if not data:
        raise Refused(400, "the body is empty: POST a JPEG, PNG or WebP")
    return bytes(data)


@app.post("/identify")
async def identify(
    request: Request, lat: Optional[float] = None, lon: Optional[float] = None, top_k: int = Query(5, ge=1, le=398)
):
    """Ranks animals for the photo in the body, taken where its EXIF says, or at `lat` and `lon` in degrees."""
    began = time.perf_counter()
    data = await read_body(request)
    read_at = time.perf_counter()
    found = photo.exif_place(data)
    origin = "exif"
    if lat is not None or lon is not None:
        if lat is None or lon is None:
            raise Refused(400, "lat and lon go together")
        found, origin = photo.check_place(lat, lon, "the query"), "query"
    if found is None:
        raise Refused(400, "the photo names no place in its EXIF: give lat and lon, in degrees")
    exif_ms = took(read_at)
    content_type = request.headers.get("content-type", "application/octet-stream")
    (cell, prior, stale, features_ms), (looks, classifier_ms) = await asyncio.gather(
        place_of(*found), looks_of(data, content_type)
    )
    rank_at = time.perf_counter()
    animals = ranked(looks, prior, top_k)
    return {
        "animals": animals,
        "place": {
            "latitude": round(found[0], 6),
            "longitude": round(found[1], 6),
            "from": origin,
            "geohash": cell,
            "animals": len(prior),
            "stale": stale,
        },
        "took_ms": {
            "exif": exif_ms,
            "features": features_ms,
            "classifier": classifier_ms,
            "rank": took(rank_at),
            "total": took(began),
        },
    }


@app.get("/grid")
async def world():
    """How many animals live in each square of GRID_DEGREES: rows from north to south, columns from west to east."""
    if not grid:
        rows, columns = 180 // GRID_DEGREES, 360 // GRID_DEGREES
        middles = [
            geohash.encode(90 - (row + 0.5) * GRID_DEGREES, -180 + (column + 0.5) * GRID_DEGREES, CELL_LETTERS)
            for row in range(rows)
            for column in range(columns)
        ]
        values, _ = await features(["count"], middles)
        counts = [one[0] or 0 for one in values]
        grid.extend(counts[row * columns : (row + 1) * columns] for row in range(rows))
    return {"degrees": GRID_DEGREES, "animals": grid}


@app.get("/health")
def health():
    return {"status": "ok"}


@app.get("/")
def page():
    return FileResponse(HERE / "page.html")
