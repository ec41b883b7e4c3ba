// SPDX-License-Identifier: Apache-2.0
/*
 * Values on the command line.  Each function takes the command's and the option's name for its
 * message, stores the value and returns TOOL_OK, or says in one line on stderr what is wrong with
 * it and returns TOOL_USAGE.
 */
#ifndef RINGFALL_TOOLS_ARGUMENTS_H
#define RINGFALL_TOOLS_ARGUMENTS_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "tool.h"

/* Bytes: a decimal number above 0, K, M, G or T after it for powers of 1024; at most what a file
 * offset can hold. */
enum tool_exit argument_size(const char *command, const char *option, const char *text,
                             uint64_t *bytes);

/* The same, but may be 0. */
enum tool_exit argument_offset(const char *command, const char *option, const char *text,
                               uint64_t *bytes);

/* The value of --checksum: sha256 or none. */
enum tool_exit argument_checksum(const char *command, const char *text, bool *none);

/* A whole decimal number from min to max. */
enum tool_exit argument_count(const char *command, const char *option, const char *text,
                              unsigned min, unsigned max, unsigned *count);

/* Seconds above 0, with a fraction if wanted; at most a year. */
enum tool_exit argument_seconds(const char *command, const char *option, const char *text,
                                double *seconds);

/* Takes one option; `found` is what getopt_long() returned, its value stands in optarg. */
typedef enum tool_exit argument_function(int found, void *options);

/* Gives every option of the command line to `take`, up to the first that it refuses.  -h, and 'h'
 * of `longs`, is --help: *help is true then, and nothing after it was looked at.  optind is behind
 * the options.  TOOL_OK, or a line was printed. */
enum tool_exit arguments_parse(const char *command, int argc, char **argv,
                               const struct option *longs, argument_function *take, void *options,
                               bool *help);

#endif
