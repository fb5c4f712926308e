#!/usr/bin/env python3
"""Makes the photos of this folder from those that other projects ship; README.md names the sources and licences.

    make_photos.py --scikit-image SDIST.tar.gz --scipy WHEEL.whl --gcompris FOLDER

SDIST      scikit-image 0.19.3's source distribution
WHEEL      a wheel of scipy 1.9.3
FOLDER     what Debian's gcompris-qt-data holds in usr/share/gcompris-qt/rcc

The coordinates and times are made up: no photo was taken where it says.
"""

import argparse
import bz2
import io
import pathlib
import struct
import tarfile
import zipfile
import zlib

from PIL import Image, TiffImagePlugin

HERE = pathlib.Path(__file__).parent
ORIENTATION, EXIF_IFD, GPS_IFD, TAKEN = 0x0112, 0x8769, 0x8825, 0x9003


def rationals(degrees):
    """Degrees, minutes and hundredths of seconds, as EXIF writes an angle."""
    hundredths = round(abs(degrees) * 360000)
    parts = (hundredths // 360000, 1), (hundredths // 6000 % 60, 1), (hundredths % 6000, 100)
    return tuple(TiffImagePlugin.IFDRational(*part) for part in parts)


def exif(latitude, longitude, taken, orientation=1):
    out = Image.Exif()
    out[ORIENTATION] = orientation
    out[EXIF_IFD] = {TAKEN: taken}
    out[GPS_IFD] = {
        1: "N" if latitude >= 0 else "S", 2: rationals(latitude), 3: "E" if longitude >= 0 else "W", 4: rationals(longitude),
    }  # fmt: skip
    return out


def resource(path, wanted):
    """The first file of that name in a Qt resource file (https://doc.qt.io/qt-6/resources.html), by its own format."""
    data = path.read_bytes()
    magic, version, tree, contents, names = struct.unpack(">4sIIII", data[:20])
    if magic != b"qres":
        raise SystemExit(f"{path} is no Qt resource file")
    step = 14 if version < 2 else 22
    for at in range(tree, len(data) - step, step):
        name_at, flags = struct.unpack(">IH", data[at : at + 6])
        name_at += names
        if flags & 2 or name_at + 6 > len(data):
            continue
        (length,) = struct.unpack(">H", data[name_at : name_at + 2])
        if data[name_at + 6 : name_at + 6 + 2 * length] != wanted.encode("utf-16-be"):
            continue
        start = contents + struct.unpack(">I", data[at + 10 : at + 14])[0]
        (size,) = struct.unpack(">I", data[start : start + 4])
        bytes_ = data[start + 4 : start + 4 + size]
        return Image.open(io.BytesIO(zlib.decompress(bytes_[4:]) if flags & 1 else bytes_)).convert("RGB")
    raise SystemExit(f"{path} has no {wanted}")


def fitted(image, longest):
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return image


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--scikit-image", "--scipy", "--gcompris"):
        parser.add_argument(name, type=pathlib.Path, required=True)
    options = parser.parse_args()
    with tarfile.open(options.scikit_image) as archive:
        member = next(member for member in archive.getmembers() if member.name.endswith("skimage/data/chelsea.png"))
        cat = Image.open(io.BytesIO(archive.extractfile(member).read())).convert("RGB")
    with zipfile.ZipFile(options.scipy) as archive:
        raccoon = Image.frombytes("RGB", (1024, 768), bz2.decompress(archive.read("scipy/misc/face.dat")))
    panda = fitted(resource(options.gcompris / "explore_world_animals.rcc", "panda.webp"), 640)
    crocodile = fitted(resource(options.gcompris / "explore_world_animals.rcc", "crocodile.webp"), 640)
    goldfish = resource(options.gcompris / "categorization.rcc", "fish25.webp")

    cat.save(HERE / "cat.jpg", quality=88, exif=exif(-33.9249, 18.4241, "2026:03:14 16:20:05"))
    # As a camera that is held upright stores it: turned, with the orientation in EXIF.
    sideways = cat.transpose(Image.Transpose.ROTATE_90)
    sideways.save(HERE / "cat-sideways.jpg", quality=88, exif=exif(48.8584, 2.2945, "2026:04:02 09:15:00", 6))
    crocodile.save(HERE / "crocodile.jpg", quality=85, exif=exif(12.4244, 76.6567, "2026:01:25 07:41:33"))
    panda.save(HERE / "panda.jpg", quality=85, exif=exif(31.0362, 103.1986, "2026:05:09 11:02:48"))
    goldfish.save(HERE / "goldfish.webp", quality=85)
    fitted(raccoon, 320).save(HERE / "raccoon.png", optimize=True)


if __name__ == "__main__":
    main()
