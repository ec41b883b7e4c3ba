// SPDX-License-Identifier: Apache-2.0
/*
 * Shows wal.h: lists a log, or has threads append to it.  Kill it in the middle of that, and list
 * the log: every record that was printed as acknowledged is there.
 */
#include "wal.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <ringfall/ringfall.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct appender {
  struct wal *wal;
  unsigned number; /* of the thread */
  unsigned long records;
  int status;
};

static int fail(const char *what, enum rf_status_source source, int status) {
  char text[RF_TEXT_SIZE];
  rf_status_text(source, status, text, sizeof(text));
  fprintf(stderr, "wal_main: %s: %s\n", what, text);
  return 1;
}

static int fail_open(const char *path, int status) {
  if (status != -EBUSY && status != -EINVAL) return fail(path, RF_FROM_OP, status);
  fprintf(stderr, "wal_main: %s: %s\n", path,
          status == -EBUSY ? "another program has it open" : "this is no log; it was not touched");
  return 1;
}

static void print_record(void *context, uint64_t sequence, const void *data, size_t size) {
  (void)context;
  printf("%" PRIu64 " %.*s\n", sequence, (int)size, (const char *)data);
}

static void *append(void *argument) {
  struct appender *me = argument;
  for (unsigned long i = 0; i < me->records && me->status == 0; i++) {
    char text[64];
    uint64_t sequence;
    int size = snprintf(text, sizeof(text), "record %lu of thread %u", i, me->number);
    me->status = wal_append(me->wal, text, (size_t)size, &sequence);
    /* Only now may anybody be told of it. */
    if (me->status == 0) printf("acknowledged %" PRIu64 " %s\n", sequence, text);
  }
  return NULL;
}

/* One thread each; all that could be started are waited for.  0 or the first error. */
static int append_all(struct wal *wal, unsigned threads, unsigned long records) {
  struct appender *appenders = calloc(threads, sizeof(*appenders));
  pthread_t *ids = calloc(threads, sizeof(*ids));
  unsigned started = 0;
  int status = appenders == NULL || ids == NULL ? -ENOMEM : 0;
  for (; status == 0 && started < threads; started += status == 0) {
    appenders[started] = (struct appender){.wal = wal, .number = started, .records = records};
    status = -pthread_create(&ids[started], NULL, append, &appenders[started]);
  }
  for (unsigned i = 0; i < started; i++) {
    pthread_join(ids[i], NULL);
    if (status == 0) status = appenders[i].status;
  }
  free(ids);
  free(appenders);
  return status;
}

/* A whole number from 1 to most; 0 if the text is none. */
static unsigned long number(const char *text, unsigned long most) {
  char *end;
  errno = 0;
  unsigned long value = strtoul(text, &end, 10);
  return errno == 0 && *end == 0 && text[0] != '-' && value <= most ? value : 0;
}

/* threads 0: lists the log. */
static int run(struct rf_engine *engine, const char *path, unsigned threads,
               unsigned long records) {
  struct wal *wal;
  struct wal_recovery found;
  int status = wal_open(engine, path, threads == 0 ? print_record : NULL, NULL, &found, &wal);
  if (status != 0) return fail_open(path, status);
  printf("recovered %" PRIu64 " records, %" PRIu64 " bytes%s\n", found.records, found.end,
         found.torn ? "; a record that was not whole was cut off" : "");
  if (threads > 0) {
    struct wal_stats stats;
    status = append_all(wal, threads, records);
    wal_get_stats(wal, &stats);
    printf("appended %" PRIu64 " records with %" PRIu64 " syncs\n", stats.appended, stats.batches);
  }
  int closed = wal_close(wal);
  if (status == 0) status = closed;
  return status == 0 ? 0 : fail(path, RF_FROM_OP, status);
}

int main(int argc, char **argv) {
  unsigned long threads = argc == 4 ? number(argv[2], 1000) : 0;
  unsigned long records = argc == 4 ? number(argv[3], 1000000000) : 0;
  if (argc != 2 && (threads == 0 || records == 0)) {
    fprintf(stderr, "usage: wal_main LOG [THREADS RECORDS], with up to 1000 threads\n");
    return 2;
  }
  struct rf_engine *engine;
  int status = rf_engine_open(&engine, NULL);
  if (status != 0) return fail("engine", RF_FROM_ENGINE, status);
  int failed = run(engine, argv[1], (unsigned)threads, records);
  status = rf_engine_close(engine);
  if (status != 0) return fail("engine", RF_FROM_ENGINE, status);
  if (fflush(stdout) == 0) return failed;
  perror("wal_main: stdout");
  return 1;
}
