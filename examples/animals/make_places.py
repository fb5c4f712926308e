#!/usr/bin/env python3
"""Writes places.csv: for each geohash cell of three letters on land, and near it, the animals that may live there.

The ranges (ranges.csv) are rough: each animal has regions, and a region is a few boxes of whole degrees. Animals of the
group "people" live wherever people do, "land" wherever there is land, "seas" wherever there is none.
"""

import argparse
import csv
import json
import pathlib

import geohash

HERE = pathlib.Path(__file__).parent
# Boxes of degrees: south, north, west, east.
REGIONS = {
    "arctic": [(60, 83, -170, -15), (66, 82, 15, 180)],
    "antarctic": [(-85, -55, -180, 180), (-55, -45, 35, 75)],
    "west_north_america": [(24, 62, -135, -100), (30, 49, -125, -95)],
    "east_north_america": [(25, 62, -100, -52)],
    "central_america": [(7, 25, -115, -60)],
    "amazonia": [(-20, 12, -81, -35)],
    "south_south_america": [(-55, -20, -75, -40)],
    "europe": [(36, 71, -10, 40), (62, 67, -25, -13)],
    "mediterranean": [(30, 46, -10, 37)],
    "north_asia": [(45, 72, 40, 180)],
    "high_asia": [(27, 45, 68, 104)],
    "east_asia": [(20, 46, 100, 146)],
    "india": [(6, 33, 67, 92)],
    "southeast_asia": [(-11, 25, 92, 141)],
    "middle_east": [(12, 40, 33, 67)],
    "north_africa": [(15, 35, -17, 37)],
    "africa": [(-35, 16, -17, 52)],
    "madagascar": [(-26, -12, 43, 51)],
    "australia": [(-44, -10, 113, 154)],
    "new_zealand": [(-48, -34, 166, 179)],
}
PEOPLE = 0.5


def within(boxes, latitude, longitude):
    return any(s <= latitude <= n and w <= longitude <= e for s, n, w, e in boxes)


def animals():
    """(class, regions) of all that ranges.csv names."""
    with open(HERE / "ranges.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            first, _, last = row["index"].partition("-")
            for number in range(int(first), int(last or first) + 1):
                yield number, row["regions"].split()


def cells():
    """Every cell of three letters with the place in its middle: 256 by 128 of them."""
    for row in range(128):
        for column in range(256):
            latitude = -90 + (row + 0.5) * 180 / 128
            longitude = -180 + (column + 0.5) * 360 / 256
            yield geohash.encode(latitude, longitude, 3), latitude, longitude


def rows(ranges, places):
    """For each (cell, latitude, longitude) the row of places.csv, its lists as lists."""
    for cell, latitude, longitude in places:
        here = {name for name, boxes in REGIONS.items() if within(boxes, latitude, longitude)}
        here |= {"seas", "land"} if here else {"seas"}
        if here & set(REGIONS) - {"arctic", "antarctic"}:
            here.add("people")
        found = [(number, PEOPLE if "people" in regions else 1.0) for number, regions in ranges if here & set(regions)]
        yield cell, [one[0] for one in found], [one[1] for one in found], len(found), "2026-01-01T00:00:00Z"


def write(output, places):
    """The rows of the places as CSV; how many there are."""
    count = 0
    with open(output, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["geohash", "animals", "weights", "count", "event_timestamp"])
        for cell, classes, weights, kinds, when in rows(list(animals()), places):
            writer.writerow([cell, json.dumps(classes), json.dumps(weights), kinds, when])
            count += 1
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=pathlib.Path, help="features/offline/places.csv below the daemon's data folder")
    output = parser.parse_args().output
    output.parent.mkdir(parents=True, exist_ok=True)
    print(f"{output}: {write(output, cells())} cells")


if __name__ == "__main__":
    main()
