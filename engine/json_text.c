// SPDX-License-Identifier: Apache-2.0
/* Characters and strings of JSON: RFC 8259, and of UTF-8 what RFC 3629 allows. */
#include "engine/json_text.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static bool continues(unsigned char byte) {
  return (byte & 0xc0) == 0x80;
}

size_t rf_utf8_length(const char *at, const char *end) {
  const unsigned char *c = (const unsigned char *)at;
  size_t left = (size_t)(end - at);
  if (left == 0) return 0;
  if (c[0] < 0x80) return 1;
  size_t length = c[0] >= 0xf0 ? 4 : c[0] >= 0xe0 ? 3 : 2;
  if (c[0] < 0xc2 || c[0] > 0xf4 || left < length) return 0;
  for (size_t i = 1; i < length; i++)
    if (!continues(c[i])) return 0;
  bool overlong = (c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xf0 && c[1] < 0x90);
  bool surrogate = c[0] == 0xed && c[1] > 0x9f;
  bool beyond = c[0] == 0xf4 && c[1] > 0x8f;
  return overlong || surrogate || beyond ? 0 : length;
}

/* Where decoded characters go. */
struct out {
  char *text;
  size_t length, room; /* room: for characters, without the NUL */
};

static void put(struct out *out, const char *bytes, size_t count) {
  if (out->room - out->length < count) {
    out->room = out->length; /* nor what follows: no gaps */
    return;
  }
  memcpy(out->text + out->length, bytes, count);
  out->length += count;
}

static void put_character(struct out *out, uint32_t code) {
  char bytes[4];
  size_t count = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};
  for (size_t i = count; i-- > 1; code >>= 6) bytes[i] = (char)(0x80 | (code & 0x3f));
  bytes[0] = (char)(first[count] | code);
  put(out, bytes, count);
}

/* Four hexadecimal digits at `at`, or -1. */
static int32_t hexadecimal(const char *at, const char *end) {
  int32_t value = 0;
  if (end - at < 4) return -1;
  for (int i = 0; i < 4; i++) {
    char c = at[i], letter = (char)(c | 0x20);
    if (c >= '0' && c <= '9')
      value = value << 4 | (c - '0');
    else if (letter >= 'a' && letter <= 'f')
      value = value << 4 | (letter - 'a' + 10);
    else
      return -1;
  }
  return value;
}

/* What follows "\u" at `at`, which may need another "\u" behind it. */
static const char *unicode_escape(const char *at, const char *end, struct out *out) {
  int32_t code = hexadecimal(at, end);
  if (code <= 0 || (code >= 0xdc00 && code <= 0xdfff)) return NULL;
  at += 4;
  if (code >= 0xd800 && code <= 0xdbff) {
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u') return NULL;
    int32_t low = hexadecimal(at + 2, end);
    if (low < 0xdc00 || low > 0xdfff) return NULL;
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    at += 6;
  }
  put_character(out, (uint32_t)code);
  return at;
}

/* What follows a backslash at `at`. */
static const char *escape(const char *at, const char *end, struct out *out) {
  static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
  if (at == end) return NULL;
  if (*at == 'u') return unicode_escape(at + 1, end, out);
  const char *letter = *at != '\0' ? strchr(letters, *at) : NULL;
  if (letter == NULL) return NULL;
  put(out, &meanings[letter - letters], 1);
  return at + 1;
}

const char *rf_json_string(const char *at, const char *end, char *text, size_t room,
                           const char **why) {
  struct out out = {.text = text, .room = room - 1};
  for (at++; at != NULL && at < end && *at != '"';) {
    size_t length = rf_utf8_length(at, end);
    if (length == 0 || (unsigned char)*at < ' ') {
      *why = length == 0 ? "a string that is not UTF-8" : "a control character in a string";
      return NULL;
    }
    if (*at != '\\') put(&out, at, length);
    at = *at == '\\' ? escape(at + 1, end, &out) : at + length;
  }
  text[out.length] = '\0';
  if (at != NULL && at < end) return at + 1;
  *why = at == NULL ? "a string with an escape that is not valid" : "a string that does not end";
  return NULL;
}
