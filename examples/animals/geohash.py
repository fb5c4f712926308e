"""Geohashes: cells of the earth named by letters, longer names for smaller cells (G. Niemeyer, 2008)."""

LETTERS = "0123456789bcdefghjkmnpqrstuvwxyz"


def encode(latitude, longitude, length):
    """The cell of `length` letters that holds a place in degrees: 3 letters name cells of 1.41 by 1.41 degrees."""
    bounds = [[-180.0, 180.0], [-90.0, 90.0]]
    place = (longitude, latitude)
    letters = []
    bit = 0
    for _ in range(length):
        number = 0
        for _ in range(5):
            low, high = bounds[bit % 2]
            middle = (low + high) / 2
            upper = place[bit % 2] >= middle
            bounds[bit % 2] = [middle, high] if upper else [low, middle]
            number = number * 2 + upper
            bit += 1
        letters.append(LETTERS[number])
    return "".join(letters)
