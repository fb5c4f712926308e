// JSON that the APIs of all tasks write.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::onnx {

// The shortest text that reads back as the same number.
void append_json_number(double value, std::string& out);
void append_json_string(std::string_view text, std::string& out);

// {"kind": ..., "message": ..., "field": ...}; the field is what the message's first word names, if it is one of the
// task's parameters.
std::string error_json(const Error& error, std::span<const std::string_view> parameters);

// Puts the value for every mark ("@NAME@") in the text.
void replace_all(std::string& text, std::string_view mark, const std::string& value);

}  // namespace thaw::onnx
