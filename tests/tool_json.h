// SPDX-License-Identifier: Apache-2.0
// What the program says to machines.
#ifndef RINGFALL_TESTS_TOOL_JSON_H
#define RINGFALL_TESTS_TOOL_JSON_H

#include <gtest/gtest.h>
#include <jansson.h>

#include <memory>
#include <string>

namespace tool_test {

struct JsonDeleter {
  void operator()(json_t *json) const { json_decref(json); }
};
using Json = std::unique_ptr<json_t, JsonDeleter>;

inline Json ParseJson(const std::string &text) {
  json_error_t error;
  Json json(json_loads(text.c_str(), 0, &error));
  EXPECT_NE(json, nullptr) << error.text << " in\n" << text;
  return json;
}

inline std::string Text(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text != nullptr ? text : "(no string)";
}

} // namespace tool_test

#endif
