// SPDX-License-Identifier: Apache-2.0
/*
 * <ringfall/ringfall.h>: all of ringfall.
 *
 * An engine holds what a process decides once: which backend, and why.  A queue is where one
 * thread submits ops and reaps their completions.  Files and arenas are what ops work on.
 *
 *     struct rf_engine *engine;   rf_engine_open(&engine, NULL);
 *     struct rf_file *file;       rf_file_open(engine, "data", O_RDONLY, 0, &file);
 *     struct rf_queue *queue;     rf_queue_open(engine, NULL, &queue);
 *     struct rf_op op = rf_op_read(file, buffer, 4096, 0, 1);
 *     struct rf_completion done;
 *     rf_submit_and_wait(queue, &op, 1, NULL, &done, 1, 1, RF_FOREVER);
 *
 * Every function that can fail returns a status: 0 (or a count) on success, -errno on failure;
 * errno itself is neither used nor kept; <ringfall/status.h> lists them all and tells people what
 * they mean.  The library does not exit, abort, print, or install
 * signal handlers, and nothing that it opens survives exec.
 *
 * After fork() the child can only close what it inherited: everything else answers -EBADF there,
 * and the parent is not affected.
 */
#ifndef RINGFALL_RINGFALL_H
#define RINGFALL_RINGFALL_H

#include <ringfall/arena.h>
#include <ringfall/config.h>
#include <ringfall/counters.h>
#include <ringfall/engine.h>
#include <ringfall/file.h>
#include <ringfall/op.h>
#include <ringfall/queue.h>
#include <ringfall/status.h>
#include <ringfall/transfer.h>
#include <ringfall/verdict.h>
#include <ringfall/version.h>

#endif
