// SPDX-License-Identifier: Apache-2.0
#include "tests/fault_backend.h"

#include <algorithm>
#include <cerrno>
#include <memory>

namespace fault {
namespace {

Backends *in_use = nullptr;

// What the wrapped backend sees instead of the core's request.
struct Shadow {
  rf_request request;
  rf_request *original;
  bool injected;
  int64_t answer;
  std::vector<iovec> iov;
};

struct Wrapper {
  rf_backend base; // first: the core's view
  rf_backend *inner = nullptr;
  Plan *plan = nullptr;
  Record *record = nullptr;
  unsigned in_flight = 0;
  std::vector<std::unique_ptr<Shadow>> shadows;
  std::vector<Shadow *> free;
  std::vector<rf_result> ready; // came back from the wrapped one, not yet reaped
};

Wrapper *WrapperOf(rf_backend *backend) {
  return reinterpret_cast<Wrapper *>(backend);
}

void Check(bool kept, const char *rule) {
  if (!kept && in_use != nullptr) in_use->broken_rules += std::string(rule) + "\n";
}

// ---- requests ----------------------------------------------------------------------------------

bool IsTransfer(const rf_request &request) {
  return kTransfers & 1u << request.kind;
}

bool IsVector(const rf_request &request) {
  return request.kind == RF_REQUEST_READV || request.kind == RF_REQUEST_WRITEV;
}

// The first `most` bytes of the request.
void Cut(Shadow *shadow, uint64_t most) {
  rf_request &request = shadow->request;
  if (!IsVector(request)) {
    request.len = std::min(request.len, most);
    return;
  }
  shadow->iov.clear();
  for (uint64_t i = 0; i < request.len && most > 0; i++) {
    iovec part = request.iov[i];
    part.iov_len = std::min<uint64_t>(part.iov_len, most);
    most -= part.iov_len;
    shadow->iov.push_back(part);
  }
  request.iov = shadow->iov.data();
  request.len = shadow->iov.size();
}

// Something that does nothing, and can be done by any backend.
void MakeHarmless(const Wrapper *self, rf_request *request) {
  bool nop = self->inner->kinds & 1u << RF_REQUEST_NOP;
  request->kind = nop ? RF_REQUEST_NOP : RF_REQUEST_READ;
  request->flags = 0;
  request->len = 0;
}

bool IsToBeInjected(Wrapper *self, const rf_request &request) {
  const Plan &plan = *self->plan;
  if (plan.answers == 0 || !(plan.answer_kinds & 1u << request.kind)) return false;
  if (request.offset < plan.answer_from) return false;
  unsigned &count = self->record->answered[{request.kind, request.offset}];
  if (plan.answers != kForever && count >= plan.answers) return false;
  count++;
  return true;
}

Shadow *Prepare(Wrapper *self, rf_request *original) {
  Shadow *shadow = self->free.back();
  self->free.pop_back();
  shadow->request = *original;
  shadow->original = original;
  shadow->injected = IsToBeInjected(self, *original);
  shadow->answer = self->plan->answer;
  if (shadow->injected)
    MakeHarmless(self, &shadow->request);
  else if (self->plan->cut > 0 && IsTransfer(shadow->request))
    Cut(shadow, self->plan->cut);
  return shadow;
}

// Not taken after all: as if it had never been shown.
void TakeBack(Wrapper *self, Shadow *shadow) {
  if (shadow->injected)
    self->record->answered[{shadow->original->kind, shadow->original->offset}]--;
  self->free.push_back(shadow);
}

// ---- the contract's functions ------------------------------------------------------------------

int Submit(rf_backend *backend, rf_request *const *requests, unsigned n, unsigned wait,
           int64_t timeout_ns) {
  Wrapper *self = WrapperOf(backend);
  Plan &plan = *self->plan;
  Check(n <= RF_BATCH_MAX, "a batch is too large");
  Check(self->in_flight + n <= self->base.capacity, "more in flight than the capacity");
  Check(wait <= self->in_flight + n, "a wait for more than is in flight");
  for (unsigned i = 0; i < n; i++) {
    Check(self->base.kinds & 1u << requests[i]->kind, "a kind that is not offered");
    Check(!(requests[i]->flags & ~self->base.flags), "a flag that is not offered");
  }
  if (n == 0) {
    if (plan.wait_error != 0) return -plan.wait_error;
    unsigned ready = static_cast<unsigned>(self->ready.size());
    if (wait <= ready) return 0;
    return self->inner->ops->submit(self->inner, nullptr, 0, wait - ready, timeout_ns);
  }

  unsigned most = std::min(n, plan.take_most);
  if (plan.submit_errors > 0) {
    uint64_t before =
        plan.submit_after - std::min<uint64_t>(plan.submit_after, self->record->taken);
    most = static_cast<unsigned>(std::min<uint64_t>(most, before));
    if (most == 0) {
      if (plan.submit_errors != kForever) plan.submit_errors--;
      self->record->refusals++;
      return -plan.submit_error;
    }
  }

  std::vector<Shadow *> shadows;
  std::vector<rf_request *> inner;
  for (unsigned i = 0; i < most; i++) {
    shadows.push_back(Prepare(self, requests[i]));
    inner.push_back(&shadows.back()->request);
  }
  int taken =
      self->inner->ops->submit(self->inner, inner.data(), most, most == n ? wait : 0, timeout_ns);
  for (unsigned i = taken < 0 ? 0 : static_cast<unsigned>(taken); i < most; i++)
    TakeBack(self, shadows[i]);
  if (taken < 0) return taken;
  self->record->taken += static_cast<unsigned>(taken);
  self->in_flight += static_cast<unsigned>(taken);
  self->record->most_in_flight = std::max(self->record->most_in_flight, self->in_flight);
  return taken;
}

void Answer(Wrapper *self, const rf_result &result) {
  Shadow *shadow = reinterpret_cast<Shadow *>(result.request);
  int64_t res = result.res;
  bool stopped = shadow->injected && res == -ECANCELED; // by cancel(), before it was answered
  if (!shadow->injected) {
    self->record->executions.push_back({shadow->original->kind, shadow->original->offset, res});
  } else if (!stopped) {
    self->record->injected++;
    res = shadow->answer;
  }
  self->ready.push_back({shadow->original, res});
  self->free.push_back(shadow);
}

unsigned Reap(rf_backend *backend, rf_result *results, unsigned max) {
  Wrapper *self = WrapperOf(backend);
  rf_result came[RF_BATCH_MAX];
  unsigned n;
  do {
    n = self->inner->ops->reap(self->inner, came, RF_BATCH_MAX);
    for (unsigned i = 0; i < n; i++) Answer(self, came[i]);
  } while (n == RF_BATCH_MAX);
  for (n = 0; n < max && !self->ready.empty(); n++) {
    auto at = self->plan->reversed ? self->ready.end() - 1 : self->ready.begin();
    results[n] = *at;
    self->ready.erase(at);
  }
  Check(n <= self->in_flight, "more answers than requests");
  self->in_flight -= n;
  return n;
}

int Cancel(rf_backend *backend, rf_request *request) {
  Wrapper *self = WrapperOf(backend);
  for (auto &shadow : self->shadows) {
    bool idle = std::find(self->free.begin(), self->free.end(), shadow.get()) != self->free.end();
    if (!idle && shadow->original == request)
      return self->inner->ops->cancel(self->inner, &shadow->request);
  }
  return -ENOENT;
}

int Pollable(rf_backend *backend) {
  Wrapper *self = WrapperOf(backend);
  return self->inner->ops->pollable(self->inner);
}

int Watch(rf_backend *backend, int fd) {
  Wrapper *self = WrapperOf(backend);
  return self->inner->ops->watch(self->inner, fd);
}

void Close(rf_backend *backend) {
  Wrapper *self = WrapperOf(backend);
  Check(self->in_flight == 0, "closed with requests in flight");
  self->record->closed++;
  self->inner->ops->close(self->inner);
  delete self;
}

void Abandon(rf_backend *backend) {
  Wrapper *self = WrapperOf(backend);
  self->inner->ops->abandon(self->inner);
  delete self;
}

int RegisterFile(rf_backend *backend, unsigned slot, int fd) {
  Wrapper *self = WrapperOf(backend);
  Check(slot < self->base.file_slots, "a file registered where there is no place");
  return self->inner->ops->register_file(self->inner, slot, fd);
}

int RegisterMemory(rf_backend *backend, unsigned slot, void *base, size_t size) {
  Wrapper *self = WrapperOf(backend);
  Check(slot < self->base.memory_slots, "memory registered where there is no place");
  return self->inner->ops->register_memory(self->inner, slot, base, size);
}

int Open(rf_backend_id id, const rf_backend_config *config, rf_backend **out,
         rf_backend_report *report) {
  Plan &plan = in_use->plan(id);
  const rf_backend_ops *inner_ops = plan.inner != nullptr ? plan.inner : rf_backend_tables[id];
  if (plan.open_error != 0) {
    report->syscall = "fault_setup";
    report->error = plan.open_error;
    return -plan.open_error;
  }
  auto self = std::make_unique<Wrapper>();
  int status = inner_ops->open(config, &self->inner, report);
  if (status != 0) return status;
  self->plan = &plan;
  self->record = &in_use->record(id);
  self->record->opened++;
  self->base = {};
  self->base.ops = in_use->tables()[id];
  self->base.kinds = self->inner->kinds & ~plan.kinds_missing;
  self->base.flags = self->inner->flags & ~plan.flags_missing;
  self->base.capacity = self->inner->capacity;
  self->base.file_slots = self->inner->file_slots;
  self->base.memory_slots = self->inner->memory_slots;
  if (plan.capacity != 0) self->base.capacity = std::min(plan.capacity, self->base.capacity);
  for (unsigned i = 0; i < self->base.capacity; i++) {
    self->shadows.push_back(std::make_unique<Shadow>());
    self->free.push_back(self->shadows.back().get());
  }
  *out = &self.release()->base;
  return 0;
}

template <rf_backend_id id>
int OpenAt(const rf_backend_config *config, rf_backend **out, rf_backend_report *report) {
  return Open(id, config, out, report);
}

template <rf_backend_id id> constexpr rf_backend_ops Table(const char *name, const char *call) {
  return {name, call,   OpenAt<id>, Close, Abandon,      Submit,
          Reap, Cancel, Pollable,   Watch, RegisterFile, RegisterMemory};
}

const rf_backend_ops uring_place = Table<RF_BACKEND_IO_URING>("io_uring", "fault_submit");
const rf_backend_ops libaio_place = Table<RF_BACKEND_LIBAIO>("libaio", "fault_submit");
const rf_backend_ops threads_place = Table<RF_BACKEND_THREADS>("threads", "fault_submit");
const rf_backend_ops *const places[RF_BACKENDS] = {&uring_place, &libaio_place, &threads_place};

} // namespace

Backends::Backends() {
  in_use = this;
}

Backends::~Backends() {
  in_use = nullptr;
}

const rf_backend_ops *const *Backends::tables() const {
  return places;
}

std::vector<unsigned> Backends::TimesWritten(size_t size) const {
  std::vector<unsigned> times(size, 0);
  for (const Record &record : records_) {
    for (const Execution &done : record.executions) {
      bool write = done.kind == RF_REQUEST_WRITE || done.kind == RF_REQUEST_WRITEV;
      if (!write || done.res <= 0) continue;
      uint64_t end = done.offset + static_cast<uint64_t>(done.res);
      for (uint64_t at = done.offset; at < end && at < size; at++) times[at]++;
    }
  }
  return times;
}

} // namespace fault
