"""Where a photo was taken: the GPS tags of its EXIF, as "Exif 2.32", section 4.6.6, has them. No pixel is decoded."""

import io
import math
import warnings

from PIL import Image, UnidentifiedImageError

BYTES_MAX = 20 << 20
FORMATS = ("JPEG", "PNG", "WEBP")
GPS_IFD = 0x8825
LATITUDE_REF, LATITUDE, LONGITUDE_REF, LONGITUDE = 1, 2, 3, 4
Image.MAX_IMAGE_PIXELS = 50_000_000


class BadPhoto(Exception):
    """What is wrong with a photo, and the HTTP status that says so."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def check_place(latitude, longitude, origin):
    """The two as floats in degrees. Raises BadPhoto for what is no place on earth."""
    for name, value, most in (("latitude", latitude, 90), ("longitude", longitude, 180)):
        if not math.isfinite(value) or abs(value) > most:
            raise BadPhoto(400, f"{origin}: a {name} of {value:g} is not within -{most} to {most}")
    return float(latitude), float(longitude)


def degrees(parts, name):
    """Of degrees, minutes and seconds."""
    try:
        values = [float(part) for part in parts]
    except (TypeError, ValueError, ZeroDivisionError):
        values = []
    if len(values) != 3 or any(value < 0 or not math.isfinite(value) for value in values):
        raise BadPhoto(400, f"EXIF {name} is not degrees, minutes and seconds: {str(parts)[:80]}")
    return values[0] + values[1] / 60 + values[2] / 3600


def exif_place(data):
    """Latitude and longitude in degrees that the photo names, or None. Raises BadPhoto: no photo, or absurd tags."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                tags = image.getexif().get_ifd(GPS_IFD)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise BadPhoto(413, f"the photo has more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise BadPhoto(415, "the body is no JPEG, PNG or WebP") from None
    except Exception as error:  # Pillow raises many kinds for tags that are cut or point nowhere.
        raise BadPhoto(400, f"the photo cannot be read: {error}") from None
    if LATITUDE not in tags or LONGITUDE not in tags:
        return None
    signs = []
    for tag, positive, negative in ((LATITUDE_REF, "N", "S"), (LONGITUDE_REF, "E", "W")):
        reference = tags.get(tag, positive)
        reference = reference.decode("latin-1") if isinstance(reference, bytes) else str(reference)
        if reference.strip("\0 ").upper() not in (positive, negative):
            raise BadPhoto(400, f"EXIF has a GPS reference of {reference[:8]!r}: {positive} or {negative} is wanted")
        signs.append(1 if reference.strip("\0 ").upper() == positive else -1)
    latitude = signs[0] * degrees(tags[LATITUDE], "GPSLatitude")
    longitude = signs[1] * degrees(tags[LONGITUDE], "GPSLongitude")
    return check_place(latitude, longitude, "EXIF")
