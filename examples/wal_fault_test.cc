// SPDX-License-Identifier: Apache-2.0
// How to test what a program makes of errors that no disk will show on demand: the program's code
// (wal.c, unchanged) gets its engine from rf_fault_engine_open(), whose backends go wrong by a
// plan. What is checked is the program's promise, not the library's:
//   - an append that was answered 0 is there afterwards, whatever happened besides;
//   - an append that went wrong says so, and so do all that come after it;
//   - what is found is whole, and nothing that nobody wrote.
// Needs GoogleTest; in this repository it is run as //tests/examples:wal_fault_test.
#include "wal.h"

#include <gtest/gtest.h>
#include <ringfall/fault_injection.h>
#include <ringfall/ringfall.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace {

using Records = std::vector<std::string>;

// For the whole test on each backend.  With "stand_in" in its plan threads stand in for io_uring
// and libaio, and the test does not depend on the host it runs on.
class WalFaults : public testing::TestWithParam<rf_backend_id> {
protected:
  void SetUp() override {
    const char *directory = getenv("TEST_TMPDIR");
    path = std::string(directory != nullptr ? directory : "/tmp") + "/wal_fault_test_" +
           std::to_string(getpid());
    unlink(path.c_str());
    // A log with two records, made without faults: plans then count from the first append on.
    Start("");
    Append("the first");
    Append("the second");
    Stop(0);
    ASSERT_EQ(acknowledged.size(), 2u);
  }

  void TearDown() override {
    if (engine != nullptr) Stop(0);
    unlink(path.c_str());
  }

  // What wal_open() answers while things go wrong by this plan.
  int Start(const std::string &plan_text) {
    rf_fault_plan plan = {};
    const char *where = nullptr;
    EXPECT_EQ(rf_fault_plan_parse(("stand_in " + plan_text).c_str(), &plan, &where), 0) << where;
    EXPECT_EQ(rf_fault_injector_open(&plan, &injector), 0);
    answered.clear();
    rf_fault_injector_observe(injector, Note, this);
    rf_engine_options options;
    rf_engine_options_init(&options);
    options.ignore_environment = true;
    options.choice = RF_CHOICE_REQUIRE;
    options.backend = GetParam();
    EXPECT_EQ(rf_fault_engine_open(injector, &engine, &options), 0);
    found.clear();
    recovery = {};
    return wal_open(engine, path.c_str(), Take, this, &recovery, &log);
  }

  // Closes everything; the log has to tell this error.
  void Stop(int status) {
    EXPECT_EQ(wal_close(log), status);
    log = nullptr;
    EXPECT_EQ(rf_engine_close(engine), 0) << "the log has left something open";
    EXPECT_EQ(rf_fault_broken_rule(injector), nullptr) << rf_fault_broken_rule(injector);
    rf_fault_injector_close(injector);
    engine = nullptr;
  }

  int Append(const std::string &text) {
    int status = wal_append(log, text.data(), text.size(), nullptr);
    if (status == 0) acknowledged.push_back(text);
    return status;
  }

  // After the accident: opens the log without faults, and holds it to its promise.  What was not
  // acknowledged may be there, too, behind the rest.
  void ExpectAllThatWasAcknowledged(const Records &perhaps_also = {}) {
    ASSERT_EQ(Start(""), 0);
    Records all = acknowledged;
    all.insert(all.end(), perhaps_also.begin(), perhaps_also.end());
    ASSERT_GE(found.size(), acknowledged.size());
    ASSERT_LE(found.size(), all.size());
    all.resize(found.size());
    EXPECT_EQ(found, all);
    acknowledged = found; // from now on nobody may lose them
    EXPECT_EQ(Append("life goes on"), 0);
    Stop(0);
    ASSERT_EQ(Start(""), 0);
    EXPECT_EQ(found, acknowledged);
    Stop(0);
  }

  uint64_t Requests() {
    rf_fault_counts counts;
    uint64_t sum = 0;
    rf_fault_injector_counts(injector, &counts);
    for (const auto &backend : counts.backends) sum += backend.taken;
    return sum;
  }

  uint64_t Injected(rf_fault_kind kind) {
    rf_fault_counts counts;
    rf_fault_injector_counts(injector, &counts);
    return counts.injected[kind];
  }

  std::string FileContent() {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  std::string path;
  rf_fault_injector *injector = nullptr;
  rf_engine *engine = nullptr;
  wal *log = nullptr;
  wal_recovery recovery = {};
  Records found, acknowledged;
  std::vector<std::string> answered; // the ops that were done, in order

private:
  // Called on the log's thread; it is looked at when that has ended.
  static void Note(void *self, const rf_fault_event *event) {
    static_cast<WalFaults *>(self)->answered.emplace_back(
        rf_op_name(static_cast<rf_op_kind>(event->op)));
  }
  static void Take(void *self, uint64_t, const void *data, size_t size) {
    static_cast<WalFaults *>(self)->found.emplace_back(static_cast<const char *>(data), size);
  }
};

// ---- what ringfall sees to: the program must not notice -----------------------------------------

TEST_P(WalFaults, ShortWritesAndInterruptionsAreNoticedByNobody) {
  for (int seed = 0; seed < 10; seed++) {
    std::string plan = "seed=" + std::to_string(seed) +
                       " short=50% error=EINTR:20% refuse=EAGAIN:x2 delay=100us:30%";
    SCOPED_TRACE(plan); // printed if it fails: it is all that is needed to see it again
    ASSERT_EQ(Start(plan), 0);
    for (int i = 0; i < 20; i++) EXPECT_EQ(Append(std::string(100, static_cast<char>('a' + i))), 0);
    EXPECT_GT(Injected(RF_FAULT_SHORT), 0u) << "or the test has tested nothing";
    Stop(0);
  }
  ExpectAllThatWasAcknowledged();
}

TEST_P(WalFaults, OneByteAtATimeIsEnough) {
  ASSERT_EQ(Start("short=1:write"), 0);
  EXPECT_EQ(Append("slowly"), 0);
  EXPECT_GT(Injected(RF_FAULT_SHORT), 5u);
  Stop(0);
  ExpectAllThatWasAcknowledged();
}

TEST_P(WalFaults, ABackendThatDiesTakesNothingWithIt) {
  if (GetParam() == RF_BACKEND_THREADS) GTEST_SKIP() << "needs a backend that can die";
  for (int request = 1; request < 12; request++) { // at every step of opening and appending
    SCOPED_TRACE("at request " + std::to_string(request));
    ASSERT_EQ(Start("death=EPERM@" + std::to_string(request)), 0);
    for (int i = 0; i < 4; i++) EXPECT_EQ(Append("in spite of it"), 0);
    EXPECT_GT(Injected(RF_FAULT_DEATH), 0u);
    Stop(0);
  }
  ExpectAllThatWasAcknowledged();
}

TEST_P(WalFaults, AFileSystemWithoutFallocateDoes) {
  ASSERT_EQ(Start("error=EOPNOTSUPP:fallocate"), 0);
  EXPECT_EQ(Append("one"), 0);
  EXPECT_EQ(Append("two"), 0);
  EXPECT_GT(Injected(RF_FAULT_ERROR), 0u);
  Stop(0);
  ExpectAllThatWasAcknowledged();
}

// ---- what the program must tell -----------------------------------------------------------------

TEST_P(WalFaults, AWriteThatFailsIsToldAndEndsTheLog) {
  ASSERT_EQ(Start("error=EIO:write@2"), 0);
  EXPECT_EQ(Append("fine"), 0);
  EXPECT_EQ(Append("fails"), -EIO);
  uint64_t before = Requests();
  EXPECT_EQ(Append("comes too late"), -EIO);
  EXPECT_EQ(Requests(), before) << "nothing is written behind a gap";
  Stop(-EIO);
  ExpectAllThatWasAcknowledged();
}

TEST_P(WalFaults, ADiskThatIsFullInTheMiddleOfARecordLeavesNoHalfOfIt) {
  ASSERT_EQ(Start("short=20:write@2 error=ENOSPC:write@3"), 0);
  EXPECT_EQ(Append("fine"), 0);
  EXPECT_EQ(Append("of this one 4 bytes are written"), -ENOSPC);
  EXPECT_EQ(Append("comes too late"), -ENOSPC);
  Stop(-ENOSPC);
  ASSERT_EQ(Start(""), 0);
  EXPECT_TRUE(recovery.torn);
  Stop(0);
  ExpectAllThatWasAcknowledged();
}

TEST_P(WalFaults, ADiskThatIsFullWhenRoomIsMadeIsTold) {
  ASSERT_EQ(Start("error=ENOSPC:fallocate"), 0);
  EXPECT_EQ(Append("there is no room"), -ENOSPC);
  Stop(-ENOSPC);
  ExpectAllThatWasAcknowledged();
}

// The kernel tells the error of a sync once; the next sync may succeed with the data lost.
TEST_P(WalFaults, ASyncThatFailsIsNeverTriedAgain) {
  ASSERT_EQ(Start("error=EIO:fdatasync@2"), 0);
  EXPECT_EQ(Append("durable"), 0);
  EXPECT_EQ(Append("who knows"), -EIO);
  uint64_t before = Requests();
  EXPECT_EQ(Append("comes too late"), -EIO);
  EXPECT_EQ(Requests(), before) << "a second sync would be a lie";
  Stop(-EIO);
  ExpectAllThatWasAcknowledged({"who knows"});
}

// A sync that overtakes the write in front of it makes nothing durable, and succeeds.
TEST_P(WalFaults, NothingIsBegunBeforeWhatIsInFrontOfItWentWell) {
  ASSERT_EQ(Start("error=EIO:write@2"), 0);
  EXPECT_EQ(Append("fine"), 0);
  EXPECT_EQ(Append("fails"), -EIO);
  Stop(-EIO);
  const std::vector<std::string> steps = {"fallocate", "write", "fdatasync", "write"};
  ASSERT_GE(answered.size(), steps.size());
  EXPECT_EQ(
      std::vector<std::string>(answered.end() - static_cast<int>(steps.size()), answered.end()),
      steps);
  ExpectAllThatWasAcknowledged();
}

// As when a ring is taken away: whether it was done, nobody knows.
TEST_P(WalFaults, AnAnswerThatIsLostCountsAsAnError) {
  for (const std::string op : {"write", "fdatasync"}) {
    SCOPED_TRACE(op);
    ASSERT_EQ(Start("error=EOWNERDEAD:" + op + "@1"), 0);
    EXPECT_EQ(Append("lost with " + op), -EOWNERDEAD);
    EXPECT_EQ(Append("comes too late"), -EOWNERDEAD);
    Stop(-EOWNERDEAD);
    ExpectAllThatWasAcknowledged({"lost with " + op});
  }
}

// ---- recovery under fire ------------------------------------------------------------------------

TEST_P(WalFaults, AnErrorOfReadingIsNotTheEndOfTheLog) {
  // More than recovery reads at once: half a MiB, and one record that ends just there.
  ASSERT_EQ(Start(""), 0);
  uint64_t left = 524288 - recovery.end;
  for (; left > 16 + WAL_RECORD_MAX; left -= 16 + WAL_RECORD_MAX)
    EXPECT_EQ(Append(std::string(WAL_RECORD_MAX, 'm')), 0);
  EXPECT_EQ(Append(std::string(left - 16, 'e')), 0);
  for (char c = 'a'; c <= 'h'; c++) EXPECT_EQ(Append(std::string(65535, c)), 0);
  Stop(0);
  const std::string before = FileContent();
  for (const char *read : {"1", "2", "3"}) {
    EXPECT_EQ(Start(std::string("error=EIO:read@") + read), -EIO);
    Stop(0);
    EXPECT_TRUE(FileContent() == before) << "it must not be cut off for that";
  }
  ExpectAllThatWasAcknowledged();
}

TEST_P(WalFaults, ALogThatCannotBeMadeDurableIsNotOpened) {
  EXPECT_EQ(Start("error=EIO:fsync"), -EIO);
  Stop(0);
  ExpectAllThatWasAcknowledged();
}

// What the page cache has, the disk may not have: see recover() in wal.c.
TEST_P(WalFaults, RecoveryReadsTheDiskWhereItCan) {
  rf_directory directory;
  ASSERT_EQ(rf_probe_directory(path.substr(0, path.rfind('/')).c_str(), &directory), 0);
  const bool possible = directory.direct_error == 0;
  EXPECT_EQ(Start("error=EIO:read,direct"), possible ? -EIO : 0);
  Stop(0);
  ExpectAllThatWasAcknowledged();
}

// ---- group commit, made visible by a disk that is slow to sync ----------------------------------

TEST_P(WalFaults, ManyThreadsShareOneSync) {
  ASSERT_EQ(Start("delay=2ms:fdatasync"), 0);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; i++)
    threads.emplace_back([this] {
      for (int j = 0; j < 10; j++) EXPECT_EQ(wal_append(log, "together", 8, nullptr), 0);
    });
  for (std::thread &thread : threads) thread.join();
  acknowledged.insert(acknowledged.end(), 80, "together");
  wal_stats stats;
  wal_get_stats(log, &stats);
  EXPECT_EQ(stats.appended, 80u);
  EXPECT_LT(stats.batches, 80u);
  Stop(0);
  ExpectAllThatWasAcknowledged();
}

INSTANTIATE_TEST_SUITE_P(
    On, WalFaults, testing::Values(RF_BACKEND_IO_URING, RF_BACKEND_LIBAIO, RF_BACKEND_THREADS),
    [](const auto &backend) { return std::string(rf_backend_name(backend.param)); });

} // namespace
