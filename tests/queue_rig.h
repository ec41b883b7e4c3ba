// SPDX-License-Identifier: Apache-2.0
// An engine, a queue, a file and what was logged, for tests that do real I/O through the public
// API.
#ifndef RINGFALL_TESTS_QUEUE_RIG_H
#define RINGFALL_TESTS_QUEUE_RIG_H

#include <gtest/gtest.h>
#include <ringfall/fault_injection.h>
#include <ringfall/ringfall.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "engine/substitute.h"

namespace queue_rig {

// A wait that takes longer has lost something; never the time that a test takes.
constexpr int64_t kLostNs = INT64_C(20000000000);

inline std::string Pattern(size_t size, uint32_t seed = 1) {
  std::string data(size, '\0');
  for (char &byte : data) {
    seed = seed * 1664525u + 1013904223u;
    byte = static_cast<char>(seed >> 24);
  }
  return data;
}

class Rig {
public:
  Rig() { rf_engine_options_init(&engine_options), rf_queue_options_init(&queue_options); }
  Rig(const Rig &) = delete;
  Rig &operator=(const Rig &) = delete;
  ~Rig() {
    if (lost_) return; // closing would wait for what never comes
    rf_queue_close(queue);
    rf_file_close(file);
    if (engine != nullptr) {
      EXPECT_EQ(rf_engine_close(engine), 0);
    }
    if (fd >= 0) close(fd);
  }

  // A new empty file without a name, of the rig's own.
  void OpenFile() {
    const char *given = getenv("TEST_TMPDIR");
    std::string path = std::string(given != nullptr ? given : "/tmp") + "/ringfall-test-XXXXXX";
    fd = mkstemp(path.data());
    ASSERT_GE(fd, 0);
    unlink(path.c_str());
  }

  void PrepareOptions() {
    engine_options.ignore_environment = engine_options.ignore_environment || !use_environment;
    engine_options.log = Take;
    engine_options.log_context = this;
  }

  int OpenEngine(const rf_substitute *substitute) {
    PrepareOptions();
    return rf_engine_open_with(&engine, &engine_options, substitute);
  }

  int OpenEngine(rf_fault_injector *injector = nullptr) {
    PrepareOptions();
    return injector != nullptr ? rf_fault_engine_open(injector, &engine, &engine_options)
                               : rf_engine_open(&engine, &engine_options);
  }

  int OpenQueue() {
    if (fd < 0) OpenFile();
    if (file == nullptr) {
      int status = rf_file_from_fd(engine, fd, false, &file);
      if (status != 0) return status;
    }
    return rf_queue_open(engine, &queue_options, &queue);
  }

  // 0 if both succeed.  By default with the host's backends, else with what OpenEngine() takes.
  int Open() { return Open(static_cast<rf_fault_injector *>(nullptr)); }
  template <typename Backends> int Open(Backends *backends) {
    if (fd < 0) OpenFile();
    int status = OpenEngine(backends);
    return status != 0 ? status : OpenQueue();
  }

  int CloseQueue() {
    rf_queue *old = queue;
    queue = nullptr;
    return rf_queue_close(old);
  }

  rf_counters Counters() {
    rf_counters counters = {};
    EXPECT_EQ(rf_queue_counters(queue, &counters), 0);
    return counters;
  }

  const rf_verdict &Verdict(rf_backend_id id) { return rf_engine_host(engine)->verdicts[id]; }

  // Does these ops, as many at a time as there is room for.  Every one has exactly one completion,
  // or the test fails.  In order of completion.
  std::vector<rf_completion> Do(const std::vector<rf_op> &ops) {
    std::vector<rf_completion> all;
    std::map<uint64_t, int> open;
    for (const rf_op &op : ops) open[op.user_data]++;
    size_t at = 0;
    while (all.size() < ops.size()) {
      rf_completion some[64];
      unsigned accepted = 0;
      int n = rf_submit_and_wait(queue, ops.data() + at, static_cast<unsigned>(ops.size() - at),
                                 &accepted, some, 1, 64, kLostNs);
      if (n <= 0) {
        lost_ = true;
        ADD_FAILURE() << "no completion (" << n << ") after " << all.size() << " of " << ops.size();
        return all;
      }
      at += accepted;
      all.insert(all.end(), some, some + n);
      for (int i = 0; i < n; i++) {
        EXPECT_GT(open[some[i].user_data]--, 0) << "op " << some[i].user_data << " came twice";
      }
    }
    rf_completion more;
    EXPECT_EQ(rf_wait(queue, &more, 0, 1, 0), 0) << "one completion too many";
    return all;
  }

  rf_completion Do(const rf_op &op) {
    std::vector<rf_completion> one = Do(std::vector<rf_op>{op});
    return one.empty() ? rf_completion{op.user_data, -1, -ENOMSG, op.kind, RF_BACKENDS} : one[0];
  }

  // Blocks of `data`, to be written or read (into it) by one op each.
  std::vector<rf_op> Blocks(rf_op_kind kind, std::string *data, size_t block) {
    std::vector<rf_op> ops;
    for (size_t at = 0; at < data->size(); at += block) {
      size_t len = std::min(block, data->size() - at);
      rf_op op = kind == RF_OP_READ ? rf_op_read(file, data->data() + at, len, at, ops.size())
                                    : rf_op_write(file, data->data() + at, len, at, ops.size());
      ops.push_back(op);
    }
    return ops;
  }

  // What is in the file, by plain system calls.
  std::string Content(size_t size) {
    std::string data(size, '\0');
    ssize_t got = pread(fd, data.data(), size, 0);
    data.resize(got < 0 ? 0 : static_cast<size_t>(got));
    return data;
  }

  // Writes, makes it durable, reads back, compares.  True if all of it was right.
  bool RoundTrip(size_t count = 64, size_t block = 4096, uint32_t seed = 7) {
    std::string data = Pattern(count * block, seed), back(data.size(), '\0');
    bool right = Completed(Do(Blocks(RF_OP_WRITE, &data, block)), count, block) &&
                 Do(rf_op_fsync(file, 1)).status == 0;
    right = right && Completed(Do(Blocks(RF_OP_READ, &back, block)), count, block);
    EXPECT_TRUE(right);
    EXPECT_TRUE(back == data) << "read back other bytes";
    EXPECT_TRUE(Content(data.size()) == data) << "the file has other bytes";
    return right && back == data;
  }

  bool Completed(const std::vector<rf_completion> &all, size_t count, size_t bytes) {
    EXPECT_EQ(all.size(), count);
    bool right = all.size() == count;
    for (const rf_completion &c : all) {
      EXPECT_EQ(c.status, 0) << "op " << c.user_data;
      EXPECT_EQ(c.bytes, static_cast<int64_t>(bytes)) << "op " << c.user_data;
      right = right && c.status == 0 && c.bytes == static_cast<int64_t>(bytes);
    }
    return right;
  }

  bool Logged(rf_log_level level, const std::vector<std::string> &parts) const {
    for (const auto &line : log) {
      bool has = line.first == level;
      for (const std::string &part : parts)
        has = has && line.second.find(part) != std::string::npos;
      if (has) return true;
    }
    return false;
  }

  std::string Log() const {
    std::string all;
    for (const auto &line : log) all += std::to_string(line.first) + " " + line.second + "\n";
    return all;
  }

  rf_engine_options engine_options;
  rf_queue_options queue_options;
  bool use_environment = false;
  rf_engine *engine = nullptr;
  rf_queue *queue = nullptr;
  rf_file *file = nullptr;
  int fd = -1;
  std::vector<std::pair<rf_log_level, std::string>> log;

private:
  static void Take(void *context, rf_log_level level, const char *message) {
    static_cast<Rig *>(context)->log.emplace_back(level, message);
  }

  bool lost_ = false;
};

} // namespace queue_rig

#endif
