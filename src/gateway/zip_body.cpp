#include "gateway/zip_body.h"

namespace thaw::gateway {
namespace {

constexpr std::string_view kZipKey = "ZipFile";

Error no_base64() { return invalid_argument("ZipFile is not base64"); }

}  // namespace

Status ZipBody::read(std::string_view piece, std::string& zip) {
  const std::size_t before = zip.size();
  for (const char c : piece) {
    if (place_ == Place::in_zip || place_ == Place::zip_escape) {
      RETURN_IF_ERROR(read_in_zip(c, zip));
      continue;
    }
    if (json_.size() >= kJsonWithoutZipBytesMax) {
      return Error{ErrorKind::too_large, "the request is larger than " + std::to_string(kJsonWithoutZipBytesMax) +
                                             " bytes, ZipFile not counted"};
    }
    json_ += c;
    if (place_ == Place::outside) {
      RETURN_IF_ERROR(read_outside(c));
    } else if (place_ == Place::escape) {
      place_ = Place::in_string;
      last_string_ += c;
    } else if (c == '"') {
      place_ = Place::outside;
    } else {
      if (c == '\\') place_ = Place::escape;
      last_string_ += c;
    }
  }
  zip_bytes_ += zip.size() - before;
  return {};
}

Status ZipBody::read_outside(char c) {
  if (c == ' ' || c == '\t' || c == '\n' || c == '\r') return {};
  const bool zip = is_zip();
  if (c == '{' || c == '[') {
    ++depth_;
    if (depth_ == 2) parent_key_ = after_key_ ? last_string_ : std::string();
  } else if ((c == '}' || c == ']') && depth_ > 0) {
    --depth_;
  }
  after_key_ = c == ':';
  if (c != '"') return {};
  if (!zip) {
    last_string_.clear();
    place_ = Place::in_string;
    return {};
  }
  if (has_zip_) return invalid_argument("ZipFile is given twice");
  has_zip_ = true;
  last_string_.clear();
  place_ = Place::in_zip;
  return {};
}

bool ZipBody::is_zip() const {
  if (!after_key_ || last_string_ != kZipKey) return false;
  return depth_ == 1 || (depth_ == 2 && (parent_key_ == "Code" || parent_key_ == "Content"));
}

Status ZipBody::read_in_zip(char c, std::string& zip) {
  if (place_ == Place::zip_escape) {
    place_ = Place::in_zip;
    // What encoders escape of base64.
    if (c == 'n' || c == 'r') return {};
    if (c != '/') return no_base64();
  } else if (c == '\\') {
    place_ = Place::zip_escape;
    return {};
  } else if (c == '"') {
    return end_zip();
  } else if (c == '\n' || c == '\r') {
    return {};
  }
  if (!base64_.read(c, zip)) return no_base64();
  return {};
}

Status ZipBody::end_zip() {
  if (!base64_.ends()) return no_base64();
  json_ += '"';
  place_ = Place::outside;
  return {};
}

}  // namespace thaw::gateway
