// SPDX-License-Identifier: Apache-2.0
// What the core makes of backends that cut, refuse, delay, reorder, run dry and die.
#include "tests/fault_backend.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "tests/queue_rig.h"

namespace {

using fault::kForever;
using queue_rig::kLostNs;
using queue_rig::Pattern;

constexpr unsigned kRetries = 10; // RF_RETRIES of engine/internal.h
constexpr uint64_t kMillisecond = 1000000;
constexpr auto kMain = RF_BACKEND_IO_URING;
constexpr auto kThreads = RF_BACKEND_THREADS;

class Fault : public testing::Test {
protected:
  void Open(unsigned depth = 128) {
    rig.queue_options.depth = depth;
    ASSERT_EQ(rig.Open(backends.tables()), 0) << rig.Log();
    ASSERT_EQ(rf_queue_backend(rig.queue), kMain);
  }

  void TearDown() override {
    EXPECT_EQ(backends.broken_rules, "");
    EXPECT_GT(backends.record(kMain).opened, 0u) << "the test has tested nothing";
  }

  fault::Plan &plan() { return backends.plan(kMain); }
  fault::Record &record() { return backends.record(kMain); }

  void ExpectWrittenOnce(size_t size) {
    std::vector<unsigned> times = backends.TimesWritten(size);
    for (size_t at = 0; at < size; at++)
      ASSERT_EQ(times[at], 1u) << "byte " << at << " was written so many times";
  }

  uint64_t FellBack(rf_op_kind kind, rf_fallback_reason reason) {
    return rig.Counters().fell_back[kind][reason];
  }

  uint64_t FellBackInAll() {
    uint64_t all = 0;
    rf_counters counters = rig.Counters();
    for (auto &kind : counters.fell_back)
      for (uint64_t count : kind) all += count;
    return all;
  }

  // Turns the queue until it has tried again so many times; the ops stay where they are.
  void TurnUntilRetried(uint64_t times) {
    rf_completion none;
    int64_t until = static_cast<int64_t>(rf_now_ns()) + kLostNs;
    while (rig.Counters().retried < times) {
      ASSERT_EQ(rf_wait(rig.queue, &none, 1, 1, static_cast<int64_t>(kMillisecond)), 0);
      ASSERT_LT(static_cast<int64_t>(rf_now_ns()), until);
    }
  }

  fault::Backends backends; // outlives the rig
  queue_rig::Rig rig;
};

// ---- short transfers ---------------------------------------------------------------------------

class Cut : public Fault, public testing::WithParamInterface<unsigned> {
protected:
  // Lengths that no cut divides, and an empty part in the middle.
  std::vector<iovec> Parts(std::string *data) {
    std::vector<iovec> parts;
    const size_t lengths[] = {1, 700, 0, 33, 511, 512, 513, 1, 40};
    size_t at = 0;
    for (size_t length : lengths) {
      parts.push_back({data->data() + at, length});
      at += length;
    }
    EXPECT_EQ(at, data->size());
    return parts;
  }

  static constexpr size_t kSize = 2311;
};

TEST_P(Cut, WritesAndReadsAreContinuedToTheLastByte) {
  Open();
  plan().cut = GetParam();
  std::string data = Pattern(kSize), back(kSize, '\0');
  rf_completion done = rig.Do(rf_op_write(rig.file, data.data(), kSize, 0, 1));
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.bytes, static_cast<int64_t>(kSize));
  uint64_t calls = (kSize + GetParam() - 1) / GetParam();
  EXPECT_EQ(rig.Counters().requests, calls);
  EXPECT_EQ(rig.Counters().continued, calls - 1);
  EXPECT_TRUE(rig.Content(kSize) == data);
  ExpectWrittenOnce(kSize);
  done = rig.Do(rf_op_read(rig.file, back.data(), kSize, 0, 2));
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.bytes, static_cast<int64_t>(kSize));
  EXPECT_TRUE(back == data);
  EXPECT_EQ(rig.Counters().continued, 2 * (calls - 1));
  EXPECT_EQ(FellBackInAll(), 0u);
}

TEST_P(Cut, VectorsAreContinuedToTheLastByteOfTheLastPart) {
  Open();
  plan().cut = GetParam();
  std::string data = Pattern(kSize, 2), back(kSize, '\0');
  std::vector<iovec> from = Parts(&data), to = Parts(&back);
  rf_completion done = rig.Do(rf_op_writev(rig.file, from.data(), from.size(), 0, 1));
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.bytes, static_cast<int64_t>(kSize));
  EXPECT_TRUE(rig.Content(kSize) == data);
  ExpectWrittenOnce(kSize);
  done = rig.Do(rf_op_readv(rig.file, to.data(), to.size(), 0, 2));
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.bytes, static_cast<int64_t>(kSize));
  EXPECT_TRUE(back == data);
  EXPECT_EQ(rig.Counters().continued > 0, GetParam() < kSize);
}

TEST_P(Cut, AnOpThatAllowsShortHasWhatTheFirstCallMoved) {
  Open();
  plan().cut = GetParam();
  std::string data = Pattern(kSize), back(kSize, '\0');
  std::vector<iovec> to = Parts(&back);
  int64_t first = std::min<int64_t>(GetParam(), kSize);
  rf_op write = rf_op_write(rig.file, data.data(), kSize, 0, 1);
  write.flags = RF_OP_ALLOW_SHORT;
  rf_completion done = rig.Do(write);
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.bytes, first);
  EXPECT_TRUE(rig.Content(kSize) == data.substr(0, static_cast<size_t>(first)));
  rf_op readv = rf_op_readv(rig.file, to.data(), to.size(), 0, 2);
  readv.flags = RF_OP_ALLOW_SHORT;
  done = rig.Do(readv);
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.bytes, first);
  EXPECT_EQ(rig.Counters().continued, 0u);
  EXPECT_EQ(rig.Counters().requests, 2u);
}

INSTANTIATE_TEST_SUITE_P(Sizes, Cut, testing::Values(1u, 7u, 511u, 701u, 2310u, 4096u));

TEST_F(Fault, AReadThatIsCutStopsAtTheEndOfTheFile) {
  Open();
  std::string data = Pattern(1000), back(5000, '\0');
  ASSERT_EQ(pwrite(rig.fd, data.data(), data.size(), 0), 1000);
  plan().cut = 300;
  rf_completion done = rig.Do(rf_op_read(rig.file, back.data(), back.size(), 0, 1));
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.bytes, 1000);
  EXPECT_TRUE(back.substr(0, 1000) == data);
}

TEST_F(Fault, AnErrorAfterAShortWriteComesWithTheBytesBeforeIt) {
  Open();
  plan().cut = 100;
  plan().answer = -ENOSPC;
  plan().answers = kForever;
  plan().answer_from = 300;
  std::string data = Pattern(1000);
  rf_completion done = rig.Do(rf_op_write(rig.file, data.data(), data.size(), 0, 1));
  EXPECT_EQ(done.status, -ENOSPC);
  EXPECT_EQ(done.bytes, 300);
  EXPECT_TRUE(rig.Content(1000) == data.substr(0, 300));
  EXPECT_EQ(rig.Counters().failed, 1u);
  EXPECT_EQ(rig.Counters().bytes, 300u);
  EXPECT_EQ(FellBackInAll(), 0u) << "a full disk is full for threads, too";
}

TEST_F(Fault, AWriteThatIsAnsweredWithNothingForEverEndsWithEio) {
  Open();
  plan().answers = kForever;
  plan().answer_kinds = 1u << RF_REQUEST_WRITE;
  char byte = 'x';
  rf_completion done = rig.Do(rf_op_write(rig.file, &byte, 1, 0, 1));
  EXPECT_EQ(done.status, -EIO);
  EXPECT_EQ(done.bytes, 0);
  EXPECT_EQ(record().injected, 1u + kRetries);
}

TEST_F(Fault, AWriteThatIsAnsweredWithNothingHalfWayHasTheHalfAndEio) {
  Open();
  plan().cut = 512;
  plan().answers = kForever;
  plan().answer_from = 1024;
  std::string data = Pattern(2048);
  rf_completion done = rig.Do(rf_op_write(rig.file, data.data(), data.size(), 0, 1));
  EXPECT_EQ(done.status, -EIO);
  EXPECT_EQ(done.bytes, 1024);
}

TEST_F(Fault, AWriteThatIsAnsweredWithNothingAFewTimesGoesOn) {
  Open();
  plan().answers = 3;
  plan().answer_kinds = 1u << RF_REQUEST_WRITE;
  std::string data = Pattern(2048);
  rf_completion done = rig.Do(rf_op_write(rig.file, data.data(), data.size(), 0, 1));
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.bytes, 2048);
  EXPECT_EQ(record().injected, 3u);
  ExpectWrittenOnce(2048);
}

// ---- not now, as an answer ---------------------------------------------------------------------

class NotNow : public Fault, public testing::WithParamInterface<int> {};

TEST_P(NotNow, AsAnAnswerIsTriedAgainUntilItIsDone) {
  Open();
  plan().answer = -GetParam();
  plan().answers = 3;
  EXPECT_TRUE(rig.RoundTrip(32, 512));
  EXPECT_EQ(rig.Counters().retried, 3u * (32 + 1 + 32)) << "writes, one fsync, reads";
  EXPECT_EQ(record().injected, 3u * (32 + 1 + 32));
  EXPECT_EQ(rig.Counters().failed, 0u);
  EXPECT_EQ(FellBackInAll(), 0u);
  ExpectWrittenOnce(32 * 512);
}

TEST_P(NotNow, AsTheLastButOneAnswerIsNoError) {
  Open();
  plan().answer = -GetParam();
  plan().answers = kRetries;
  char byte = 'x';
  EXPECT_EQ(rig.Do(rf_op_write(rig.file, &byte, 1, 0, 1)).status, 0);
  EXPECT_EQ(rig.Counters().retried, kRetries);
}

TEST_P(NotNow, ForEverEndsWithThatErrorAfterAllRetries) {
  Open();
  plan().answer = -GetParam();
  plan().answers = kForever;
  char byte = 'x';
  uint64_t before = rf_now_ns();
  rf_completion done = rig.Do(rf_op_write(rig.file, &byte, 1, 0, 1));
  EXPECT_EQ(done.status, -GetParam());
  EXPECT_EQ(done.bytes, 0);
  EXPECT_GE(rf_now_ns() - before, 100 * kMillisecond) << "with pauses in between";
  EXPECT_EQ(record().injected, 1u + kRetries);
  EXPECT_EQ(rig.Counters().retried, kRetries);
  EXPECT_EQ(rig.Counters().failed, 1u);
  EXPECT_EQ(rig.Content(1), "");
}

TEST_P(NotNow, CountsAnewAfterEveryPieceThatWasMoved) {
  Open();
  plan().cut = 100;
  plan().answer = -GetParam();
  plan().answers = 5;
  std::string data = Pattern(500);
  rf_completion done = rig.Do(rf_op_write(rig.file, data.data(), data.size(), 0, 1));
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.bytes, 500);
  EXPECT_EQ(rig.Counters().retried, 25u);
  ExpectWrittenOnce(500);
}

TEST_P(NotNow, FromSubmitIsTriedAgainUntilItIsTaken) {
  Open();
  plan().submit_error = GetParam();
  plan().submit_errors = 5;
  EXPECT_TRUE(rig.RoundTrip(32, 512));
  EXPECT_EQ(record().refusals, 5u);
  EXPECT_EQ(rig.Counters().retried, 5u);
  EXPECT_EQ(FellBackInAll(), 0u);
  ExpectWrittenOnce(32 * 512);
}

TEST_P(NotNow, FromSubmitForEverIsExhaustionAndThreadsDoTheWork) {
  Open();
  plan().submit_error = GetParam();
  plan().submit_errors = kForever;
  std::string data = Pattern(20 * 512);
  std::vector<rf_completion> all = rig.Do(rig.Blocks(RF_OP_WRITE, &data, 512));
  EXPECT_TRUE(rig.Completed(all, 20, 512));
  for (const rf_completion &done : all) EXPECT_EQ(done.backend, kThreads);
  EXPECT_EQ(FellBack(RF_OP_WRITE, RF_FALLBACK_EXHAUSTED), 20u);
  EXPECT_EQ(FellBackInAll(), 20u);
  EXPECT_EQ(record().refusals, 1u + kRetries);
  EXPECT_EQ(rig.Counters().deaths, 0u);
  EXPECT_EQ(rf_queue_backend(rig.queue), kMain) << "it is not dead";
  EXPECT_TRUE(rig.Content(data.size()) == data);
  ExpectWrittenOnce(data.size());

  plan().submit_errors = 0;
  EXPECT_EQ(rig.Do(rf_op_nop(1)).backend, kMain) << "and is used again";
}

INSTANTIATE_TEST_SUITE_P(Errors, NotNow, testing::Values(EINTR, EAGAIN, EBUSY, ENOMEM),
                         [](const auto &given) {
                           return std::string(strerrorname_np(given.param));
                         });

TEST_F(Fault, ARefusedHandOverWaitsForTheAnswersThatAreStillToCome) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  Open();
  rf_file *pipe_file = nullptr;
  ASSERT_EQ(rf_file_from_fd(rig.engine, ends[0], false, &pipe_file), 0);
  char got = 0;
  rf_op slow = rf_op_read(pipe_file, &got, 1, 0, 1000);
  ASSERT_EQ(rf_submit(rig.queue, &slow, 1), 1);
  ASSERT_EQ(rf_flush(rig.queue), 0);
  ASSERT_EQ(record().taken, 1u);

  plan().submit_error = EAGAIN;
  plan().submit_errors = kForever;
  std::string data = Pattern(20 * 512);
  std::vector<rf_op> ops = rig.Blocks(RF_OP_WRITE, &data, 512);
  ASSERT_EQ(rf_submit(rig.queue, ops.data(), 20), 20);
  TurnUntilRetried(1 + kRetries);
  rf_completion done[21];
  EXPECT_EQ(rf_wait(rig.queue, done, 1, 21, 10 * kMillisecond), 0);
  EXPECT_EQ(record().refusals, 1u + kRetries) << "no more until there is an answer";
  EXPECT_EQ(FellBackInAll(), 0u);

  plan().submit_errors = 0;
  ASSERT_EQ(write(ends[1], "!", 1), 1);
  EXPECT_EQ(rf_wait(rig.queue, done, 21, 21, kLostNs), 21);
  EXPECT_EQ(got, '!');
  EXPECT_TRUE(rig.Content(data.size()) == data);
  EXPECT_EQ(FellBackInAll(), 0u);
  ExpectWrittenOnce(data.size());
  EXPECT_EQ(rf_file_close(pipe_file), 0);
  close(ends[0]), close(ends[1]);
}

TEST_F(Fault, EagainOfAnOpThatMustNotWaitReachesTheCallerAtOnce) {
  Open();
  plan().answer = -EAGAIN;
  plan().answers = kForever;
  char byte = 0;
  rf_op op = rf_op_read(rig.file, &byte, 1, 0, 1);
  op.flags = RF_OP_NOWAIT;
  EXPECT_EQ(rig.Do(op).status, -EAGAIN);
  EXPECT_EQ(record().injected, 1u);
  EXPECT_EQ(rig.Counters().retried, 0u);
}

TEST_F(Fault, EintrOfAnOpThatMustNotWaitIsTriedAgain) {
  Open();
  plan().answer = -EINTR;
  plan().answers = 2;
  plan().answer_kinds = 1u << RF_REQUEST_NOP;
  ASSERT_EQ(pwrite(rig.fd, "x", 1, 0), 1);
  char byte = 0;
  rf_op op = rf_op_read(rig.file, &byte, 1, 0, 1);
  op.flags = RF_OP_NOWAIT;
  plan().answer_kinds = fault::kTransfers;
  rf_completion done = rig.Do(op);
  EXPECT_TRUE(done.status == 0 || done.status == -EOPNOTSUPP) << done.status;
  EXPECT_EQ(record().injected, 2u);
  EXPECT_EQ(rig.Counters().retried, 2u);
}

// ---- taking less, and in another order ---------------------------------------------------------

TEST_F(Fault, ABackendThatTakesPartOfABatchGetsTheRestLater) {
  Open(256);
  plan().take_most = 3;
  EXPECT_TRUE(rig.RoundTrip(200, 512));
  ExpectWrittenOnce(200 * 512);
  EXPECT_GE(rig.Counters().batches, 400u / 3);
  EXPECT_EQ(FellBackInAll(), 0u);
}

TEST_F(Fault, ACapacityOfFourCarriesAQueueOfFiveHundredAndTwelve) {
  plan().capacity = 4;
  Open(512);
  std::string data = Pattern(512 * 512);
  std::vector<rf_op> ops = rig.Blocks(RF_OP_WRITE, &data, 512);
  ASSERT_EQ(rf_submit(rig.queue, ops.data(), 512), 512) << "the depth is the queue's";
  std::vector<rf_completion> done(512);
  EXPECT_EQ(rf_wait(rig.queue, done.data(), 512, 512, kLostNs), 512);
  EXPECT_TRUE(rig.Completed(done, 512, 512));
  EXPECT_EQ(record().most_in_flight, 4u);
  EXPECT_EQ(FellBackInAll(), 0u);
  EXPECT_TRUE(rig.Content(data.size()) == data);
  ExpectWrittenOnce(data.size());
  EXPECT_TRUE(rig.RoundTrip(512, 512));
  EXPECT_TRUE(rig.Logged(RF_LOG_INFO, {"4 of 512"})) << rig.Log();
}

TEST_F(Fault, AnswersInReverseOrderReachTheRightOps) {
  Open(64);
  plan().reversed = true;
  std::string data = Pattern(32 * 512), back(data.size(), '\0');
  ASSERT_EQ(pwrite(rig.fd, data.data(), data.size(), 0), static_cast<ssize_t>(data.size()));
  std::vector<rf_op> ops = rig.Blocks(RF_OP_READ, &back, 512);
  ops[31].len = 100;
  rf_completion done[32];
  unsigned accepted = 0;
  ASSERT_EQ(rf_submit_and_wait(rig.queue, ops.data(), 32, &accepted, done, 32, 32, kLostNs), 32);
  std::set<uint64_t> seen;
  for (const rf_completion &c : done) {
    seen.insert(c.user_data);
    EXPECT_EQ(c.status, 0);
    EXPECT_EQ(c.bytes, c.user_data == 31 ? 100 : 512);
  }
  EXPECT_EQ(seen.size(), 32u);
  EXPECT_TRUE(back.substr(0, 31 * 512 + 100) == data.substr(0, 31 * 512 + 100));
}

TEST_F(Fault, LinkedWritesKeepTheirOrderWhateverTheBackendDoes) {
  Open(64);
  plan().reversed = true;
  plan().take_most = 2;
  plan().cut = 100;
  plan().answer = -EINTR;
  plan().answers = 1;
  std::vector<std::string> data;
  for (uint32_t i = 0; i < 40; i++) data.push_back(Pattern(256, i));
  std::vector<rf_op> ops;
  for (size_t i = 0; i < data.size(); i++) {
    ops.push_back(rf_op_write(rig.file, data[i].data(), 256, 0, i));
    if (i > 0) ops.back().flags = RF_OP_LINK;
  }
  std::vector<rf_completion> all = rig.Do(ops);
  EXPECT_TRUE(rig.Completed(all, 40, 256));
  for (size_t i = 0; i < all.size(); i++) EXPECT_EQ(all[i].user_data, i);
  EXPECT_TRUE(rig.Content(256) == data.back());
}

// ---- per-op fallback ---------------------------------------------------------------------------

TEST_F(Fault, KindsThatAreNotOfferedRunOnThreadsAndAreCounted) {
  plan().kinds_missing =
      1u << RF_REQUEST_FSYNC | 1u << RF_REQUEST_FDATASYNC | 1u << RF_REQUEST_FALLOCATE;
  Open();
  std::string data = Pattern(8192);
  EXPECT_EQ(rig.Do(rf_op_write(rig.file, data.data(), 8192, 0, 1)).backend, kMain);
  for (const rf_op &op : {rf_op_fsync(rig.file, 2), rf_op_fdatasync(rig.file, 3),
                          rf_op_fsync(rig.file, 4), rf_op_fallocate(rig.file, 0, 0, 16384, 5)}) {
    rf_completion done = rig.Do(op);
    EXPECT_EQ(done.status, 0);
    EXPECT_EQ(done.backend, kThreads);
  }
  EXPECT_EQ(FellBack(RF_OP_FSYNC, RF_FALLBACK_NOT_OFFERED), 2u);
  EXPECT_EQ(FellBack(RF_OP_FDATASYNC, RF_FALLBACK_NOT_OFFERED), 1u);
  EXPECT_EQ(FellBack(RF_OP_FALLOCATE, RF_FALLBACK_NOT_OFFERED), 1u);
  EXPECT_EQ(FellBackInAll(), 4u);
  EXPECT_EQ(lseek(rig.fd, 0, SEEK_END), 16384);
}

TEST_F(Fault, FlagsThatAreNotOfferedRunOnThreadsAndAreCounted) {
  plan().flags_missing = RF_REQUEST_DSYNC;
  Open();
  std::string data = Pattern(8192);
  rf_op op = rf_op_write(rig.file, data.data(), 8192, 0, 1);
  op.flags = RF_OP_DSYNC;
  rf_completion done = rig.Do(op);
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.backend, kThreads);
  EXPECT_EQ(FellBack(RF_OP_WRITE, RF_FALLBACK_NOT_OFFERED), 1u);
  EXPECT_TRUE(rig.Content(8192) == data);
}

class Refused : public Fault, public testing::WithParamInterface<int> {};

TEST_P(Refused, OpsAreDoneByThreadsAndCounted) {
  Open();
  plan().answer = -GetParam();
  plan().answers = kForever;
  EXPECT_TRUE(rig.RoundTrip(32, 512));
  EXPECT_EQ(FellBack(RF_OP_WRITE, RF_FALLBACK_REFUSED), 32u);
  EXPECT_EQ(FellBack(RF_OP_READ, RF_FALLBACK_REFUSED), 32u);
  EXPECT_EQ(FellBack(RF_OP_FSYNC, RF_FALLBACK_REFUSED), 1u);
  EXPECT_EQ(FellBackInAll(), 65u);
  EXPECT_TRUE(record().executions.empty());
  ExpectWrittenOnce(32 * 512);
}

TEST_P(Refused, OpsGoOnWhereTheyHadBeen) {
  Open();
  plan().cut = 300;
  plan().answer = -GetParam();
  plan().answers = kForever;
  plan().answer_from = 900;
  std::string data = Pattern(4000);
  rf_completion done = rig.Do(rf_op_write(rig.file, data.data(), data.size(), 0, 1));
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.bytes, 4000);
  EXPECT_EQ(done.backend, kThreads);
  EXPECT_EQ(FellBack(RF_OP_WRITE, RF_FALLBACK_REFUSED), 1u);
  EXPECT_EQ(record().executions.size(), 3u);
  EXPECT_TRUE(rig.Content(4000) == data);
  ExpectWrittenOnce(4000);
}

TEST_P(Refused, OpsThatThreadsRefuseTooFailWithThatError) {
  for (rf_backend_id id : {kMain, kThreads}) {
    backends.plan(id).answer = -GetParam();
    backends.plan(id).answers = kForever;
  }
  Open();
  char byte = 'x';
  EXPECT_EQ(rig.Do(rf_op_write(rig.file, &byte, 1, 0, 1)).status, -GetParam());
  EXPECT_EQ(record().injected, 1u);
  EXPECT_EQ(backends.record(kThreads).injected, 1u);
}

INSTANTIATE_TEST_SUITE_P(Errors, Refused, testing::Values(EINVAL, EOPNOTSUPP, ENOSYS),
                         [](const auto &given) {
                           return std::string(strerrorname_np(given.param));
                         });

class Passed : public Fault, public testing::WithParamInterface<int> {};

TEST_P(Passed, OnErrorsAreTheOpsOwnAndTheOthersGoOn) {
  Open();
  plan().answer = -GetParam();
  plan().answers = kForever;
  plan().answer_from = 63 * 512;
  std::string data = Pattern(64 * 512);
  std::vector<rf_completion> all = rig.Do(rig.Blocks(RF_OP_WRITE, &data, 512));
  ASSERT_EQ(all.size(), 64u);
  for (const rf_completion &done : all) {
    EXPECT_EQ(done.status, done.user_data == 63 ? -GetParam() : 0);
    EXPECT_EQ(done.bytes, done.user_data == 63 ? 0 : 512);
  }
  EXPECT_EQ(record().injected, 1u) << "it is not tried again";
  EXPECT_EQ(rig.Counters().failed, 1u);
  EXPECT_EQ(FellBackInAll(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Errors, Passed, testing::Values(EIO, ENOSPC, EFAULT, EBADF),
                         [](const auto &given) {
                           return std::string(strerrorname_np(given.param));
                         });

// io_uring answers ECANCELED, unasked, when it cannot start a worker: the work was not begun.
TEST_F(Fault, AnOpThatTheKernelGaveUpUnaskedIsDoneByThreads) {
  Open();
  plan().answer = -ECANCELED;
  plan().answers = kForever;
  std::string data = Pattern(64 * 512);
  std::vector<rf_completion> all = rig.Do(rig.Blocks(RF_OP_WRITE, &data, 512));
  ASSERT_EQ(all.size(), 64u);
  for (const rf_completion &done : all) {
    EXPECT_EQ(done.status, 0);
    EXPECT_EQ(done.bytes, 512);
  }
  EXPECT_TRUE(rig.Content(64 * 512) == data);
  EXPECT_EQ(rig.Counters().fell_back[RF_OP_WRITE][RF_FALLBACK_EXHAUSTED], 64u);
}

// ---- death -------------------------------------------------------------------------------------

TEST_F(Fault, DeathLosesNothingAndWritesNothingTwice) {
  plan().capacity = 16;
  plan().submit_error = EPERM;
  plan().submit_errors = kForever;
  plan().submit_after = 50;
  Open(256);
  std::string data = Pattern(200 * 512);
  EXPECT_TRUE(rig.Completed(rig.Do(rig.Blocks(RF_OP_WRITE, &data, 512)), 200, 512));
  EXPECT_TRUE(rig.Content(data.size()) == data);
  ExpectWrittenOnce(data.size());
  rf_counters counters = rig.Counters();
  EXPECT_EQ(counters.deaths, 1u);
  EXPECT_EQ(counters.generation, 2u);
  EXPECT_EQ(counters.failed, 0u);
  EXPECT_EQ(record().taken, 50u);
  EXPECT_EQ(record().executions.size(), 50u);
  EXPECT_EQ(record().refusals, 1u) << "a dead one is left alone";
  EXPECT_EQ(counters.fell_back[RF_OP_WRITE][RF_FALLBACK_DEAD], 150u);
  EXPECT_EQ(FellBackInAll(), 150u);
  EXPECT_EQ(rf_queue_backend(rig.queue), kThreads);
  EXPECT_TRUE(rig.Logged(RF_LOG_ERROR, {"io_uring", "fault_submit", strerror(EPERM)})) << rig.Log();
  EXPECT_TRUE(rig.RoundTrip(64, 512, 9)) << "and the queue goes on";
  EXPECT_EQ(rig.Counters().deaths, 1u);
}

TEST_F(Fault, DeathInTheMiddleOfShortTransfersLosesNothing) {
  plan().capacity = 8;
  plan().cut = 100;
  plan().submit_error = EPERM;
  plan().submit_errors = kForever;
  plan().submit_after = 301;
  Open(128);
  std::string data = Pattern(100 * 777);
  EXPECT_TRUE(rig.Completed(rig.Do(rig.Blocks(RF_OP_WRITE, &data, 777)), 100, 777));
  EXPECT_TRUE(rig.Content(data.size()) == data);
  ExpectWrittenOnce(data.size());
  EXPECT_EQ(rig.Counters().deaths, 1u);
}

TEST_F(Fault, DeathWithoutEverHavingWorkedLosesNothing) {
  plan().submit_error = ENOSYS;
  plan().submit_errors = kForever;
  Open();
  EXPECT_TRUE(rig.RoundTrip());
  EXPECT_EQ(rig.Counters().deaths, 1u);
  EXPECT_EQ(FellBackInAll(), 129u);
}

TEST_F(Fault, WhatADeadBackendHadTakenIsStillAnsweredByIt) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  Open();
  rf_file *pipe_file = nullptr;
  ASSERT_EQ(rf_file_from_fd(rig.engine, ends[0], false, &pipe_file), 0);
  char got = 0;
  rf_op slow = rf_op_read(pipe_file, &got, 1, 0, 1000);
  ASSERT_EQ(rf_submit(rig.queue, &slow, 1), 1);
  ASSERT_EQ(rf_flush(rig.queue), 0);
  plan().submit_error = EPERM;
  plan().submit_errors = kForever;
  rf_op nop = rf_op_nop(1);
  rf_completion done[2];
  ASSERT_EQ(rf_submit_and_wait(rig.queue, &nop, 1, nullptr, done, 1, 2, kLostNs), 1);
  EXPECT_EQ(done[0].user_data, 1u);
  EXPECT_EQ(done[0].backend, kThreads);
  EXPECT_EQ(rig.Counters().deaths, 1u);
  ASSERT_EQ(write(ends[1], "!", 1), 1);
  ASSERT_EQ(rf_wait(rig.queue, done, 1, 2, kLostNs), 1);
  EXPECT_EQ(done[0].user_data, 1000u);
  EXPECT_EQ(done[0].backend, kMain);
  EXPECT_EQ(got, '!');
  EXPECT_EQ(rf_file_close(pipe_file), 0);
  close(ends[0]), close(ends[1]);
}

TEST_F(Fault, ABackendThatCannotWaitIsAskedAgainAndAgain) {
  Open();
  plan().wait_error = EPERM;
  plan().take_most = 1;
  EXPECT_TRUE(rig.RoundTrip(32, 512));
  EXPECT_EQ(rig.Counters().deaths, 0u) << "it still takes requests";
}

TEST_F(Fault, AQueueWhoseBackendCannotBeOpenedTakesTheNext) {
  Open();
  ASSERT_EQ(rig.CloseQueue(), 0);
  plan().open_error = EMFILE;
  ASSERT_EQ(rig.OpenQueue(), 0);
  EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_LIBAIO);
  EXPECT_EQ(rig.Counters().generation, 2u);
  EXPECT_TRUE(rig.Logged(RF_LOG_WARNING, {"fault_setup", strerror(EMFILE)})) << rig.Log();
  EXPECT_TRUE(rig.RoundTrip());
}

// ---- cancelling, deadlines, closing ------------------------------------------------------------

TEST_F(Fault, AnOpInAPauseCanBeStoppedAtOnce) {
  Open();
  plan().answer = -EAGAIN;
  plan().answers = kForever;
  char byte = 'x';
  rf_op op = rf_op_write(rig.file, &byte, 1, 0, 77);
  ASSERT_EQ(rf_submit(rig.queue, &op, 1), 1);
  TurnUntilRetried(1);
  // It may just have been handed over again, and is then found in flight.
  int stopped = rf_cancel(rig.queue, 77);
  EXPECT_TRUE(stopped == RF_CANCEL_STOPPED || stopped == RF_CANCEL_RUNNING) << stopped;
  rf_completion done = {};
  ASSERT_EQ(rf_wait(rig.queue, &done, 1, 1, kLostNs), 1);
  EXPECT_EQ(done.status, -ECANCELED);
  EXPECT_EQ(rig.Counters().cancelled, 1u);
  EXPECT_LT(rig.Counters().retried, kRetries) << "it did not wait for all retries";
  EXPECT_EQ(rf_cancel(rig.queue, 77), -ENOENT);
  EXPECT_EQ(rig.Content(1), "");
}

TEST_F(Fault, AnOpInAPauseIsEndedByItsDeadline) {
  Open();
  plan().answer = -EAGAIN;
  plan().answers = kForever;
  char byte = 'x';
  rf_op op = rf_op_write(rig.file, &byte, 1, 0, 77);
  op.deadline_ns = 5 * kMillisecond;
  rf_completion done = rig.Do(op);
  EXPECT_EQ(done.status, -ETIMEDOUT);
  EXPECT_EQ(done.bytes, 0);
  EXPECT_EQ(rig.Counters().timed_out, 1u);
  EXPECT_LT(rig.Counters().retried, kRetries) << "it did not wait for all retries";
}

TEST_F(Fault, AnOpInAPauseThatIsDoneBeforeItsDeadlineIsDone) {
  Open();
  plan().answer = -EAGAIN;
  plan().answers = 3;
  char byte = 'x';
  rf_op op = rf_op_write(rig.file, &byte, 1, 0, 77);
  op.deadline_ns = static_cast<uint64_t>(kLostNs);
  EXPECT_EQ(rig.Do(op).status, 0);
  EXPECT_EQ(rig.Counters().timed_out, 0u);
}

TEST_F(Fault, AnOpThatWaitsForAHandOverIsEndedByItsDeadline) {
  Open();
  plan().submit_error = EAGAIN;
  plan().submit_errors = kForever;
  char byte = 'x';
  rf_op op = rf_op_write(rig.file, &byte, 1, 0, 77);
  op.deadline_ns = 2 * kMillisecond;
  EXPECT_EQ(rig.Do(op).status, -ETIMEDOUT);
  EXPECT_EQ(rig.Content(1), "");
}

TEST_F(Fault, StoppingAShortTransferKeepsTheBytesThatWereMoved) {
  Open();
  plan().cut = 100;
  plan().answer = -EAGAIN;
  plan().answers = kForever;
  plan().answer_from = 200;
  std::string data = Pattern(1000);
  rf_op op = rf_op_write(rig.file, data.data(), data.size(), 0, 77);
  ASSERT_EQ(rf_submit(rig.queue, &op, 1), 1);
  TurnUntilRetried(1);
  EXPECT_GE(rf_cancel(rig.queue, 77), 0);
  rf_completion done = {};
  ASSERT_EQ(rf_wait(rig.queue, &done, 1, 1, kLostNs), 1);
  EXPECT_EQ(done.status, -ECANCELED);
  EXPECT_EQ(done.bytes, 200);
  EXPECT_TRUE(rig.Content(1000) == data.substr(0, 200));
}

struct Trouble {
  const char *name;
  void (*make)(fault::Plan *plan);
};

const Trouble kTroubles[] = {
    {"Nothing", [](fault::Plan *) {}},
    {"Cuts", [](fault::Plan *plan) { plan->cut = 13; }},
    {"Pauses", [](fault::Plan *plan) { plan->answer = -EBUSY, plan->answers = kForever; }},
    {"Zeros", [](fault::Plan *plan) { plan->answer = 0, plan->answers = kForever; }},
    {"Refusals", [](fault::Plan *plan) { plan->answer = -EINVAL, plan->answers = kForever; }},
    {"Exhaustion",
     [](fault::Plan *plan) {
       plan->submit_error = EAGAIN, plan->submit_errors = kForever, plan->submit_after = 5;
     }},
    {"Death",
     [](fault::Plan *plan) {
       plan->submit_error = EPERM, plan->submit_errors = kForever, plan->submit_after = 5;
     }},
    {"Crumbs", [](fault::Plan *plan) { plan->take_most = 1, plan->reversed = true; }},
    {"Deafness", [](fault::Plan *plan) { plan->wait_error = EPERM; }},
    {"Narrowness", [](fault::Plan *plan) { plan->capacity = 4; }},
};

class Closing : public Fault, public testing::WithParamInterface<Trouble> {};

TEST_P(Closing, InTheMiddleOfItEndsWithNothingInUse) {
  for (unsigned turns = 0; turns < 20; turns++) {
    backends.plan(kMain) = {};
    record().taken = 0;
    GetParam().make(&plan());
    std::string data = Pattern(256 * 512), before;
    Open(256);
    if (HasFatalFailure()) return;
    std::vector<rf_op> ops = rig.Blocks(RF_OP_WRITE, &data, 512);
    for (size_t i = 1; i < ops.size(); i += 3) ops[i].flags = RF_OP_LINK;
    for (size_t i = 0; i < ops.size(); i += 5) ops[i].deadline_ns = kMillisecond * (i + 1);
    ASSERT_EQ(rf_submit(rig.queue, ops.data(), 256), 256);
    rf_completion some[16];
    for (unsigned i = 0; i < turns; i++) ASSERT_GE(rf_reap(rig.queue, some, 16), 0);
    ASSERT_EQ(rig.CloseQueue(), 0);
    EXPECT_EQ(record().closed, record().opened);
    EXPECT_EQ(rf_file_close(rig.file), 0) << "no op has it any more";
    rig.file = nullptr;
    ASSERT_EQ(rf_engine_close(rig.engine), 0);
    rig.engine = nullptr;
    for (unsigned times : backends.TimesWritten(data.size())) ASSERT_LE(times, turns + 1);
  }
}

INSTANTIATE_TEST_SUITE_P(With, Closing, testing::ValuesIn(kTroubles),
                         [](const auto &given) { return std::string(given.param.name); });

// ---- all of it at once -------------------------------------------------------------------------

class Storm : public Fault, public testing::WithParamInterface<unsigned> {};

TEST_P(Storm, LosesNothingAndWritesNothingTwice) {
  std::mt19937 random(GetParam());
  auto one_of = [&](auto... values) {
    std::common_type_t<decltype(values)...> all[] = {values...};
    return all[random() % (sizeof(all) / sizeof(all[0]))];
  };
  plan().cut = one_of(0u, 37u, 99u, 512u, 1000u);
  plan().answer = -one_of(EINTR, EAGAIN, EBUSY, ENOMEM, EINVAL, ENOSYS);
  plan().answers = one_of(0u, 1u, 2u);
  plan().submit_error = one_of(EAGAIN, EINTR, EBUSY, EPERM);
  plan().submit_errors = one_of(0u, 3u, 12u);
  plan().submit_after = one_of(0u, 20u, 100u);
  plan().take_most = one_of(1u, 5u, 64u);
  plan().capacity = one_of(1u, 4u, 32u, 0u);
  plan().kinds_missing = one_of(0u, 1u << RF_REQUEST_FSYNC, 1u << RF_REQUEST_WRITE);
  plan().reversed = one_of(false, true);
  rig.queue_options.batch = one_of(1u, 8u, 32u, 64u);
  Open(one_of(1u, 3u, 64u, 200u));
  EXPECT_TRUE(rig.RoundTrip(60, 600));
  ExpectWrittenOnce(60 * 600);
  rf_counters counters = rig.Counters();
  EXPECT_EQ(counters.accepted, 121u);
  EXPECT_EQ(counters.completed, 121u);
  EXPECT_EQ(counters.failed, 0u);
  EXPECT_EQ(counters.bytes, 2u * 60 * 600);
}

INSTANTIATE_TEST_SUITE_P(Seeds, Storm, testing::Range(0u, 60u));

} // namespace
