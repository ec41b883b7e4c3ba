// SPDX-License-Identifier: Apache-2.0
/* Characters and strings of JSON, for config.c. */
#ifndef RINGFALL_ENGINE_JSON_TEXT_H
#define RINGFALL_ENGINE_JSON_TEXT_H

#include <stddef.h>

/* Bytes of the UTF-8 character at `at` (1 to 4); 0 if there is none before `end`, or it is not well
 * formed: overlong, a surrogate, above U+10FFFF, cut off. */
size_t rf_utf8_length(const char *at, const char *end);

/*
 * Reads a string whose opening quote is at `at`.  Its characters go to out (room bytes, at least 1;
 * always ended by a NUL; characters that do not fit whole are left out, but read all the same).
 * Returns what follows the closing quote, or NULL with *why set to what is wrong: control
 * characters, unknown escapes, bad UTF-8, lone surrogates, U+0000 (no C string can have it), no
 * closing quote.
 */
const char *rf_json_string(const char *at, const char *end, char *out, size_t room,
                           const char **why);

#endif
