// Resizing with the results of Pillow's Image.resize: each filter is widened by the factor of reduction ("antialias"),
// its weights are whole numbers of 22 bits, and rows are resized before columns, with values of 8 bits in between.
// Pillow 13 begins with columns where that is less work, which moves single values by a few grey levels; this is Pillow
// up to 12.
#pragma once

#include "image/picture.h"

namespace thaw::image {

// By Pillow's numbers (Image.Resampling), which preprocessor_config.json has too.
enum class Filter { nearest = 0, lanczos = 1, bilinear = 2, bicubic = 3, box = 4, hamming = 5 };

// size: without a side of 0. The result and what is held meanwhile (height of the picture times width of the result)
// are the caller's to bound.
Picture resized(const Picture& picture, Size size, Filter filter);

}  // namespace thaw::image
