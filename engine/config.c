// SPDX-License-Identifier: Apache-2.0
/*
 * Configurations: reading and writing them.
 *
 * The form is fixed, so there is no tree of values: a table says for each key of an object how its
 * value is read and where it goes, and what does not fit is refused at the place where it stands.
 * Reading goes forwards only, over bytes with a known end, and never deeper than the two levels
 * that there are.
 */
#include <ringfall/config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/json_text.h"

#define KEY_ROOM 32 /* more than any known key has */

struct reader {
  const char *at, *end;
  unsigned line;
  const char *outer;  /* the key of the object that we are in; NULL: the outermost */
  char key[KEY_ROOM]; /* the key that we are at; "" between keys */
  char *message;
  size_t size;
};

/* How the value of a key is read, and where in the object's structure it goes. */
struct key {
  const char *name;
  int (*read)(struct reader *reader, const struct key *key, void *to);
  size_t offset;
  uint64_t least, most; /* of numbers */
};

/* ---- refusing -------------------------------------------------------------------------------- */

static void keep_to_one_line(char *message) {
  for (char *c = message; *c != '\0'; c++)
    if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
}

__attribute__((format(printf, 2, 3))) static int refuse(const struct reader *reader,
                                                        const char *format, ...) {
  char what[160];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(what, sizeof(what), format, arguments);
  va_end(arguments);
  const char *outer = reader->outer, *key = reader->key;
  if (reader->size == 0) return -EINVAL;
  snprintf(reader->message, reader->size, "line %u: %s%s%s%s%s", reader->line, outer ? outer : "",
           outer && *key ? "." : "", key, outer || *key ? ": " : "", what);
  keep_to_one_line(reader->message);
  return -EINVAL;
}

/* What stands there, for people. */
static const char *kind_of(const struct reader *reader) {
  if (reader->at == reader->end) return "the end of the text";
  char c = *reader->at;
  if (c == '"') return "a string";
  if (c == '{') return "an object";
  if (c == '[') return "a list";
  if (c == 't' || c == 'f') return "a boolean";
  if (c == 'n') return "null";
  if (c == '-' || (c >= '0' && c <= '9')) return "a number";
  return "what is here";
}

/* ---- pieces ---------------------------------------------------------------------------------- */

static void skip_space(struct reader *reader) {
  for (; reader->at < reader->end; reader->at++) {
    char c = *reader->at;
    if (c != ' ' && c != '\t' && c != '\r' && c != '\n') return;
    reader->line += c == '\n';
  }
}

/* Takes this character, if it is the next. */
static bool take(struct reader *reader, char wanted) {
  skip_space(reader);
  if (reader->at == reader->end || *reader->at != wanted) return false;
  reader->at++;
  return true;
}

static bool take_word(struct reader *reader, const char *word) {
  size_t length = strlen(word);
  if ((size_t)(reader->end - reader->at) < length || memcmp(reader->at, word, length) != 0)
    return false;
  reader->at += length;
  return true;
}

static int read_string(struct reader *reader, char *out, size_t room) {
  const char *why;
  const char *after = rf_json_string(reader->at, reader->end, out, room, &why);
  if (after == NULL) return refuse(reader, "%s", why);
  reader->at = after;
  return 0;
}

/* ---- values ---------------------------------------------------------------------------------- */

static int read_flag(struct reader *reader, const struct key *key, void *to) {
  bool yes = take_word(reader, "true");
  if (!yes && !take_word(reader, "false"))
    return refuse(reader, "must be true or false, not %s", kind_of(reader));
  *(bool *)((char *)to + key->offset) = yes;
  return 0;
}

/* Digits, and nothing that would make a fraction of them or a power of ten. */
static int read_number(struct reader *reader, const struct key *key, uint64_t *number) {
  const char *first = reader->at, *at = first;
  uint64_t value = 0;
  for (; at < reader->end && *at >= '0' && *at <= '9'; at++)
    value = value > UINT64_MAX / 10 - 1 ? UINT64_MAX / 10 : value * 10 + (uint64_t)(*at - '0');
  bool whole = at > first && (at == first + 1 || *first != '0') &&
               (at == reader->end || strchr(".eE", *at) == NULL || *at == '\0');
  if (at == first && !(at < reader->end && *at == '-'))
    return refuse(reader, "must be a whole number, not %s", kind_of(reader));
  if (!whole || value < key->least || value > key->most)
    return refuse(reader, "must be a whole number from %llu to %llu",
                  (unsigned long long)key->least, (unsigned long long)key->most);
  reader->at = at;
  *number = value;
  return 0;
}

static int read_unsigned(struct reader *reader, const struct key *key, void *to) {
  uint64_t number;
  int status = read_number(reader, key, &number);
  if (status == 0) *(unsigned *)((char *)to + key->offset) = (unsigned)number;
  return status;
}

static int read_size(struct reader *reader, const struct key *key, void *to) {
  uint64_t number;
  int status = read_number(reader, key, &number);
  if (status == 0) *(size_t *)((char *)to + key->offset) = (size_t)number;
  return status;
}

/* key: with a range that takes any number, for the sake of the message. */
static int read_version(struct reader *reader, const struct key *key, void *to) {
  (void)to;
  uint64_t number;
  int status = read_number(reader, key, &number);
  if (status != 0 || number == RF_CONFIG_VERSION) return status;
  return refuse(reader, "must be %u, the only one that is known here", RF_CONFIG_VERSION);
}

static int read_note(struct reader *reader, const struct key *key, void *to) {
  (void)key;
  (void)to;
  char start[1];
  if (reader->at == reader->end || *reader->at != '"')
    return refuse(reader, "must be a string, not %s", kind_of(reader));
  return read_string(reader, start, sizeof(start));
}

static int read_backend(struct reader *reader, const struct key *key, void *to) {
  struct rf_engine_options *engine = (void *)((char *)to + key->offset);
  char name[KEY_ROOM] = "";
  if (reader->at == reader->end || *reader->at != '"')
    return refuse(reader, "must be a string, not %s", kind_of(reader));
  int status = read_string(reader, name, sizeof(name));
  if (status != 0) return status;
  engine->choice = RF_CHOICE_AUTO;
  if (strcmp(name, "auto") == 0) return 0;
  engine->choice = RF_CHOICE_PREFER;
  if (rf_backend_by_name(name, &engine->backend) == 0) return 0;
  return refuse(reader, "'%s' is not io_uring, libaio, threads or auto", name);
}

/* ---- objects --------------------------------------------------------------------------------- */

/* A key, and that it may stand here. */
static int read_key(struct reader *reader, const struct key *keys, size_t count, uint32_t seen,
                    size_t *found) {
  skip_space(reader);
  if (reader->at == reader->end || *reader->at != '"')
    return refuse(reader, "a key in quotes must follow, not %s", kind_of(reader));
  char name[KEY_ROOM];
  int status = read_string(reader, name, sizeof(name));
  if (status != 0) return status;
  strcpy(reader->key, name);
  for (size_t i = 0; i < count; i++) {
    if (strcmp(name, keys[i].name) != 0) continue;
    *found = i;
    if (seen & 1u << i) return refuse(reader, "is given twice");
    return take(reader, ':') ? 0 : refuse(reader, "a colon must follow the key");
  }
  return refuse(reader, "no such key");
}

/* *seen gets a bit for each of the keys that was there. */
static int read_object(struct reader *reader, const struct key *keys, size_t count, void *to,
                       uint32_t *seen) {
  *seen = 0;
  if (!take(reader, '{')) return refuse(reader, "must be an object, not %s", kind_of(reader));
  if (take(reader, '}')) return 0;
  do {
    size_t i = 0;
    int status = read_key(reader, keys, count, *seen, &i);
    if (status != 0) return status;
    *seen |= 1u << i;
    skip_space(reader);
    status = keys[i].read(reader, &keys[i], to);
    if (status != 0) return status;
    reader->key[0] = '\0';
  } while (take(reader, ','));
  if (take(reader, '}')) return 0;
  return refuse(reader, "a comma or a closing brace must follow, not %s", kind_of(reader));
}

#define OF_POOL(member) offsetof(struct rf_config_direction, pool.member)

static const struct key direction_keys[] = {
    {"backend", read_backend, offsetof(struct rf_config_direction, engine), 0, 0},
    {"block_size", read_size, OF_POOL(block_size), RF_POOL_BLOCK_MIN, RF_POOL_BLOCK_MAX},
    {"queue_depth", read_unsigned, OF_POOL(queue_depth), 1, RF_POOL_DEPTH_MAX},
    {"workers", read_unsigned, OF_POOL(workers), 1, RF_POOL_WORKERS_MAX},
    {"single_submit", read_flag, OF_POOL(single_submit), 0, 0},
    {"overlap_events", read_flag, OF_POOL(overlap_events), 0, 0},
    {"bounce_limit", read_size, OF_POOL(bounce_limit), RF_POOL_BOUNCE_MIN, RF_POOL_BOUNCE_MAX},
    {"lock_bounce", read_flag, OF_POOL(lock_bounce), 0, 0},
};

static int read_direction(struct reader *reader, const struct key *key, void *to) {
  struct rf_config_direction *direction = (void *)((char *)to + key->offset);
  uint32_t seen;
  reader->outer = key->name;
  reader->key[0] = '\0';
  int status = read_object(reader, direction_keys,
                           sizeof(direction_keys) / sizeof(direction_keys[0]), direction, &seen);
  if (status != 0) return status;
  direction->given = true;
  direction->engine.depth = direction->pool.queue_depth;
  reader->outer = NULL;
  return 0;
}

static const struct key top_keys[] = {
    {"version", read_version, 0, 0, UINT32_MAX}, /* the first: rf_config_parse() looks for it */
    {"note", read_note, 0, 0, 0},
    {"read", read_direction, offsetof(struct rf_config, read), 0, 0},
    {"write", read_direction, offsetof(struct rf_config, write), 0, 0},
};

/* ---- reading --------------------------------------------------------------------------------- */

static void init_direction(struct rf_config_direction *direction) {
  memset(direction, 0, sizeof(*direction));
  rf_engine_options_init(&direction->engine);
  rf_pool_options_init(&direction->pool);
}

void rf_config_init(struct rf_config *config) {
  init_direction(&config->read);
  init_direction(&config->write);
}

int rf_config_parse(const char *text, size_t length, struct rf_config *config, char *message,
                    size_t size) {
  struct reader reader = {
      .at = text, .end = text + length, .line = 1, .message = message, .size = size};
  struct rf_config found;
  uint32_t seen;
  rf_config_init(&found);
  if (length > RF_CONFIG_MOST) return refuse(&reader, "more than %u bytes", RF_CONFIG_MOST);
  int status =
      read_object(&reader, top_keys, sizeof(top_keys) / sizeof(top_keys[0]), &found, &seen);
  if (status != 0) return status;
  skip_space(&reader);
  if (reader.at != reader.end) return refuse(&reader, "more text after the closing brace");
  if (!(seen & 1u)) return refuse(&reader, "the key \"version\" is missing");
  *config = found;
  return 0;
}

static int say(char *message, size_t size, const char *what, int status) {
  if (size > 0) snprintf(message, size, "%s", what);
  return status;
}

/* Up to room bytes of a file: their number, or -errno. */
static ssize_t read_all(int fd, char *text, size_t room) {
  size_t length = 0;
  while (length < room) {
    ssize_t count = read(fd, text + length, room - length);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return -errno;
    if (count == 0) break;
    length += (size_t)count;
  }
  return (ssize_t)length;
}

static int load(int fd, struct rf_config *config, char *message, size_t size) {
  struct stat stat;
  if (fstat(fd, &stat) != 0) return say(message, size, "cannot be looked at", -errno);
  if (!S_ISREG(stat.st_mode)) return say(message, size, "is not a regular file", -EINVAL);
  char *text = malloc(RF_CONFIG_MOST + 1);
  if (text == NULL) return say(message, size, "no memory to read it", -ENOMEM);
  ssize_t length = read_all(fd, text, RF_CONFIG_MOST + 1);
  int status = length < 0 ? say(message, size, "cannot be read", (int)length)
                          : rf_config_parse(text, (size_t)length, config, message, size);
  free(text);
  return status;
}

/* O_NONBLOCK: a pipe without a writer must not hold us up before it is refused. */
int rf_config_load(const char *path, struct rf_config *config, char *message, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0) return say(message, size, "cannot be opened", -errno);
  int status = load(fd, config, message, size);
  close(fd);
  return status;
}

/* ---- writing --------------------------------------------------------------------------------- */

struct writer {
  char *text;
  size_t length, size; /* length: also of what did not fit */
};

__attribute__((format(printf, 2, 3))) static void put(struct writer *writer, const char *format,
                                                      ...) {
  size_t left = writer->length < writer->size ? writer->size - writer->length : 0;
  va_list arguments;
  va_start(arguments, format);
  int count = vsnprintf(left > 0 ? writer->text + writer->length : NULL, left, format, arguments);
  va_end(arguments);
  writer->length += (size_t)count;
}

static void put_note(struct writer *writer, const char *note) {
  const char *end = note + strlen(note);
  put(writer, ",\n  \"note\": \"");
  while (note < end) {
    size_t length = rf_utf8_length(note, end);
    if (length == 0 || (unsigned char)*note < ' ')
      put(writer, "?");
    else
      put(writer, "%s%.*s", *note == '"' || *note == '\\' ? "\\" : "", (int)length, note);
    note += length > 0 ? length : 1;
  }
  put(writer, "\"");
}

static const char *word(bool yes) {
  return yes ? "true" : "false";
}

static void put_direction(struct writer *writer, const char *name,
                          const struct rf_config_direction *direction) {
  const struct rf_pool_options *pool = &direction->pool;
  struct rf_pool_options usual;
  rf_pool_options_init(&usual);
  if (!direction->given) return;
  put(writer, ",\n  \"%s\": {\n    \"backend\": \"%s\",\n", name,
      direction->engine.choice == RF_CHOICE_AUTO ? "auto"
                                                 : rf_backend_name(direction->engine.backend));
  put(writer, "    \"block_size\": %zu,\n    \"queue_depth\": %u,\n    \"workers\": %u,\n",
      pool->block_size, pool->queue_depth, pool->workers);
  put(writer, "    \"single_submit\": %s,\n    \"overlap_events\": %s", word(pool->single_submit),
      word(pool->overlap_events));
  if (pool->bounce_limit != usual.bounce_limit)
    put(writer, ",\n    \"bounce_limit\": %zu", pool->bounce_limit);
  if (pool->lock_bounce) put(writer, ",\n    \"lock_bounce\": true");
  put(writer, "\n  }");
}

size_t rf_config_format(const struct rf_config *config, const char *note, char *text, size_t size) {
  struct writer writer = {.text = text, .size = size};
  put(&writer, "{\n  \"version\": %u", RF_CONFIG_VERSION);
  if (note != NULL) put_note(&writer, note);
  put_direction(&writer, "read", &config->read);
  put_direction(&writer, "write", &config->write);
  put(&writer, "\n}\n");
  return writer.length;
}
