// SPDX-License-Identifier: Apache-2.0
/* Transfers: the public calls on requests and tokens. */
#include <ringfall/transfer.h>

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/transfer_internal.h"

#define ALL_FLAGS                                                                                  \
  ((unsigned)RF_TRANSFER_CREATE | RF_TRANSFER_TRUNCATE | RF_TRANSFER_PREALLOCATE |                 \
   RF_TRANSFER_REPLACE)

/* ---- requests -------------------------------------------------------------------------------- */

void rf_transfer_request_init(struct rf_transfer_request *request) {
  memset(request, 0, sizeof(*request));
  request->size = sizeof(*request);
  request->fd = -1;
  request->flags = RF_TRANSFER_CREATE | RF_TRANSFER_PREALLOCATE;
  request->mode = 0666;
  request->timeout_ns = RF_FOREVER;
}

static int check_replace(const struct rf_transfer_request *request) {
  if (!(request->flags & RF_TRANSFER_REPLACE)) return 0;
  return request->path != NULL && request->offset == 0 ? 0 : -EINVAL;
}

static int read_request(const struct rf_pool *pool, const struct rf_transfer_request *given,
                        bool write, struct rf_transfer_request *request) {
  rf_transfer_request_init(request);
  if (given->size < sizeof(given->size) || given->size > sizeof(*request)) return -EINVAL;
  memcpy(request, given, given->size);
  bool by_fd = request->path == NULL && request->file == NULL;
  int named = (request->path != NULL) + (request->file != NULL) + (request->fd >= 0);
  if (named > 1 || (named == 0 && request->fd == -1)) return -EINVAL;
  if (by_fd && request->fd < -1) return -EINVAL;
  if (request->file != NULL && request->file->engine != pool->engine) return -EINVAL;
  if (request->flags & ~ALL_FLAGS || (unsigned)request->durability > RF_DURABLE_ENTRY)
    return -EINVAL;
  if (request->offset > INT64_MAX || request->length > INT64_MAX - request->offset) return -EINVAL;
  if (request->length > 0 && request->buffer == NULL) return -EFAULT;
  return write ? check_replace(request) : 0;
}

/* ---- starting -------------------------------------------------------------------------------- */

static struct rf_transfer *make_transfer(struct rf_pool *pool,
                                         const struct rf_transfer_request *request, bool write) {
  size_t path_size = request->path != NULL ? strlen(request->path) + 1 : 0;
  struct rf_transfer *transfer = calloc(1, sizeof(*transfer) + path_size);
  if (transfer == NULL) return NULL;
  transfer->pool = pool;
  transfer->request = *request;
  if (path_size > 0) {
    transfer->path = (char *)(transfer + 1);
    memcpy(transfer->path, request->path, path_size);
  }
  transfer->request.path = transfer->path;
  transfer->write = write;
  transfer->end = request->offset + request->length;
  transfer->stop_at = UINT64_MAX;
  transfer->started_ns = rf_now_ns();
  transfer->deadline_ns = UINT64_MAX;
  if (request->timeout_ns >= 0 && (uint64_t)request->timeout_ns < UINT64_MAX - transfer->started_ns)
    transfer->deadline_ns = transfer->started_ns + (uint64_t)request->timeout_ns;
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&transfer->finished, &monotonic);
  pthread_condattr_destroy(&monotonic);
  return transfer;
}

static void enlist(struct rf_pool *pool, struct rf_transfer *transfer) {
  atomic_fetch_add_explicit(&pool->owners, 1, memory_order_relaxed);
  pthread_mutex_lock(&pool->lock);
  transfer->older = pool->newest;
  *(pool->newest != NULL ? &pool->newest->newer : &pool->oldest) = transfer;
  pool->newest = transfer;
  pool->live++;
  pool->counters.started++;
  rf_transfer_push(&pool->fresh, transfer);
  rf_pool_note_deadline(pool, transfer->deadline_ns);
  rf_pool_call(pool, NULL);
  pthread_mutex_unlock(&pool->lock);
}

static int start(struct rf_pool *pool, const struct rf_transfer_request *given, bool write,
                 struct rf_transfer **token) {
  struct rf_transfer_request request;
  if (!rf_is_alive(pool->alive)) return -EBADF;
  int status = read_request(pool, given, write, &request);
  if (status != 0) return status;
  struct rf_transfer *transfer = make_transfer(pool, &request, write);
  if (transfer == NULL) return -ENOMEM;
  *token = transfer;
  enlist(pool, transfer);
  return 0;
}

int rf_transfer_read(struct rf_pool *pool, const struct rf_transfer_request *request,
                     struct rf_transfer **token) {
  return start(pool, request, false, token);
}

int rf_transfer_write(struct rf_pool *pool, const struct rf_transfer_request *request,
                      struct rf_transfer **token) {
  return start(pool, request, true, token);
}

static int run(struct rf_pool *pool, const struct rf_transfer_request *request, bool write,
               struct rf_transfer_result *result) {
  struct rf_transfer_result unwanted;
  struct rf_transfer *token;
  if (result == NULL) result = &unwanted;
  memset(result, 0, sizeof(*result));
  result->status = start(pool, request, write, &token);
  if (result->status != 0) return result->status;
  (void)rf_transfer_wait(token, RF_FOREVER, result);
  (void)rf_transfer_release(token);
  return result->status;
}

int rf_transfer_read_sync(struct rf_pool *pool, const struct rf_transfer_request *request,
                          struct rf_transfer_result *result) {
  return run(pool, request, false, result);
}

int rf_transfer_write_sync(struct rf_pool *pool, const struct rf_transfer_request *request,
                           struct rf_transfer_result *result) {
  return run(pool, request, true, result);
}

/* ---- waiting --------------------------------------------------------------------------------- */

int rf_transfer_test(const struct rf_transfer *token, struct rf_transfer_result *result) {
  if (!atomic_load_explicit(&token->done, memory_order_acquire)) return 0;
  if (result != NULL) *result = token->result;
  return 1;
}

static struct timespec time_at(int64_t timeout_ns) {
  uint64_t at = rf_now_ns();
  at = (uint64_t)timeout_ns < INT64_MAX - at ? at + (uint64_t)timeout_ns : INT64_MAX;
  return (struct timespec){(time_t)(at / 1000000000u), (long)(at % 1000000000u)};
}

/* False: the time is up. */
static bool sleep_on(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t timeout_ns,
                     const struct timespec *until) {
  if (timeout_ns < 0) return pthread_cond_wait(condition, lock) == 0;
  return pthread_cond_timedwait(condition, lock, until) != ETIMEDOUT;
}

int rf_transfer_wait(struct rf_transfer *token, int64_t timeout_ns,
                     struct rf_transfer_result *result) {
  if (rf_transfer_test(token, result)) return 0;
  struct rf_pool *pool = token->pool;
  if (!rf_is_alive(pool->alive)) return -EBADF;
  if (timeout_ns == 0) return -ETIMEDOUT;
  struct timespec until = time_at(timeout_ns < 0 ? 0 : timeout_ns);
  pthread_mutex_lock(&pool->lock);
  token->waiters++;
  while (!rf_transfer_test(token, result) &&
         sleep_on(&token->finished, &pool->lock, timeout_ns, &until)) {
  }
  token->waiters--;
  pthread_mutex_unlock(&pool->lock);
  return rf_transfer_test(token, result) ? 0 : -ETIMEDOUT;
}

/* The index of the first that is complete, or -ETIMEDOUT. */
static int find_done(struct rf_transfer *const *tokens, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (tokens[i] != NULL && rf_transfer_test(tokens[i], NULL)) return (int)i;
  return -ETIMEDOUT;
}

static struct rf_pool *pool_of(struct rf_transfer *const *tokens, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (tokens[i] != NULL) return tokens[i]->pool;
  return NULL;
}

int rf_transfer_wait_any(struct rf_transfer *const *tokens, size_t count, int64_t timeout_ns) {
  if (count > INT_MAX || pool_of(tokens, count) == NULL) return -EINVAL;
  struct rf_pool *pool = pool_of(tokens, count);
  int found = find_done(tokens, count);
  if (found >= 0) return found;
  if (!rf_is_alive(pool->alive)) return -EBADF;
  if (timeout_ns == 0) return -ETIMEDOUT;
  struct timespec until = time_at(timeout_ns < 0 ? 0 : timeout_ns);
  pthread_mutex_lock(&pool->lock);
  pool->callers++;
  while ((found = find_done(tokens, count)) < 0 &&
         sleep_on(&pool->any, &pool->lock, timeout_ns, &until)) {
  }
  pool->callers--;
  pthread_mutex_unlock(&pool->lock);
  return found >= 0 ? found : find_done(tokens, count);
}

int rf_pool_wait_all(struct rf_pool *pool, int64_t timeout_ns) {
  if (!rf_is_alive(pool->alive)) return -EBADF;
  struct timespec until = time_at(timeout_ns < 0 ? 0 : timeout_ns);
  pthread_mutex_lock(&pool->lock);
  pool->callers++;
  while (pool->live > 0 && sleep_on(&pool->any, &pool->lock, timeout_ns, &until)) {
  }
  bool none = pool->live == 0;
  pool->callers--;
  pthread_mutex_unlock(&pool->lock);
  return none ? 0 : -ETIMEDOUT;
}

/* ---- stopping, giving back ------------------------------------------------------------------- */

int rf_transfer_cancel(struct rf_transfer *token) {
  if (rf_transfer_test(token, NULL)) return 0;
  struct rf_pool *pool = token->pool;
  if (!rf_is_alive(pool->alive)) return -EBADF;
  pthread_mutex_lock(&pool->lock);
  rf_transfer_stop(token, -ECANCELED);
  pthread_mutex_unlock(&pool->lock);
  return 0;
}

int rf_transfer_release(struct rf_transfer *token) {
  if (token == NULL) return 0;
  if (!rf_transfer_test(token, NULL) && rf_is_alive(token->pool->alive)) return -EBUSY;
  if (token->waiters == 0) pthread_cond_destroy(&token->finished); /* see rf_pool_disown() */
  rf_pool_disown(token->pool);
  free(token);
  return 0;
}

void *rf_transfer_user(const struct rf_transfer *token) {
  return token->request.user;
}
