// SPDX-License-Identifier: Apache-2.0
// Faults for tests: an injector (ringfall/fault_injection.h), what it was told to do, and what was
// really done behind it.
//
//     fault_rig::Faults faults;                       // outlives the engine
//     faults.Plan("stand_in short=7:io_uring");
//     rig.Open(faults.injector());
#ifndef RINGFALL_TESTS_FAULT_RIG_H
#define RINGFALL_TESTS_FAULT_RIG_H

#include <gtest/gtest.h>
#include <ringfall/fault_injection.h>
#include <ringfall/ringfall.h>

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace fault_rig {

// "" and the plan; or what is wrong with the text.
inline std::string Parse(const std::string &text, rf_fault_plan *plan) {
  const char *where = nullptr;
  int status = rf_fault_plan_parse(text.c_str(), plan, &where);
  if (status == 0) return "";
  return std::to_string(status) + " at \"" + (where == nullptr ? "?" : where) + "\"";
}

inline std::string Print(const rf_fault_plan &plan) {
  std::string text(static_cast<size_t>(rf_fault_plan_print(&plan, nullptr, 0)), '\0');
  rf_fault_plan_print(&plan, text.data(), text.size() + 1);
  return text;
}

class Faults {
public:
  Faults() {
    rf_fault_plan none = {};
    EXPECT_EQ(rf_fault_injector_open(&none, &injector_), 0);
    rf_fault_injector_observe(injector_, Note, this);
  }
  Faults(const Faults &) = delete;
  Faults &operator=(const Faults &) = delete;
  ~Faults() { rf_fault_injector_close(injector_); }

  // May be called at any time; what is in flight keeps what it was given.
  void Plan(const std::string &text) {
    rf_fault_plan plan = {};
    ASSERT_EQ(Parse(text, &plan), "") << text;
    ASSERT_EQ(rf_fault_injector_plan(injector_, &plan), 0) << text;
  }

  rf_fault_injector *injector() { return injector_; }

  rf_fault_counts Counts() const {
    rf_fault_counts counts;
    rf_fault_injector_counts(injector_, &counts);
    return counts;
  }

  // Requests that this backend really did.
  std::vector<rf_fault_event> Done(rf_backend_id id) const {
    std::vector<rf_fault_event> done;
    std::lock_guard<std::mutex> hold(lock_);
    for (const rf_fault_event &event : events_)
      if (event.backend == id && !event.made_up) done.push_back(event);
    return done;
  }

  // How often each byte of [0, size) was written, by all backends together.
  std::vector<unsigned> TimesWritten(size_t size) const {
    std::vector<unsigned> times(size, 0);
    std::lock_guard<std::mutex> hold(lock_);
    for (const rf_fault_event &event : events_) {
      bool write = event.op == RF_OP_WRITE || event.op == RF_OP_WRITEV;
      if (!write || event.made_up || event.res <= 0) continue;
      uint64_t end = event.offset + static_cast<uint64_t>(event.res);
      for (uint64_t at = event.offset; at < end && at < size; at++) times[at]++;
    }
    return times;
  }

  // What the core did against its contract with the backends; empty is right.
  std::string BrokenRule() const {
    const char *rule = rf_fault_broken_rule(injector_);
    return rule == nullptr ? "" : rule;
  }

private:
  static void Note(void *context, const rf_fault_event *event) {
    auto *self = static_cast<Faults *>(context);
    std::lock_guard<std::mutex> hold(self->lock_);
    self->events_.push_back(*event);
  }

  rf_fault_injector *injector_ = nullptr;
  mutable std::mutex lock_;
  std::vector<rf_fault_event> events_;
};

} // namespace fault_rig

#endif
