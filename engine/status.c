// SPDX-License-Identifier: Apache-2.0
/*
 * What statuses mean, and the lines of text that tell people of them.
 *
 * The tables say the same as the list in <ringfall/status.h>, which is for those who write a
 * program; these words are for those who run it.  One table for each source of statuses; what is
 * not in it may be in the table of another one that it leads to.
 */
#include <ringfall/status.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/transfer_internal.h"
#include "probe/names.h"

/* ---- the tables ------------------------------------------------------------------------------ */

struct meaning {
  int error;
  const char *meaning;
  const char *remedy;
};

#define AFTER_FORK                                                                                 \
  { EBADF, "the process was forked, and this is the parent's", "open an engine in the child" }
#define NO_MEMORY                                                                                  \
  { ENOMEM, "there is no memory for it", "" }

static const struct meaning of_op[] = {
    {EAGAIN, "it would have had to wait, which the op forbids", "try again later, or let it wait"},
    {EBADF, "there is no file, or it is not open, or not in this direction",
     "keep the file open, for reading or writing, until the op is complete"},
    {EBUSY, "the kernel was busy all the time while it was tried again", "try again later"},
    {ECANCELED, "it was stopped, or an op before it in its chain failed",
     "see what became of that one"},
    {EDQUOT, "the quota is used up", "raise it, or make room, then write the rest"},
    {EFAULT, "the buffer is not memory of this process",
     "keep the buffer, all of it, until the op is complete"},
    {EFBIG, "the file would grow past RLIMIT_FSIZE or the largest of its file system",
     "ulimit -f unlimited; systemd: LimitFSIZE=infinity"},
    {EINTR, "it was interrupted each time it was tried again", "try again later"},
    {EINVAL, "it makes no sense, or direct I/O is not aligned as the file needs it",
     "see rf_file_get_info() for the alignment of buffer, offset and length"},
    {EIO, "the device or the file system failed", "look at the kernel's log: dmesg"},
    {ENOMEM, "the kernel was short of memory all the time while it was tried again",
     "try again later"},
    {ENOSPC, "the file system is full, or the device ends there", "make room, then write the rest"},
    {EOPNOTSUPP, "the file system cannot do this", "do without, or use another file system"},
    {EOWNERDEAD, "the backend died with it, and whether it was done is not known",
     "read what is there before writing it again"},
    {EPERM, "the file is sealed, immutable or append-only", "see lsattr(1)"},
    {EPIPE, "nobody reads from the other end any more", ""},
    {ESPIPE, "the file has no offsets: it is a pipe, a socket or a terminal", ""},
    {ETIMEDOUT, "its deadline had passed", "give it more time, or find out what is slow"},
};

static const struct meaning of_transfer[] = {
    {EBADF, "the descriptor is not open in this direction, or the process was forked",
     "open the file for what is done with it; open an engine in a child"},
    {ECANCELED, "it was stopped", ""},
    {EFAULT, "the buffer is not memory of this process",
     "keep the buffer, all of it, until the transfer is complete"},
    {EINVAL, "the request makes no sense",
     "name one file, flags that exist, a range that a file can have; replace by path at offset 0"},
    {EIO, "the device or the file system failed; what was written before may be lost",
     "look at the kernel's log: dmesg"},
    {EISDIR, "it is a directory", ""},
    {ENOMEM, "there is no memory for it or its bounce buffers", "lower the pool's bounce_limit"},
    {ESPIPE, "the file has no offsets: it is a pipe, a socket or a terminal", ""},
    {ETIMEDOUT, "its time was over", "give it more time, or find out what is slow"},
};

static const struct meaning of_engine[] = {
    AFTER_FORK,
    {EBUSY, "queues, files or arenas of the engine are open", "close them first"},
    {EINVAL, "an option or RINGFALL_BACKEND makes no sense", "the log says which"},
    NO_MEMORY,
    {ENOTSUP, "the backend that was required does not work here",
     "ringfall probe; or do not require it"},
};

static const struct meaning of_file[] = {
    {EBADF, "it is not an open file, or the process was forked", ""},
    {EBUSY, "an op on the file is in a queue", "wait for the op first"},
    {EINVAL, "the file system refuses O_DIRECT, or another of the flags", "open it without"},
    {EISDIR, "it is a directory", ""},
    NO_MEMORY,
};

static const struct meaning of_arena[] = {
    {EAGAIN, "some of the memory could not be locked", "try again, or open it without LOCKED"},
    AFTER_FORK,
    {EINVAL, "the size is 0, a flag is not known, or there is no such memory", ""},
    {ENOMEM, "no memory, or more than may be locked", "with LOCKED: ulimit -l unlimited"},
    {EPERM, "memory may not be locked", "ulimit -l unlimited, or open it without LOCKED"},
};

static const struct meaning of_queue[] = {
    {EAGAIN, "the queue is full", "reap completions first, or open it deeper"},
    AFTER_FORK,
    {EBUSY, "ops are in the queue", "ask for its descriptor before the first one"},
    {EINVAL, "an option is out of range, or fewer completions fit than are waited for", ""},
    {ENODATA, "the queue keeps no latencies", "set options.latency"},
    {ENOENT, "no such op is in the queue", ""},
    NO_MEMORY,
    {ENOTSUP, "the backend that was required cannot be opened", "the log says why"},
    {EPERM, "the queue belongs to another thread", "use a queue a thread"},
    {ETIMEDOUT, "it was closed, but ops in it never ended, and have their buffers for ever",
     "keep these buffers for as long as the process lives"},
};

static const struct meaning of_pool[] = {
    {EAGAIN, "no thread could be started, or no memory be locked",
     "ulimit -u unlimited; ulimit -l unlimited"},
    AFTER_FORK,
    {EBUSY, "the transfer is not complete", "wait for it, or cancel it, first"},
    {EFAULT, "there is no buffer", ""},
    {EINVAL, "an option is out of its range, or a request makes no sense", ""},
    {ENOMEM, "there is no memory for it, or it may not be locked",
     "ulimit -l unlimited, if lock_bounce is set"},
    {ENOTSUP, "no queue could be opened on the backend that was required", "the log says why"},
    {EPERM, "memory may not be locked", "ulimit -l unlimited, or do not set lock_bounce"},
    {ETIMEDOUT, "it is not complete yet, and goes on", "wait longer"},
};

static const struct meaning of_probe[] = {
    {EBADF, "it is not an open file", ""},
    {EINVAL, "there is no such name, pointer or depth", ""},
    {EMFILE, "no descriptor is left to try things with", "ulimit -n 65536"},
};

static const struct meaning of_system[] = {
    {EACCES, "permission is missing for the file, or for a directory on the way", ""},
    {EMFILE, "this process has no descriptor left", "ulimit -n 65536"},
    {ENFILE, "the whole system has no descriptor left", "sysctl -w fs.file-max=N, with a larger N"},
    {EROFS, "the file system is mounted for reading only", "mount -o remount,rw"},
    {ESTALE, "the file is gone from the server", "open it again"},
    {ETXTBSY, "the program in that file is running", "replace the file instead of writing to it"},
};

#define TABLE(name)                                                                                \
  { (name), sizeof(name) / sizeof((name)[0]) }
static const struct table {
  const struct meaning *rows;
  size_t count;
} tables[RF_STATUS_SOURCES] = {
    [RF_FROM_OP] = TABLE(of_op),         [RF_FROM_TRANSFER] = TABLE(of_transfer),
    [RF_FROM_ENGINE] = TABLE(of_engine), [RF_FROM_FILE] = TABLE(of_file),
    [RF_FROM_ARENA] = TABLE(of_arena),   [RF_FROM_QUEUE] = TABLE(of_queue),
    [RF_FROM_POOL] = TABLE(of_pool),     [RF_FROM_PROBE] = TABLE(of_probe),
};
static const struct table system_calls = TABLE(of_system);

static const struct meaning *find_in(const struct table *table, int error) {
  for (size_t i = 0; i < table->count; i++)
    if (table->rows[i].error == error) return &table->rows[i];
  return NULL;
}

static const struct meaning *find(enum rf_status_source source, int status) {
  const struct meaning *found = NULL;
  if (status == 0) return NULL;
  if ((unsigned)source < RF_STATUS_SOURCES) found = find_in(&tables[source], -status);
  if (found == NULL && source == RF_FROM_TRANSFER) found = find_in(&tables[RF_FROM_OP], -status);
  return found != NULL ? found : find_in(&system_calls, -status);
}

const char *rf_status_name(int status) {
  const char *symbol = status == 0 ? "0" : rf_errno_symbol(-status);
  return symbol != NULL ? symbol : "unknown";
}

const char *rf_status_meaning(enum rf_status_source source, int status) {
  const struct meaning *found = find(source, status);
  return found != NULL ? found->meaning : "";
}

const char *rf_status_remedy(enum rf_status_source source, int status) {
  const struct meaning *found = find(source, status);
  return found != NULL ? found->remedy : "";
}

/* ---- lines of text --------------------------------------------------------------------------- */

struct line {
  char *text;
  size_t size;
  size_t length; /* of all of it, whether there was room or not */
};

static struct line begin(char *text, size_t size) {
  if (size > 0) text[0] = '\0';
  return (struct line){text, size, 0};
}

__attribute__((format(printf, 2, 3))) static void add(struct line *line, const char *format, ...) {
  va_list arguments;
  bool room = line->length < line->size;
  va_start(arguments, format);
  int more = vsnprintf(room ? line->text + line->length : NULL,
                       room ? line->size - line->length : 0, format, arguments);
  va_end(arguments);
  if (more > 0) line->length += (size_t)more;
}

/* Names of files come from anywhere, and the line is to stay one. */
static void add_name(struct line *line, const char *name) {
  for (; *name != '\0'; name++)
    add(line, "%c", (unsigned char)*name < ' ' || *name == 0x7f ? '?' : *name);
}

/* What the kernel knows a descriptor as: a path, or something like pipe:[4711]. */
static void add_descriptor(struct line *line, int fd) {
  char link[32], name[4096];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, name, sizeof(name) - 1);
  if (length <= 0) {
    add(line, "descriptor %d", fd);
    return;
  }
  name[length] = '\0';
  add_name(line, name);
}

/* "1 byte", "2 bytes" */
static void add_count(struct line *line, uint64_t count, const char *unit) {
  add(line, "%" PRIu64 " %s%s", count, unit, count == 1 ? "" : "s");
}

static bool has_range(unsigned kind) {
  return kind != RF_OP_NOP && kind != RF_OP_FSYNC && kind != RF_OP_FDATASYNC;
}

static void add_deed(struct line *line, const struct rf_deed *deed) {
  add(line, "%s", rf_op_name((enum rf_op_kind)deed->kind));
  if (deed->kind == RF_OP_NOP) return;
  if (has_range(deed->kind)) {
    add(line, " of ");
    add_count(line, deed->length, deed->unit);
  }
  if (has_range(deed->kind) && (deed->file == NULL || !deed->file->info.stream))
    add(line, " at offset %" PRIu64, deed->offset);
  add(line, " of ");
  if (deed->path != NULL)
    add_name(line, deed->path);
  else if (deed->file != NULL || deed->fd >= 0)
    add_descriptor(line, deed->file != NULL ? deed->file->fd : deed->fd);
  else
    add(line, "no file");
}

int rf_deed_text(const struct rf_deed *deed, char *text, size_t size) {
  int error = errno;
  struct line line = begin(text, size);
  add_deed(&line, deed);
  errno = error;
  return (int)line.length;
}

/* strerror() is safe here: musl's always is; glibc's was not, before 2.32, for numbers that are no
 * errors. */
static void add_errno(struct line *line, int status) {
  add(line, "%s (%s)", rf_status_name(status), strerror(-status));
}

static void add_cause(struct line *line, enum rf_status_source source, int status) {
  const struct meaning *found = find(source, status);
  if (found == NULL) return;
  add(line, ": %s", found->meaning);
  if (found->remedy[0] != '\0') add(line, "; %s", found->remedy);
}

int rf_status_text(enum rf_status_source source, int status, char *text, size_t size) {
  int error = errno;
  struct line line = begin(text, size);
  if (status == 0) {
    add(&line, "done");
  } else {
    add_errno(&line, status);
    add_cause(&line, source, status);
  }
  errno = error;
  return (int)line.length;
}

static void add_outcome(struct line *line, enum rf_status_source source, int status, uint64_t bytes,
                        bool moves) {
  add(line, ": ");
  if (status == 0) {
    add(line, "done");
    if (moves) {
      add(line, ", ");
      add_count(line, bytes, "byte");
    }
    return;
  }
  add_errno(line, status);
  if (bytes > 0) {
    add(line, " after ");
    add_count(line, bytes, "byte");
  }
  add_cause(line, source, status);
}

int rf_op_text(const struct rf_op *op, const struct rf_completion *completion, char *text,
               size_t size) {
  int error = errno;
  struct line line = begin(text, size);
  bool vector = completion->kind == RF_OP_READV || completion->kind == RF_OP_WRITEV;
  bool moves = completion->kind >= RF_OP_READ && completion->kind <= RF_OP_WRITEV;
  if (op != NULL) {
    const struct rf_deed deed = {.kind = completion->kind,
                                 .file = op->file,
                                 .fd = -1,
                                 .unit = vector ? "buffer" : "byte",
                                 .length = op->len,
                                 .offset = op->offset};
    add_deed(&line, &deed);
  } else {
    add(&line, "%s (user_data %" PRIu64 ")", rf_op_name((enum rf_op_kind)completion->kind),
        completion->user_data);
  }
  add(&line, " by %s", rf_backend_name((enum rf_backend_id)completion->backend));
  add_outcome(&line, RF_FROM_OP, completion->status, (uint64_t)completion->bytes, moves);
  errno = error;
  return (int)line.length;
}

/* result NULL: it is not complete. */
static int transfer_text(const struct rf_transfer_request *request, bool write,
                         const struct rf_transfer_result *result, char *text, size_t size) {
  int error = errno;
  struct line line = begin(text, size);
  const struct rf_deed deed = {.kind = write ? RF_OP_WRITE : RF_OP_READ,
                               .path = request->path,
                               .file = request->file,
                               .fd = request->fd,
                               .unit = "byte",
                               .length = request->length,
                               .offset = request->offset};
  add_deed(&line, &deed);
  if (result != NULL)
    add_outcome(&line, RF_FROM_TRANSFER, result->status, result->bytes, true);
  else
    add(&line, ": not complete yet");
  errno = error;
  return (int)line.length;
}

int rf_transfer_text(const struct rf_transfer *token, char *text, size_t size) {
  struct rf_transfer_result result;
  bool done = rf_transfer_test(token, &result);
  return transfer_text(&token->request, token->write, done ? &result : NULL, text, size);
}

int rf_transfer_sync_text(const struct rf_transfer_request *request, bool write,
                          const struct rf_transfer_result *result, char *text, size_t size) {
  return transfer_text(request, write, result, text, size);
}
