// SPDX-License-Identifier: Apache-2.0
// The real backends, with everything that the core hands to them written down: for tests of which
// way an op took.
//
//     observed::Backends backends;
//     backends.Without(RF_BACKEND_IO_URING);   // cannot be opened: AUTO goes on to libaio
//     rf_engine_open_with(&engine, &options, backends.substitute());
//
// One Backends at a time; its queues may be on any threads.
#ifndef RINGFALL_TESTS_OBSERVED_BACKEND_H
#define RINGFALL_TESTS_OBSERVED_BACKEND_H

#include <ringfall/ringfall.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "engine/substitute.h"

namespace observed {

struct Seen {
  rf_backend_id backend;
  uint8_t kind;       // enum rf_request_kind
  uint8_t flags;      // enum rf_request_flags
  uint16_t file_slot; // of those with FIXED_FILE
  uint64_t offset;

  bool Has(unsigned flag) const { return (flags & flag) != 0; }
};

class Backends {
public:
  Backends() {
    in_use_ = this;
    Fill<RF_BACKEND_IO_URING>();
    Fill<RF_BACKEND_LIBAIO>();
    Fill<RF_BACKEND_THREADS>();
  }
  ~Backends() { in_use_ = nullptr; }
  Backends(const Backends &) = delete;
  Backends &operator=(const Backends &) = delete;

  const rf_substitute *substitute() const { return &substitute_; }
  // The object opened last.
  rf_backend *opened(rf_backend_id id) const { return opened_[id]; }

  void Without(rf_backend_id id) { without_[id] = true; }

  // What was taken by a backend since the last call, in order.
  std::vector<Seen> Take() {
    std::lock_guard<std::mutex> hold(lock_);
    std::vector<Seen> all;
    all.swap(seen_);
    return all;
  }

  // How many hand-overs there were since the last call.
  unsigned TakeBatches() {
    std::lock_guard<std::mutex> hold(lock_);
    return std::exchange(batches_, 0u);
  }

private:
  template <rf_backend_id kId> void Fill() {
    ops_[kId] = *rf_backend_tables[kId];
    ops_[kId].open = Open<kId>;
    ops_[kId].submit = Submit<kId>;
    tables_[kId] = &ops_[kId];
  }

  // The object is the real one's own: only the table that the core looks at is ours.
  template <rf_backend_id kId>
  static int Open(const rf_backend_config *config, rf_backend **out, rf_backend_report *report) {
    if (in_use_->without_[kId]) {
      rf_report_refusal(report, "open", ENOSYS);
      return -ENOSYS;
    }
    int status = rf_backend_tables[kId]->open(config, out, report);
    if (status == 0) {
      (*out)->ops = &in_use_->ops_[kId];
      in_use_->opened_[kId] = *out;
    }
    return status;
  }

  template <rf_backend_id kId>
  static int Submit(rf_backend *backend, rf_request *const *requests, unsigned n, unsigned wait,
                    int64_t timeout_ns) {
    std::vector<Seen> shown;
    for (unsigned i = 0; i < n; i++) {
      const rf_request &request = *requests[i];
      bool transfer = request.kind >= RF_REQUEST_READ && request.kind <= RF_REQUEST_WRITEV;
      shown.push_back({kId, request.kind, request.flags, transfer ? request.file_slot : uint16_t{0},
                       request.offset});
    }
    int status = rf_backend_tables[kId]->submit(backend, requests, n, wait, timeout_ns);
    if (n > 0 && status > 0) in_use_->Note(shown, static_cast<unsigned>(status));
    return status;
  }

  void Note(const std::vector<Seen> &shown, unsigned taken) {
    std::lock_guard<std::mutex> hold(lock_);
    seen_.insert(seen_.end(), shown.begin(), shown.begin() + taken);
    batches_++;
  }

  static inline Backends *in_use_ = nullptr;
  rf_backend_ops ops_[RF_BACKENDS];
  const rf_backend_ops *tables_[RF_BACKENDS];
  const rf_substitute substitute_ = {tables_, nullptr, false};
  bool without_[RF_BACKENDS] = {};
  rf_backend *opened_[RF_BACKENDS] = {};
  std::mutex lock_;
  std::vector<Seen> seen_;
  unsigned batches_ = 0;
};

// How many of them have this flag.
inline size_t CountFlag(const std::vector<Seen> &seen, unsigned flag) {
  return static_cast<size_t>(
      std::count_if(seen.begin(), seen.end(), [=](const Seen &one) { return one.Has(flag); }));
}

} // namespace observed

#endif
