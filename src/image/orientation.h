// How a camera was held, by EXIF (JEITA CP-3451, tag 274), and a picture turned upright by it.
#pragma once

#include <string_view>

#include "image/picture.h"

namespace thaw::image {

// 1 to 8; 1, upright, also where EXIF does not say or cannot be read. exif: as Decoded::exif.
int exif_orientation(std::string_view exif);

// orientation: 1 to 8.
Picture turned_upright(Picture picture, int orientation);

}  // namespace thaw::image
