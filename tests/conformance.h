// SPDX-License-Identifier: Apache-2.0
// The fixture of the conformance suite: one body of tests, run on every backend, buffered and
// direct, on a disk and in memory.  The tests know no backend; whether one ought to work on this
// host is found out by raw system calls, and one that works but cannot be opened is a failure.
//
// The suite is spread over conformance_*_test.cc; each ends with RF_CONFORMANCE_EVERYWHERE().
#ifndef RINGFALL_TESTS_CONFORMANCE_H
#define RINGFALL_TESTS_CONFORMANCE_H

#include <fcntl.h>
#include <gtest/gtest.h>
#include <ringfall/ringfall.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/engines.h"
#include "tests/in_child.h"
#include "tests/raw_host.h"
#include "tests/test_files.h"

namespace conformance {

using engines::Engines;
using engines::OpenEngine;
using test_files::Buffer;
using test_files::DiffersFromPattern;
using test_files::IsAll;
using test_files::kGigabytes;
using test_files::kMilliseconds;
using test_files::kPatience;
using test_files::kThreadSanitizer;
using test_files::PatternAt;
using test_files::Place;
using test_files::Stopwatch;

enum class Mode { kBuffered, kDirect };

struct Case {
  rf_backend_id backend;
  Mode mode;
  Place place;
};

inline std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (int id = 0; id < RF_BACKENDS; id++)
    for (Mode mode : {Mode::kBuffered, Mode::kDirect})
      for (Place place : {Place::kDisk, Place::kTmpfs})
        cases.push_back({static_cast<rf_backend_id>(id), mode, place});
  return cases;
}

inline std::string CaseName(const testing::TestParamInfo<Case> &info) {
  std::string name = rf_backend_name(info.param.backend);
  name += info.param.mode == Mode::kDirect ? "_Direct" : "_Buffered";
  return name + (info.param.place == Place::kDisk ? "_Disk" : "_Tmpfs");
}

// ---- small things ------------------------------------------------------------------------------

inline uint64_t FellBack(const rf_counters &counters, rf_op_kind kind) {
  uint64_t sum = 0;
  for (uint64_t count : counters.fell_back[kind]) sum += count;
  return sum;
}

inline rf_op Flagged(rf_op op, unsigned flags) {
  op.flags = static_cast<uint8_t>(op.flags | flags);
  return op;
}

inline rf_op WithDeadline(rf_op op, int64_t ns) {
  op.deadline_ns = static_cast<uint64_t>(ns);
  return op;
}

// ---- the fixture -------------------------------------------------------------------------------

class Conformance : public testing::TestWithParam<Case>, protected test_files::Files {
protected:
  void SetUp() override {
    rf_backend_id backend = GetParam().backend;
    if (!FindDirectory(place())) GTEST_SKIP() << "needs " << NameOf(place());
    int status = Engines::Get()->Find(backend, &engine_);
    if (!raw_host::Works(backend)) {
      EXPECT_EQ(-ENOTSUP, status);
      GTEST_SKIP() << "needs " << rf_backend_name(backend) << ", which this kernel refuses";
    }
    ASSERT_EQ(0, status) << rf_backend_name(backend) << " works on this host, by raw system calls";
    if (direct() && DirectFlag() == 0) GTEST_SKIP() << "needs O_DIRECT on " << directory();
  }

  void TearDown() override {
    CloseAll();
    RemoveAll();
  }

  void CloseAll() {
    for (rf_queue *queue : queues_) EXPECT_EQ(0, rf_queue_close(queue));
    for (rf_file *file : files_) EXPECT_EQ(0, rf_file_close(file));
    CloseFds();
    queues_.clear();
    files_.clear();
  }

  // In a forked child: an engine of its own in place of the one that died with the fork.
  void StartAnewInChild() {
    queues_.clear();
    files_.clear();
    ASSERT_EQ(0, OpenEngine(GetParam().backend, &engine_));
  }

  bool direct() const { return GetParam().mode == Mode::kDirect; }
  Place place() const { return GetParam().place; }
  rf_engine *engine() const { return engine_; }

  // Opens it as the case says: with O_DIRECT or without.
  rf_file *Open(const std::string &path, int flags = O_RDWR | O_CREAT) {
    rf_file *file = nullptr;
    EXPECT_EQ(0,
              rf_file_open(engine_, path.c_str(), flags | (direct() ? O_DIRECT : 0), 0600, &file))
        << path;
    if (file == nullptr) throw std::runtime_error("no file to go on with"); // ends the test
    files_.push_back(file);
    return file;
  }

  rf_file *Adopt(int fd) { // the descriptor stays the test's
    rf_file *file = nullptr;
    EXPECT_EQ(0, rf_file_from_fd(engine_, fd, false, &file));
    if (file == nullptr) throw std::runtime_error("no file to go on with"); // ends the test
    files_.push_back(file);
    return file;
  }

  void Forget(rf_file *file) { files_.erase(std::find(files_.begin(), files_.end(), file)); }
  void Forget(rf_queue *queue) { queues_.erase(std::find(queues_.begin(), queues_.end(), queue)); }

  // A file whose descriptor was closed behind its back.
  rf_file *OpenBroken() {
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 900); // a number that nothing else will take
    close(fd);
    EXPECT_GE(high, 900);
    rf_file *file = Adopt(high);
    close(high);
    return file;
  }

  rf_queue *OpenQueue(unsigned depth = 64, bool latency = false, unsigned batch = 32) {
    rf_queue_options options;
    rf_queue_options_init(&options);
    options.depth = depth;
    options.latency = latency;
    options.batch = batch;
    rf_queue *queue = nullptr;
    EXPECT_EQ(0, rf_queue_open(engine_, &options, &queue)) << "depth " << depth;
    if (queue == nullptr) throw std::runtime_error("no queue to go on with"); // ends the test
    queues_.push_back(queue);
    return queue;
  }

  // An op that blocks: a read from a pipe in which there is nothing.
  struct Pipe {
    rf_file *file = nullptr; // the end to read from
    int write_end = -1;
    char byte[8] = {};

    rf_op Read(uint64_t user_data, uint64_t len = 1) {
      return rf_op_read(file, byte, len, 0, user_data);
    }
    void Write(size_t bytes = 1) {
      EXPECT_EQ(static_cast<ssize_t>(bytes), write(write_end, "abcdefgh", bytes));
    }
  };
  std::unique_ptr<Pipe> NewPipe() {
    int ends[2];
    EXPECT_EQ(0, pipe2(ends, O_CLOEXEC));
    CloseLater(ends[0]);
    CloseLater(ends[1]);
    auto made = std::make_unique<Pipe>();
    made->file = Adopt(ends[0]);
    made->write_end = ends[1];
    return made;
  }

  // Submits them all and waits for them all; each user_data has to come back exactly once.
  std::map<uint64_t, rf_completion> RunAll(rf_queue *queue, const std::vector<rf_op> &ops) {
    std::map<uint64_t, rf_completion> answers;
    std::vector<rf_completion> room(64);
    size_t sent = 0;
    while (answers.size() < ops.size()) {
      unsigned accepted = 0;
      int got =
          rf_submit_and_wait(queue, ops.data() + sent, static_cast<unsigned>(ops.size() - sent),
                             &accepted, room.data(), 1, 64, kPatience);
      sent += accepted;
      EXPECT_GT(got, 0) << "after " << answers.size() << " of " << ops.size();
      if (got <= 0) break;
      for (int i = 0; i < got; i++)
        EXPECT_TRUE(answers.emplace(room[i].user_data, room[i]).second)
            << "a second completion for " << room[i].user_data;
    }
    return answers;
  }

  rf_completion Run(rf_queue *queue, const rf_op &op) {
    rf_completion answer = {};
    answer.status = -ENOMSG;
    EXPECT_EQ(1, rf_submit_and_wait(queue, &op, 1, nullptr, &answer, 1, 1, kPatience));
    EXPECT_EQ(op.user_data, answer.user_data);
    EXPECT_EQ(op.kind, answer.kind);
    return answer;
  }

  std::map<uint64_t, rf_completion> WaitAll(rf_queue *queue, unsigned count) {
    std::map<uint64_t, rf_completion> answers;
    while (answers.size() < count) {
      rf_completion one;
      int got = rf_wait(queue, &one, 1, 1, kPatience);
      EXPECT_EQ(1, got) << "after " << answers.size() << " of " << count;
      if (got != 1) break;
      EXPECT_TRUE(answers.emplace(one.user_data, one).second);
    }
    return answers;
  }

  // The least unit that direct I/O takes; 1 without it.
  static size_t Unit(const rf_file *file) {
    const rf_file_info *info = rf_file_get_info(file);
    return info->direct ? std::max<size_t>(1, info->offset_align) : 1;
  }

private:
  rf_engine *engine_ = nullptr;
  std::vector<rf_queue *> queues_;
  std::vector<rf_file *> files_;
};

} // namespace conformance

#define RF_CONFORMANCE_EVERYWHERE()                                                                \
  INSTANTIATE_TEST_SUITE_P(Everywhere, Conformance, testing::ValuesIn(AllCases()), CaseName)

#endif
