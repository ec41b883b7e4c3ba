// SPDX-License-Identifier: Apache-2.0
/*
 * <ringfall/config.h>: engine and pool options from a file, as `ringfall tune` writes it.
 *
 *     struct rf_config config;
 *     char why[RF_CONFIG_MESSAGE];
 *     if (rf_config_load("ringfall.json", &config, why, sizeof(why)) != 0) ... why ...
 *     rf_engine_open(&engine, &config.read.engine);
 *     rf_pool_open(engine, &config.read.pool, &pool);
 *
 * The file is JSON (RFC 8259, UTF-8) of at most RF_CONFIG_MOST bytes:
 *
 *     {
 *       "version": 1,                   needed; RF_CONFIG_VERSION
 *       "note": "made by ...",          for people, not looked at
 *       "read": {                       each direction may be left out
 *         "backend": "io_uring",        preferred; or "libaio", "threads"; "auto" (default)
 *         "block_size": 1048576,        this and what follows: as in rf_pool_options, with its
 *         "queue_depth": 16,            ranges; what is left out has its default
 *         "workers": 2,
 *         "single_submit": false,
 *         "overlap_events": true,
 *         "bounce_limit": 16777216,
 *         "lock_bounce": false
 *       },
 *       "write": { ... }
 *     }
 *
 * Nothing else is taken: unknown keys, keys given twice, values of another type (1e6 and 2.0 are no
 * whole numbers, "true" is no boolean) or out of range, and text after the end are refused, with
 * one line that names the line and the key.
 *
 * Threads: the functions keep no state and may be called by any thread.
 */
#ifndef RINGFALL_CONFIG_H
#define RINGFALL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include <ringfall/engine.h>
#include <ringfall/transfer.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RF_CONFIG_VERSION 1u     /* what a file says in "version" */
#define RF_CONFIG_MOST    65536u /* bytes of a file */
#define RF_CONFIG_MESSAGE 256u   /* room for any message, with its end */

/*
 * Options for one direction, complete, for rf_engine_open() and rf_pool_open(); what the file says
 * may still be changed in them.  engine.choice is PREFER with a backend and AUTO without, so that a
 * file that was made elsewhere never keeps a program from running, and RINGFALL_BACKEND overrides
 * it.  engine.depth, what the probe asks for, is pool.queue_depth.  Where read.engine and
 * write.engine name the same backend one engine serves for both.
 */
struct rf_config_direction {
  bool given; /* the file has this direction; otherwise all options are the defaults */
  struct rf_engine_options engine; /* for rf_engine_open() */
  struct rf_pool_options pool;     /* for rf_pool_open() */
};

/* A whole file. */
struct rf_config {
  struct rf_config_direction read;  /* "read" */
  struct rf_config_direction write; /* "write" */
};

/* All defaults, and neither direction given. */
void rf_config_init(struct rf_config *config);

/*
 * Reads a configuration.  0 and *config is complete; otherwise *config is untouched and message
 * (size bytes, of which it fills what it needs; NULL with size 0 is fine) has one line that says
 * what is wrong, such as "line 4: read.queue_depth: must be a whole number from 1 to 4096", without
 * the path and without control characters.
 * -EINVAL: what is in it is refused, it is no regular file, or it is too large.  -ENOENT, -EACCES,
 * -EIO, ... as of open(2) and read(2).
 */
int rf_config_load(const char *path, struct rf_config *config, char *message, size_t size);

/* The same for text in memory, of length bytes, which need not end in a NUL. */
int rf_config_parse(const char *text, size_t length, struct rf_config *config, char *message,
                    size_t size);

/*
 * The text of a configuration, which rf_config_parse() takes back: the directions that are given,
 * with the options that a file can have (the bounce buffers' only if they are not the defaults).
 * note may be NULL; in it control characters, and what is no UTF-8, become '?'.
 * Fills at most size bytes including the NUL, and returns the length it has or would have, without
 * the NUL.
 */
size_t rf_config_format(const struct rf_config *config, const char *note, char *text, size_t size);

#ifdef __cplusplus
}
#endif
#endif
