// SPDX-License-Identifier: Apache-2.0
// What the core makes of backends that cut, refuse, delay, reorder, run dry and die.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "tests/fault_rig.h"
#include "tests/queue_rig.h"

namespace {

using queue_rig::kLostNs;
using queue_rig::Pattern;

constexpr unsigned kRetries = 10; // RF_RETRIES of engine/internal.h
constexpr uint64_t kMillisecond = 1000000;
constexpr auto kMain = RF_BACKEND_IO_URING;
constexpr auto kThreads = RF_BACKEND_THREADS;

std::string Errno(int error) {
  return strerrorname_np(error);
}

// The threads stand in for io_uring, so that nothing here depends on the host, and go wrong there.
class Fault : public testing::Test {
protected:
  void Open(unsigned depth = 128) {
    rig.queue_options.depth = depth;
    ASSERT_EQ(rig.Open(faults.injector()), 0) << rig.Log();
    ASSERT_EQ(rf_queue_backend(rig.queue), kMain);
  }

  // Every op to the backend, whatever the file would suit.
  void NotRouted() {
    rig.engine_options.choice = RF_CHOICE_PREFER;
    rig.engine_options.backend = kMain;
  }

  void SetUp() override { Plan(""); }

  void TearDown() override {
    EXPECT_EQ(faults.BrokenRule(), "");
    EXPECT_GT(faults.Counts().backends[kMain].opened, 0u) << "the test has tested nothing";
  }

  // A plan for the place of io_uring, but for faults that name another.
  void Plan(const std::string &text) {
    rf_fault_plan plan = {};
    ASSERT_EQ(fault_rig::Parse("stand_in " + text, &plan), "") << text;
    for (unsigned i = 0; i < plan.count; i++)
      if (plan.faults[i].backends == 0) plan.faults[i].backends = 1u << kMain;
    ASSERT_EQ(rf_fault_injector_plan(faults.injector(), &plan), 0) << text;
  }

  uint64_t Injected(rf_fault_kind kind = RF_FAULT_ERROR) { return faults.Counts().injected[kind]; }
  uint64_t Taken() { return faults.Counts().backends[kMain].taken; }
  uint64_t Refusals() { return faults.Counts().backends[kMain].refusals; }

  void ExpectWrittenOnce(size_t size) {
    std::vector<unsigned> times = faults.TimesWritten(size);
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

  fault_rig::Faults faults; // outlives the rig
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
  Plan("short=" + std::to_string(GetParam()));
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
  Plan("short=" + std::to_string(GetParam()));
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
  Plan("short=" + std::to_string(GetParam()));
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
  Plan("short=300");
  rf_completion done = rig.Do(rf_op_read(rig.file, back.data(), back.size(), 0, 1));
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.bytes, 1000);
  EXPECT_TRUE(back.substr(0, 1000) == data);
}

TEST_F(Fault, AnErrorAfterAShortWriteComesWithTheBytesBeforeIt) {
  Open();
  Plan("short=100 error=ENOSPC:from=300");
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
  Plan("error=0:write");
  char byte = 'x';
  rf_completion done = rig.Do(rf_op_write(rig.file, &byte, 1, 0, 1));
  EXPECT_EQ(done.status, -EIO);
  EXPECT_EQ(done.bytes, 0);
  EXPECT_EQ(Injected(), 1u + kRetries);
}

TEST_F(Fault, AWriteThatIsAnsweredWithNothingHalfWayHasTheHalfAndEio) {
  Open();
  Plan("short=512 error=0:from=1024");
  std::string data = Pattern(2048);
  rf_completion done = rig.Do(rf_op_write(rig.file, data.data(), data.size(), 0, 1));
  EXPECT_EQ(done.status, -EIO);
  EXPECT_EQ(done.bytes, 1024);
}

TEST_F(Fault, AWriteThatIsAnsweredWithNothingAFewTimesGoesOn) {
  Open();
  Plan("error=0:write,x3,each");
  std::string data = Pattern(2048);
  rf_completion done = rig.Do(rf_op_write(rig.file, data.data(), data.size(), 0, 1));
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.bytes, 2048);
  EXPECT_EQ(Injected(), 3u);
  ExpectWrittenOnce(2048);
}

// ---- not now, as an answer ---------------------------------------------------------------------

class NotNow : public Fault, public testing::WithParamInterface<int> {};

TEST_P(NotNow, AsAnAnswerIsTriedAgainUntilItIsDone) {
  Open();
  Plan("error=" + Errno(GetParam()) + ":x3,each");
  EXPECT_TRUE(rig.RoundTrip(32, 512));
  EXPECT_EQ(rig.Counters().retried, 3u * (32 + 1 + 32)) << "writes, one fsync, reads";
  EXPECT_EQ(Injected(), 3u * (32 + 1 + 32));
  EXPECT_EQ(rig.Counters().failed, 0u);
  EXPECT_EQ(FellBackInAll(), 0u);
  ExpectWrittenOnce(32 * 512);
}

TEST_P(NotNow, AsTheLastButOneAnswerIsNoError) {
  Open();
  Plan("error=" + Errno(GetParam()) + ":x" + std::to_string(kRetries) + ",each");
  char byte = 'x';
  EXPECT_EQ(rig.Do(rf_op_write(rig.file, &byte, 1, 0, 1)).status, 0);
  EXPECT_EQ(rig.Counters().retried, kRetries);
}

TEST_P(NotNow, ForEverEndsWithThatErrorAfterAllRetries) {
  Open();
  Plan("error=" + Errno(GetParam()));
  char byte = 'x';
  uint64_t before = rf_now_ns();
  rf_completion done = rig.Do(rf_op_write(rig.file, &byte, 1, 0, 1));
  EXPECT_EQ(done.status, -GetParam());
  EXPECT_EQ(done.bytes, 0);
  EXPECT_GE(rf_now_ns() - before, 100 * kMillisecond) << "with pauses in between";
  EXPECT_EQ(Injected(), 1u + kRetries);
  EXPECT_EQ(rig.Counters().retried, kRetries);
  EXPECT_EQ(rig.Counters().failed, 1u);
  EXPECT_EQ(rig.Content(1), "");
}

TEST_P(NotNow, CountsAnewAfterEveryPieceThatWasMoved) {
  Open();
  Plan("short=100 error=" + Errno(GetParam()) + ":x5,each");
  std::string data = Pattern(500);
  rf_completion done = rig.Do(rf_op_write(rig.file, data.data(), data.size(), 0, 1));
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.bytes, 500);
  EXPECT_EQ(rig.Counters().retried, 25u);
  ExpectWrittenOnce(500);
}

TEST_P(NotNow, FromSubmitIsTriedAgainUntilItIsTaken) {
  Open();
  Plan("refuse=" + Errno(GetParam()) + ":x5");
  EXPECT_TRUE(rig.RoundTrip(32, 512));
  EXPECT_EQ(Refusals(), 5u);
  EXPECT_EQ(rig.Counters().retried, 5u);
  EXPECT_EQ(FellBackInAll(), 0u);
  ExpectWrittenOnce(32 * 512);
}

TEST_P(NotNow, FromSubmitForEverIsExhaustionAndThreadsDoTheWork) {
  Open();
  Plan("refuse=" + Errno(GetParam()));
  std::string data = Pattern(20 * 512);
  std::vector<rf_completion> all = rig.Do(rig.Blocks(RF_OP_WRITE, &data, 512));
  EXPECT_TRUE(rig.Completed(all, 20, 512));
  for (const rf_completion &done : all) EXPECT_EQ(done.backend, kThreads);
  EXPECT_EQ(FellBack(RF_OP_WRITE, RF_FALLBACK_EXHAUSTED), 20u);
  EXPECT_EQ(FellBackInAll(), 20u);
  EXPECT_EQ(Refusals(), 1u + kRetries);
  EXPECT_EQ(rig.Counters().deaths, 0u);
  EXPECT_EQ(rf_queue_backend(rig.queue), kMain) << "it is not dead";
  EXPECT_TRUE(rig.Content(data.size()) == data);
  ExpectWrittenOnce(data.size());

  Plan("");
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
  ASSERT_EQ(Taken(), 1u);

  Plan("refuse=EAGAIN");
  std::string data = Pattern(20 * 512);
  std::vector<rf_op> ops = rig.Blocks(RF_OP_WRITE, &data, 512);
  ASSERT_EQ(rf_submit(rig.queue, ops.data(), 20), 20);
  TurnUntilRetried(1 + kRetries);
  rf_completion done[21];
  EXPECT_EQ(rf_wait(rig.queue, done, 1, 21, 10 * kMillisecond), 0);
  EXPECT_EQ(Refusals(), 1u + kRetries) << "no more until there is an answer";
  EXPECT_EQ(FellBackInAll(), 0u);

  Plan("");
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
  Plan("error=EAGAIN");
  char byte = 0;
  rf_op op = rf_op_read(rig.file, &byte, 1, 0, 1);
  op.flags = RF_OP_NOWAIT;
  EXPECT_EQ(rig.Do(op).status, -EAGAIN);
  EXPECT_EQ(Injected(), 1u);
  EXPECT_EQ(rig.Counters().retried, 0u);
}

TEST_F(Fault, EintrOfAnOpThatMustNotWaitIsTriedAgain) {
  Open();
  ASSERT_EQ(pwrite(rig.fd, "x", 1, 0), 1);
  char byte = 0;
  rf_op op = rf_op_read(rig.file, &byte, 1, 0, 1);
  op.flags = RF_OP_NOWAIT;
  Plan("error=EINTR:read,x2");
  rf_completion done = rig.Do(op);
  EXPECT_TRUE(done.status == 0 || done.status == -EOPNOTSUPP) << done.status;
  EXPECT_EQ(Injected(), 2u);
  EXPECT_EQ(rig.Counters().retried, 2u);
}

// ---- taking less, and in another order ---------------------------------------------------------

TEST_F(Fault, ABackendThatTakesPartOfABatchGetsTheRestLater) {
  Open(256);
  Plan("partial=3");
  EXPECT_TRUE(rig.RoundTrip(200, 512));
  ExpectWrittenOnce(200 * 512);
  EXPECT_GE(rig.Counters().batches, 400u / 3);
  EXPECT_EQ(FellBackInAll(), 0u);
}

TEST_F(Fault, ACapacityOfFourCarriesAQueueOfFiveHundredAndTwelve) {
  Plan("capacity=4");
  Open(512);
  std::string data = Pattern(512 * 512);
  std::vector<rf_op> ops = rig.Blocks(RF_OP_WRITE, &data, 512);
  ASSERT_EQ(rf_submit(rig.queue, ops.data(), 512), 512) << "the depth is the queue's";
  std::vector<rf_completion> done(512);
  EXPECT_EQ(rf_wait(rig.queue, done.data(), 512, 512, kLostNs), 512);
  EXPECT_TRUE(rig.Completed(done, 512, 512));
  EXPECT_EQ(faults.Counts().backends[kMain].most_in_flight, 4u);
  EXPECT_EQ(FellBackInAll(), 0u);
  EXPECT_TRUE(rig.Content(data.size()) == data);
  ExpectWrittenOnce(data.size());
  EXPECT_TRUE(rig.RoundTrip(512, 512));
  EXPECT_TRUE(rig.Logged(RF_LOG_INFO, {"4 of 512"})) << rig.Log();
}

TEST_F(Fault, AnswersInReverseOrderReachTheRightOps) {
  Open(64);
  Plan("reorder");
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
  Plan("short=100 error=EINTR:x1,each partial=2 reorder");
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
  Plan("lack:fsync,fdatasync,fallocate");
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
  Plan("lack:dsync");
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
  Plan("error=" + Errno(GetParam()));
  EXPECT_TRUE(rig.RoundTrip(32, 512));
  EXPECT_EQ(FellBack(RF_OP_WRITE, RF_FALLBACK_REFUSED), 32u);
  EXPECT_EQ(FellBack(RF_OP_READ, RF_FALLBACK_REFUSED), 32u);
  EXPECT_EQ(FellBack(RF_OP_FSYNC, RF_FALLBACK_REFUSED), 1u);
  EXPECT_EQ(FellBackInAll(), 65u);
  EXPECT_TRUE(faults.Done(kMain).empty());
  ExpectWrittenOnce(32 * 512);
}

TEST_P(Refused, OpsGoOnWhereTheyHadBeen) {
  Open();
  Plan("short=300 error=" + Errno(GetParam()) + ":from=900");
  std::string data = Pattern(4000);
  rf_completion done = rig.Do(rf_op_write(rig.file, data.data(), data.size(), 0, 1));
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.bytes, 4000);
  EXPECT_EQ(done.backend, kThreads);
  EXPECT_EQ(FellBack(RF_OP_WRITE, RF_FALLBACK_REFUSED), 1u);
  EXPECT_EQ(faults.Done(kMain).size(), 3u);
  EXPECT_TRUE(rig.Content(4000) == data);
  ExpectWrittenOnce(4000);
}

TEST_P(Refused, OpsThatThreadsRefuseTooFailWithThatError) {
  Plan("error=" + Errno(GetParam()) + ":io_uring,threads");
  Open();
  char byte = 'x';
  EXPECT_EQ(rig.Do(rf_op_write(rig.file, &byte, 1, 0, 1)).status, -GetParam());
  EXPECT_EQ(Injected(), 2u) << "one by each";
}

INSTANTIATE_TEST_SUITE_P(Errors, Refused, testing::Values(EINVAL, EOPNOTSUPP, ENOSYS),
                         [](const auto &given) {
                           return std::string(strerrorname_np(given.param));
                         });

class Passed : public Fault, public testing::WithParamInterface<int> {};

TEST_P(Passed, OnErrorsAreTheOpsOwnAndTheOthersGoOn) {
  Open();
  Plan("error=" + Errno(GetParam()) + ":from=32256");
  std::string data = Pattern(64 * 512);
  std::vector<rf_completion> all = rig.Do(rig.Blocks(RF_OP_WRITE, &data, 512));
  ASSERT_EQ(all.size(), 64u);
  for (const rf_completion &done : all) {
    EXPECT_EQ(done.status, done.user_data == 63 ? -GetParam() : 0);
    EXPECT_EQ(done.bytes, done.user_data == 63 ? 0 : 512);
  }
  EXPECT_EQ(Injected(), 1u) << "it is not tried again";
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
  Plan("error=ECANCELED");
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
  Plan("death=EPERM@51 capacity=16");
  NotRouted();
  Open(256);
  std::string data = Pattern(200 * 512);
  EXPECT_TRUE(rig.Completed(rig.Do(rig.Blocks(RF_OP_WRITE, &data, 512)), 200, 512));
  EXPECT_TRUE(rig.Content(data.size()) == data);
  ExpectWrittenOnce(data.size());
  rf_counters counters = rig.Counters();
  EXPECT_EQ(counters.deaths, 1u);
  EXPECT_EQ(counters.generation, 2u);
  EXPECT_EQ(counters.failed, 0u);
  EXPECT_EQ(Taken(), 50u);
  EXPECT_EQ(faults.Done(kMain).size(), 50u);
  EXPECT_EQ(Refusals(), 1u) << "a dead one is left alone";
  EXPECT_EQ(faults.Done(RF_BACKEND_LIBAIO).size(), 150u);
  EXPECT_EQ(FellBackInAll(), 0u);
  EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_LIBAIO) << "the next one";
  EXPECT_TRUE(
      rig.Logged(RF_LOG_ERROR, {"io_uring", "fault_injection", strerror(EPERM), "with libaio"}))
      << rig.Log();
  EXPECT_TRUE(rig.RoundTrip(64, 512, 9)) << "and the queue goes on";
  EXPECT_EQ(rig.Counters().deaths, 1u);
}

TEST_F(Fault, DeathOfTheNextBackendTooLosesNothing) {
  Plan("death=EPERM:io_uring@51 death=ENOSYS:libaio@31 capacity=16:io_uring,libaio");
  NotRouted();
  Open(256);
  std::string data = Pattern(200 * 512);
  EXPECT_TRUE(rig.Completed(rig.Do(rig.Blocks(RF_OP_WRITE, &data, 512)), 200, 512));
  EXPECT_TRUE(rig.Content(data.size()) == data);
  ExpectWrittenOnce(data.size());
  rf_counters counters = rig.Counters();
  EXPECT_EQ(counters.deaths, 2u);
  EXPECT_EQ(counters.generation, 3u);
  EXPECT_EQ(counters.fell_back[RF_OP_WRITE][RF_FALLBACK_DEAD], 120u);
  EXPECT_EQ(rf_queue_backend(rig.queue), kThreads);
  EXPECT_TRUE(rig.Logged(RF_LOG_ERROR, {"io_uring", strerror(EPERM), "with libaio"})) << rig.Log();
  EXPECT_TRUE(rig.Logged(RF_LOG_ERROR, {"libaio", strerror(ENOSYS), "with threads"})) << rig.Log();
}

TEST_F(Fault, DeathOfARequiredBackendLeadsToThreadsAtOnce) {
  Plan("death=EPERM@51 capacity=16");
  NotRouted();
  rig.engine_options.choice = RF_CHOICE_REQUIRE;
  Open(256);
  std::string data = Pattern(200 * 512);
  EXPECT_TRUE(rig.Completed(rig.Do(rig.Blocks(RF_OP_WRITE, &data, 512)), 200, 512));
  ExpectWrittenOnce(data.size());
  EXPECT_EQ(rf_queue_backend(rig.queue), kThreads);
  EXPECT_EQ(FellBack(RF_OP_WRITE, RF_FALLBACK_DEAD), 150u);
}

// What the dead one had taken is done, and nobody will ever hear of it.
TEST_F(Fault, AWriteWhoseFateIsNotKnownSaysSoAndIsNotDoneAgain) {
  Plan("death=EPERM@51 lost capacity=16");
  NotRouted();
  Open(256);
  std::string data = Pattern(200 * 512), back(data.size(), '\0');
  unsigned lost = 0;
  for (const rf_completion &done : rig.Do(rig.Blocks(RF_OP_WRITE, &data, 512))) {
    EXPECT_TRUE(done.status == 0 || done.status == -EOWNERDEAD) << done.status;
    EXPECT_EQ(done.bytes, done.status == 0 ? 512 : 0);
    lost += done.status != 0;
  }
  EXPECT_GT(lost, 0u);
  EXPECT_LE(lost, 16u) << "only what was in flight";
  EXPECT_EQ(rig.Counters().lost, lost);
  for (unsigned times : faults.TimesWritten(data.size())) ASSERT_LE(times, 1u);
  EXPECT_EQ(rig.Counters().deaths, 1u);
}

TEST_F(Fault, AReadWhoseAnswerIsLostIsDoneAgain) {
  std::string data = Pattern(200 * 512), back(data.size(), '\0');
  Plan("death=EPERM@51 lost capacity=16");
  NotRouted();
  Open(256);
  ASSERT_EQ(pwrite(rig.fd, data.data(), data.size(), 0), static_cast<ssize_t>(data.size()));
  EXPECT_TRUE(rig.Completed(rig.Do(rig.Blocks(RF_OP_READ, &back, 512)), 200, 512));
  EXPECT_TRUE(back == data);
  EXPECT_EQ(rig.Counters().lost, 0u);
  EXPECT_GT(rig.Counters().retried, 0u) << "nothing was lost";
}

TEST_F(Fault, DeathInTheMiddleOfShortTransfersLosesNothing) {
  Plan("short=100 death=EPERM@302 capacity=8");
  Open(128);
  std::string data = Pattern(100 * 777);
  EXPECT_TRUE(rig.Completed(rig.Do(rig.Blocks(RF_OP_WRITE, &data, 777)), 100, 777));
  EXPECT_TRUE(rig.Content(data.size()) == data);
  ExpectWrittenOnce(data.size());
  EXPECT_EQ(rig.Counters().deaths, 1u);
}

TEST_F(Fault, DeathWithoutEverHavingWorkedLosesNothing) {
  Plan("death=ENOSYS");
  NotRouted();
  Open();
  EXPECT_TRUE(rig.RoundTrip());
  EXPECT_EQ(rig.Counters().deaths, 1u);
  EXPECT_EQ(faults.Done(RF_BACKEND_LIBAIO).size(), 129u);
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
  Plan("death=EPERM");
  rf_op nop = rf_op_nop(1);
  rf_completion done[2];
  ASSERT_EQ(rf_submit_and_wait(rig.queue, &nop, 1, nullptr, done, 1, 2, kLostNs), 1);
  EXPECT_EQ(done[0].user_data, 1u);
  EXPECT_EQ(done[0].backend, RF_BACKEND_LIBAIO);
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
  Plan("deaf=EPERM partial=1");
  EXPECT_TRUE(rig.RoundTrip(32, 512));
  EXPECT_EQ(rig.Counters().deaths, 0u) << "it still takes requests";
}

TEST_F(Fault, AQueueWhoseBackendCannotBeOpenedTakesTheNext) {
  Open();
  ASSERT_EQ(rig.CloseQueue(), 0);
  Plan("open=EMFILE");
  ASSERT_EQ(rig.OpenQueue(), 0);
  EXPECT_EQ(rf_queue_backend(rig.queue), RF_BACKEND_LIBAIO);
  EXPECT_EQ(rig.Counters().generation, 2u);
  EXPECT_TRUE(rig.Logged(RF_LOG_WARNING, {"fault_injection", strerror(EMFILE)})) << rig.Log();
  EXPECT_TRUE(rig.RoundTrip());
}

// ---- cancelling, deadlines, closing ------------------------------------------------------------

TEST_F(Fault, AnOpInAPauseCanBeStoppedAtOnce) {
  Open();
  Plan("error=EAGAIN");
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
  Plan("error=EAGAIN");
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
  Plan("error=EAGAIN:x3,each");
  char byte = 'x';
  rf_op op = rf_op_write(rig.file, &byte, 1, 0, 77);
  op.deadline_ns = static_cast<uint64_t>(kLostNs);
  EXPECT_EQ(rig.Do(op).status, 0);
  EXPECT_EQ(rig.Counters().timed_out, 0u);
}

TEST_F(Fault, AnOpThatWaitsForAHandOverIsEndedByItsDeadline) {
  Open();
  Plan("refuse=EAGAIN");
  char byte = 'x';
  rf_op op = rf_op_write(rig.file, &byte, 1, 0, 77);
  op.deadline_ns = 2 * kMillisecond;
  EXPECT_EQ(rig.Do(op).status, -ETIMEDOUT);
  EXPECT_EQ(rig.Content(1), "");
}

TEST_F(Fault, StoppingAShortTransferKeepsTheBytesThatWereMoved) {
  Open();
  Plan("short=100 error=EAGAIN:from=200");
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
  const char *plan;
};

const Trouble kTroubles[] = {
    {"Nothing", ""},
    {"Cuts", "short=13"},
    {"Pauses", "error=EBUSY"},
    {"Zeros", "error=0"},
    {"Refusals", "error=EINVAL"},
    {"Exhaustion", "refuse=EAGAIN@6+"},
    {"Death", "death=EPERM@6"},
    {"Crumbs", "partial=1 reorder"},
    {"Deafness", "deaf=EPERM"},
    {"Narrowness", "capacity=4"},
    {"Lateness", "delay=3:50% delay=100us reorder"},
};

class Closing : public Fault, public testing::WithParamInterface<Trouble> {};

TEST_P(Closing, InTheMiddleOfItEndsWithNothingInUse) {
  for (unsigned turns = 0; turns < 20; turns++) {
    Plan(GetParam().plan);
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
    rf_fault_counts counts = faults.Counts();
    EXPECT_EQ(counts.backends[kMain].closed, counts.backends[kMain].opened);
    EXPECT_EQ(rf_file_close(rig.file), 0) << "no op has it any more";
    rig.file = nullptr;
    ASSERT_EQ(rf_engine_close(rig.engine), 0);
    rig.engine = nullptr;
    for (unsigned times : faults.TimesWritten(data.size())) ASSERT_LE(times, turns + 1);
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
  std::string text = "seed=" + std::to_string(GetParam());
  text += one_of("", " short=37", " short=99", " short=512", " short", " short=50%");
  std::string error = one_of("EINTR", "EAGAIN", "EBUSY", "ENOMEM", "EINVAL", "ENOSYS");
  text += one_of("", " error=" + error + ":x1,each", " error=" + error + ":x2,each");
  text += one_of("", " refuse=EAGAIN@1x3", " refuse=EINTR@21x12", " refuse=EBUSY@101x3",
                 " death=EPERM@1", " death=EPERM@21", " death=EPERM@101");
  text += one_of("", " partial=1", " partial=5:50%");
  text += one_of("", " capacity=1", " capacity=4", " capacity=32");
  text += one_of("", " lack:fsync", " lack:write");
  text += one_of("", " reorder", " reorder=30%");
  text += one_of("", " delay=2:30%", " delay=20us:10%");
  SCOPED_TRACE(text);
  Plan(text);
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
