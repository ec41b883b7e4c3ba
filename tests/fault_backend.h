// SPDX-License-Identifier: Apache-2.0
// Backends that go wrong by a plan: tables that wrap real ones, for rf_engine_open_with().
//
//     fault::Backends backends;             // in place of io_uring: threads, with a plan
//     backends.plan(RF_BACKEND_IO_URING).cut = 7;
//     rf_engine_open_with(&engine, &options, backends.tables());
//
// What is injected never is an answer out of thin air: it takes the place of what a request to the
// wrapped backend answered that did nothing.  So waiting, descriptors and capacity stay real.
// Everything that the core does against the contract of backend.h is written down.
//
// One Backends at a time, and its queues on one thread.
#ifndef RINGFALL_TESTS_FAULT_BACKEND_H
#define RINGFALL_TESTS_FAULT_BACKEND_H

#include <ringfall/ringfall.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "backends/backend.h"

namespace fault {

constexpr unsigned kForever = UINT32_MAX;
constexpr uint32_t kTransfers = 1u << RF_REQUEST_READ | 1u << RF_REQUEST_WRITE |
                                1u << RF_REQUEST_READV | 1u << RF_REQUEST_WRITEV;

// May be changed at any time; what is in flight keeps what it was given.
struct Plan {
  const rf_backend_ops *inner = &rf_threads_backend; // nullptr: the real one of that place

  int open_error = 0; // open() fails with this errno

  uint64_t cut = 0; // each transfer moves this many bytes at most; 0 = all

  // A request is not done but answered with this (negative errno, or 0), so many times.  Counted
  // for each kind and offset, so that every op of a test and every continuation meets it.
  int64_t answer = 0;
  unsigned answers = 0;
  uint32_t answer_kinds = ~0u; // only requests of these kinds
  uint64_t answer_from = 0;    // only at this offset in the file and above

  // submit() of requests answers this errno itself, so many times...
  int submit_error = 0;
  unsigned submit_errors = 0;
  unsigned submit_after = 0; // ...once it has taken this many requests

  int wait_error = 0;                // submit() of nothing, to wait, answers this errno
  unsigned take_most = RF_BATCH_MAX; // of one batch
  unsigned capacity = 0;             // 0 = that of the wrapped one
  uint32_t kinds_missing = 0;        // bits of RF_REQUEST_..., not offered
  uint32_t flags_missing = 0;        // RF_REQUEST_... flags, not offered
  bool reversed = false;             // answers that are there come in reverse order
};

// A request that was really done.
struct Execution {
  uint8_t kind;
  uint64_t offset;
  int64_t res;
};

struct Record {
  std::vector<Execution> executions;
  uint64_t injected = 0; // answers that were made up
  uint64_t taken = 0;    // requests
  uint64_t refusals = 0; // calls of submit() that answered an error
  unsigned most_in_flight = 0;
  unsigned opened = 0, closed = 0;
  std::map<std::pair<unsigned, uint64_t>, unsigned> answered;
};

class Backends {
public:
  Backends();
  ~Backends();
  Backends(const Backends &) = delete;
  Backends &operator=(const Backends &) = delete;

  // All three places are wrapped; a plan as it was made changes nothing, except that the threads
  // stand in for io_uring and libaio.
  const rf_backend_ops *const *tables() const;
  Plan &plan(rf_backend_id id) { return plans_[id]; }
  Record &record(rf_backend_id id) { return records_[id]; }

  // How often each byte of [0, size) was written, by all backends together.
  std::vector<unsigned> TimesWritten(size_t size) const;

  // What the core did that it must not; empty is right.
  std::string broken_rules;

private:
  Plan plans_[RF_BACKENDS];
  Record records_[RF_BACKENDS];
};

} // namespace fault

#endif
