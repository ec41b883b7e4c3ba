// SPDX-License-Identifier: Apache-2.0
/* Plans as text, and whether a plan can be. */
#include "engine/fault_injection/plan.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the words ------------------------------------------------------------------------------- */

enum value { VALUE_NONE, VALUE_AMOUNT, VALUE_ERROR, VALUE_DELAY };

static const struct {
  const char *name;
  enum value value;
  bool needed; /* a fault without its value makes no sense */
} words[RF_FAULT_KINDS] = {
    [RF_FAULT_SHORT] = {"short", VALUE_AMOUNT, false},
    [RF_FAULT_ERROR] = {"error", VALUE_ERROR, true},
    [RF_FAULT_DELAY] = {"delay", VALUE_DELAY, true},
    [RF_FAULT_REORDER] = {"reorder", VALUE_NONE, false},
    [RF_FAULT_PARTIAL] = {"partial", VALUE_AMOUNT, true},
    [RF_FAULT_REFUSE] = {"refuse", VALUE_ERROR, true},
    [RF_FAULT_DEATH] = {"death", VALUE_ERROR, true},
    [RF_FAULT_LOST] = {"lost", VALUE_NONE, false},
    [RF_FAULT_DEAF] = {"deaf", VALUE_ERROR, true},
    [RF_FAULT_OPEN] = {"open", VALUE_ERROR, true},
    [RF_FAULT_CAPACITY] = {"capacity", VALUE_AMOUNT, true},
    [RF_FAULT_LACK] = {"lack", VALUE_NONE, false},
};

static const struct {
  const char *name;
  int error;
} errors[] = {
    {"EPERM", EPERM},         {"EINTR", EINTR},           {"EIO", EIO},
    {"ENXIO", ENXIO},         {"EBADF", EBADF},           {"EAGAIN", EAGAIN},
    {"ENOMEM", ENOMEM},       {"EACCES", EACCES},         {"EFAULT", EFAULT},
    {"EBUSY", EBUSY},         {"ENODEV", ENODEV},         {"EINVAL", EINVAL},
    {"ENFILE", ENFILE},       {"EMFILE", EMFILE},         {"EFBIG", EFBIG},
    {"ENOSPC", ENOSPC},       {"EROFS", EROFS},           {"EPIPE", EPIPE},
    {"ENOSYS", ENOSYS},       {"ENODATA", ENODATA},       {"ETIMEDOUT", ETIMEDOUT},
    {"EREMOTEIO", EREMOTEIO}, {"EDQUOT", EDQUOT},         {"EOPNOTSUPP", EOPNOTSUPP},
    {"ECANCELED", ECANCELED}, {"EOWNERDEAD", EOWNERDEAD}, {"ESTALE", ESTALE},
};
#define ERRORS (sizeof(errors) / sizeof(errors[0]))

static const struct {
  const char *name;
  uint16_t flag;
} flags[] = {{"dsync", RF_OP_DSYNC}, {"nowait", RF_OP_NOWAIT}, {"hipri", RF_OP_HIPRI}};
#define FLAGS (sizeof(flags) / sizeof(flags[0]))

const char *rf_fault_name(enum rf_fault_kind kind) {
  return (unsigned)kind < RF_FAULT_KINDS ? words[kind].name : "unknown";
}

/* ---- what can be ----------------------------------------------------------------------------- */

static bool is_not_now(int error) {
  return error == EAGAIN || error == EINTR || error == EBUSY || error == ENOMEM;
}

bool rf_fault_is_sound(const struct rf_fault *fault) {
  if (fault->kind >= RF_FAULT_KINDS || fault->chance > RF_CHANCE_ALWAYS) return false;
  if (fault->error < 0 || fault->error > 4095) return false;
  if (fault->ops >> RF_OP_KINDS != 0 || fault->backends >> RF_BACKENDS != 0) return false;
  if ((fault->flags & ~(RF_OP_DSYNC | RF_OP_NOWAIT | RF_OP_HIPRI)) != 0) return false;
  switch (fault->kind) {
    case RF_FAULT_REFUSE:
      return is_not_now(fault->error);
    case RF_FAULT_DEATH:
    case RF_FAULT_DEAF:
      return fault->error != 0 && !is_not_now(fault->error);
    case RF_FAULT_OPEN:
      return fault->error != 0;
    case RF_FAULT_PARTIAL:
    case RF_FAULT_CAPACITY:
      return fault->amount > 0;
    case RF_FAULT_LACK:
      return fault->ops != 0 || fault->flags != 0;
    default:
      return true;
  }
}

/* ---- reading --------------------------------------------------------------------------------- */

/* What is left of the text, and of one word of it. */
struct reader {
  const char *at;
  const char *end;
};

static bool take_char(struct reader *reader, char c) {
  if (reader->at == reader->end || *reader->at != c) return false;
  reader->at++;
  return true;
}

static bool take_number(struct reader *reader, uint64_t *number) {
  const char *start = reader->at;
  *number = 0;
  for (; reader->at < reader->end && isdigit((unsigned char)*reader->at); reader->at++) {
    unsigned digit = (unsigned)(*reader->at - '0');
    if (*number > (UINT64_MAX - digit) / 10) return false;
    *number = *number * 10 + digit;
  }
  return reader->at != start;
}

/* A name up to the next character that is in none. */
static struct reader take_name(struct reader *reader) {
  struct reader name = {reader->at, reader->at};
  while (name.end < reader->end && (isalnum((unsigned char)*name.end) || *name.end == '_'))
    name.end++;
  reader->at = name.end;
  return name;
}

static bool is(struct reader name, const char *word) {
  size_t size = (size_t)(name.end - name.at);
  return strlen(word) == size && memcmp(name.at, word, size) == 0;
}

static bool at_digit(const struct reader *reader) {
  return reader->at < reader->end && isdigit((unsigned char)*reader->at);
}

/* "10%", "0.05%": in a million. */
static bool take_chance(struct reader *reader, uint32_t *chance) {
  struct reader ahead = *reader;
  uint64_t whole = 0, parts = 0;
  if (!take_number(&ahead, &whole) || whole > 100) return false;
  if (take_char(&ahead, '.')) {
    uint64_t unit = RF_CHANCE_ALWAYS / 1000;
    for (; at_digit(&ahead); ahead.at++, unit /= 10) parts += unit * (unsigned)(*ahead.at - '0');
  }
  uint64_t all = whole * (RF_CHANCE_ALWAYS / 100) + parts;
  if (!take_char(&ahead, '%') || all == 0 || all > RF_CHANCE_ALWAYS) return false;
  *chance = (uint32_t)all;
  *reader = ahead;
  return true;
}

static bool take_error(struct reader *reader, int32_t *error) {
  uint64_t number = 0;
  if (at_digit(reader)) {
    if (!take_number(reader, &number) || number > 4095) return false;
    *error = (int32_t)number;
    return true;
  }
  struct reader name = take_name(reader);
  for (size_t i = 0; i < ERRORS; i++) {
    if (!is(name, errors[i].name)) continue;
    *error = errors[i].error;
    return true;
  }
  return false;
}

static bool take_delay(struct reader *reader, struct rf_fault *fault) {
  static const struct {
    const char *unit;
    uint64_t ns;
  } units[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}};
  uint64_t number = 0;
  if (!take_number(reader, &number)) return false;
  struct reader unit = take_name(reader);
  if (unit.at == unit.end) {
    fault->amount = number;
    return true;
  }
  for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
    if (!is(unit, units[i].unit) || number > UINT64_MAX / units[i].ns) continue;
    fault->delay_ns = number * units[i].ns;
    return true;
  }
  return false;
}

static bool take_value(struct reader *reader, struct rf_fault *fault) {
  enum value value = words[fault->kind].value;
  if (value == VALUE_ERROR) return take_error(reader, &fault->error);
  if (take_chance(reader, &fault->chance)) return !words[fault->kind].needed;
  if (value == VALUE_DELAY) return take_delay(reader, fault);
  return value == VALUE_AMOUNT && take_number(reader, &fault->amount);
}

/* "@3", "@3+", "@3x2". */
static bool take_place(struct reader *reader, struct rf_fault *fault) {
  if (!take_number(reader, &fault->first) || fault->first == 0) return false;
  fault->times = fault->kind == RF_FAULT_DEATH ? 0 : 1;
  if (take_char(reader, '+')) {
    fault->times = 0;
  } else if (take_char(reader, 'x')) {
    return take_number(reader, &fault->times) && fault->times > 0;
  }
  return true;
}

static bool take_names(struct reader *reader, struct rf_fault *fault) {
  struct reader name = take_name(reader);
  for (unsigned op = 0; op < RF_OP_KINDS; op++)
    if (is(name, rf_op_name((enum rf_op_kind)op))) fault->ops |= 1u << op;
  for (unsigned id = 0; id < RF_BACKENDS; id++)
    if (is(name, rf_backend_name((enum rf_backend_id)id))) fault->backends |= 1u << id;
  for (size_t i = 0; i < FLAGS; i++)
    if (is(name, flags[i].name)) fault->flags |= flags[i].flag;
  if (is(name, "each")) fault->each = true;
  if (is(name, "direct")) fault->direct = true;
  if (is(name, "from")) return take_char(reader, '=') && take_number(reader, &fault->from);
  if (is(name, "to")) return take_char(reader, '=') && take_number(reader, &fault->to);
  return name.at != name.end;
}

/* True if the fault says something that it did not say before. */
static bool take_condition(struct reader *reader, struct rf_fault *fault) {
  struct rf_fault before = *fault;
  bool taken;
  if (take_char(reader, '@')) return take_place(reader, fault);
  if (at_digit(reader)) return take_chance(reader, &fault->chance);
  struct reader ahead = *reader;
  if (take_char(&ahead, 'x') && at_digit(&ahead)) {
    *reader = ahead;
    return take_number(reader, &fault->times) && fault->times > 0;
  }
  taken = take_names(reader, fault);
  return taken && memcmp(&before, fault, sizeof(before)) != 0;
}

/* ":write,10%@3": a colon before the first, commas between, and @ needs neither. */
static bool take_conditions(struct reader *reader, struct rf_fault *fault) {
  char separator = ':';
  while (reader->at < reader->end) {
    if (*reader->at != '@') {
      if (!take_char(reader, separator)) return false;
      separator = ',';
    }
    if (!take_condition(reader, fault)) return false;
  }
  return true;
}

static bool take_fault(struct reader *reader, struct reader name, struct rf_fault *fault) {
  memset(fault, 0, sizeof(*fault));
  while (fault->kind < RF_FAULT_KINDS && !is(name, words[fault->kind].name)) fault->kind++;
  if (fault->kind == RF_FAULT_KINDS) {
    reader->at = name.at;
    return false;
  }
  bool given = take_char(reader, '=');
  if (given ? !take_value(reader, fault) : words[fault->kind].needed) return false;
  return take_conditions(reader, fault) && rf_fault_is_sound(fault);
}

static int take_word(struct reader *reader, struct rf_fault_plan *plan) {
  struct reader name = take_name(reader);
  if (is(name, "seed"))
    return take_char(reader, '=') && take_number(reader, &plan->seed) ? 0 : -EINVAL;
  if (is(name, "stand_in")) {
    plan->stand_in = true;
    return 0;
  }
  if (plan->count == RF_FAULTS_MAX) return -E2BIG;
  return take_fault(reader, name, &plan->faults[plan->count++]) ? 0 : -EINVAL;
}

int rf_fault_plan_parse(const char *text, struct rf_fault_plan *plan, const char **where) {
  struct rf_fault_plan read;
  memset(&read, 0, sizeof(read));
  for (;;) {
    while (isspace((unsigned char)*text)) text++;
    if (*text == '\0') break;
    struct reader word = {text, text + strcspn(text, " \t\n\r\v\f")};
    int status = take_word(&word, &read);
    if (status == 0 && word.at != word.end) status = -EINVAL;
    if (status != 0 && where != NULL) *where = word.at;
    if (status != 0) return status;
    text = word.end;
  }
  *plan = read;
  return 0;
}

/* ---- writing --------------------------------------------------------------------------------- */

struct writer {
  char *text;
  size_t size;
  int length;
  char separator; /* before the next condition */
};

__attribute__((format(printf, 2, 3))) static void put(struct writer *writer, const char *format,
                                                      ...) {
  va_list arguments;
  size_t used = (size_t)writer->length < writer->size ? (size_t)writer->length : writer->size;
  va_start(arguments, format);
  writer->length += vsnprintf(used < writer->size ? writer->text + used : NULL, writer->size - used,
                              format, arguments);
  va_end(arguments);
}

static void put_condition(struct writer *writer, const char *name) {
  put(writer, "%c%s", writer->separator, name);
  writer->separator = ',';
}

static void put_error(struct writer *writer, int error) {
  for (size_t i = 0; i < ERRORS; i++) {
    if (errors[i].error != error) continue;
    put(writer, "=%s", errors[i].name);
    return;
  }
  put(writer, "=%d", error);
}

static void put_value(struct writer *writer, const struct rf_fault *fault) {
  enum value value = words[fault->kind].value;
  if (value == VALUE_ERROR)
    put_error(writer, fault->error);
  else if (value == VALUE_DELAY && fault->delay_ns != 0)
    put(writer, "=%juns", (uintmax_t)fault->delay_ns);
  else if (value == VALUE_DELAY || (value == VALUE_AMOUNT && fault->amount != 0))
    put(writer, "=%ju", (uintmax_t)fault->amount);
}

static void put_names(struct writer *writer, const struct rf_fault *fault) {
  for (unsigned op = 0; op < RF_OP_KINDS; op++)
    if (fault->ops & 1u << op) put_condition(writer, rf_op_name((enum rf_op_kind)op));
  for (size_t i = 0; i < FLAGS; i++)
    if (fault->flags & flags[i].flag) put_condition(writer, flags[i].name);
  for (unsigned id = 0; id < RF_BACKENDS; id++)
    if (fault->backends & 1u << id) put_condition(writer, rf_backend_name((enum rf_backend_id)id));
  if (fault->direct) put_condition(writer, "direct");
  if (fault->each) put_condition(writer, "each");
}

static void put_numbers(struct writer *writer, const struct rf_fault *fault) {
  char text[48];
  if (fault->chance != 0) {
    uint32_t percent = RF_CHANCE_ALWAYS / 100;
    snprintf(text, sizeof(text), "%u.%04u%%", fault->chance / percent, fault->chance % percent);
    put_condition(writer, text);
  }
  if (fault->from != 0) {
    snprintf(text, sizeof(text), "from=%ju", (uintmax_t)fault->from);
    put_condition(writer, text);
  }
  if (fault->to != 0) {
    snprintf(text, sizeof(text), "to=%ju", (uintmax_t)fault->to);
    put_condition(writer, text);
  }
  if (fault->first != 0) put(writer, "@%ju", (uintmax_t)fault->first);
  if (fault->first != 0 && fault->times == 0) put(writer, "+");
  if (fault->first != 0 && fault->times > 0) put(writer, "x%ju", (uintmax_t)fault->times);
  if (fault->first == 0 && fault->times > 0) {
    snprintf(text, sizeof(text), "x%ju", (uintmax_t)fault->times);
    put_condition(writer, text);
  }
}

int rf_fault_plan_print(const struct rf_fault_plan *plan, char *text, size_t size) {
  struct writer writer = {text, size, 0, ':'};
  put(&writer, "seed=%ju%s", (uintmax_t)plan->seed, plan->stand_in ? " stand_in" : "");
  for (unsigned i = 0; i < plan->count; i++) {
    writer.separator = ':';
    put(&writer, " %s", rf_fault_name((enum rf_fault_kind)plan->faults[i].kind));
    put_value(&writer, &plan->faults[i]);
    put_names(&writer, &plan->faults[i]);
    put_numbers(&writer, &plan->faults[i]);
  }
  return writer.length;
}
