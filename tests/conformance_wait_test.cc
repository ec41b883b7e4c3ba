// SPDX-License-Identifier: Apache-2.0
// Time and order: waiting, links, cancellation, deadlines, and the descriptor to poll.
#include <poll.h>

#include <thread>

#include "tests/conformance.h"

namespace conformance {
namespace {

constexpr int kPollPatience = 5000; // milliseconds

bool Readable(int fd, int milliseconds) {
  pollfd one = {fd, POLLIN, 0};
  return poll(&one, 1, milliseconds) == 1 && (one.revents & POLLIN) != 0;
}

// ---- waiting -----------------------------------------------------------------------------------

TEST_P(Conformance, WaitReturnsAllThereAreWhenMoreAreAskedFor) {
  rf_queue *queue = OpenQueue();
  rf_op ops[] = {rf_op_nop(1), rf_op_nop(2), rf_op_nop(3)};
  rf_completion room[10];
  ASSERT_EQ(3, rf_submit(queue, ops, 3));
  EXPECT_EQ(3, rf_wait(queue, room, 10, 10, RF_FOREVER));
  EXPECT_EQ(0, rf_wait(queue, room, 1, 10, RF_FOREVER)) << "nothing is to come";
}

TEST_P(Conformance, WaitHandsOverAtMostMaxAndKeepsTheRest) {
  rf_queue *queue = OpenQueue();
  std::vector<rf_op> ops;
  for (uint64_t i = 0; i < 10; i++) ops.push_back(rf_op_nop(i));
  rf_completion room[10] = {};
  ASSERT_EQ(10, rf_submit(queue, ops.data(), 10));
  int got = rf_wait(queue, room, 4, 4, kPatience);
  ASSERT_EQ(4, got);
  ASSERT_EQ(6, rf_wait(queue, room + 4, 6, 6, kPatience));
  uint64_t sum = 0;
  for (const rf_completion &one : room) sum += one.user_data;
  EXPECT_EQ(45u, sum);
}

TEST_P(Conformance, WaitRefusesWhatMakesNoSense) {
  rf_queue *queue = OpenQueue();
  rf_completion room[2];
  EXPECT_EQ(-EINVAL, rf_wait(queue, room, 2, 1, 0));
  EXPECT_EQ(-EINVAL, rf_wait(queue, room, 0, 0, 0));
}

TEST_P(Conformance, WaitEndsAtItsTimeOutAndNotBefore) {
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  rf_op ops[] = {pipe->Read(1), rf_op_nop(2)};
  rf_completion room[2];
  ASSERT_EQ(2, rf_submit(queue, ops, 2));
  Stopwatch watch;
  int there = rf_wait(queue, room, 2, 2, 30 * kMilliseconds);
  EXPECT_GE(watch.ns(), 30 * kMilliseconds);
  ASSERT_TRUE(there == 0 || there == 1) << there;
  if (there == 0) { // a worker has the nop, and a busy machine no time for it
    ASSERT_EQ(1, rf_wait(queue, room, 1, 2, kPatience));
  }
  EXPECT_EQ(2u, room[0].user_data);
  Stopwatch again;
  EXPECT_EQ(0, rf_wait(queue, room, 1, 2, 20 * kMilliseconds));
  EXPECT_GE(again.ns(), 20 * kMilliseconds);
  pipe->Write();
  ASSERT_EQ(1, rf_wait(queue, room, 1, 2, kPatience));
  EXPECT_EQ(0, room[0].status);
  EXPECT_EQ(1, room[0].bytes);
}

// Two are asked for, two are in flight, and one of these never ends: the second is the linked one.
TEST_P(Conformance, AWaitForSeveralDoesNotKeepALinkedOpFromStarting) {
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  rf_op ops[] = {rf_op_nop(1), Flagged(rf_op_nop(2), RF_OP_LINK), pipe->Read(3)};
  rf_completion room[3];
  Stopwatch watch;
  int got = rf_submit_and_wait(queue, ops, 3, nullptr, room, 2, 3, kPatience / 10);
  EXPECT_LT(watch.ns(), kPatience / 10) << "it waited for the read";
  ASSERT_EQ(2, got);
  EXPECT_EQ(1u, room[0].user_data);
  EXPECT_EQ(2u, room[1].user_data);
  pipe->Write();
  ASSERT_EQ(1, rf_wait(queue, room, 1, 3, kPatience));
}

// As with the output and the errors of a child: the second pipe gets its byte only when the first,
// which is too small for all that is written to it, has been read to the end.
TEST_P(Conformance, AWaitForSeveralContinuesAReadFromAPipe) {
  constexpr size_t kBytes = 300000;
  auto first = NewPipe(), second = NewPipe();
  rf_queue *queue = OpenQueue();
  std::vector<char> all(kBytes);
  rf_op ops[] = {rf_op_read(first->file, all.data(), kBytes, 0, 1), second->Read(2)};
  std::thread writer([&] {
    std::vector<char> what(kBytes, 'x');
    for (size_t at = 0; at < kBytes;) {
      ssize_t wrote = write(first->write_end, what.data() + at, kBytes - at);
      if (wrote <= 0) break;
      at += static_cast<size_t>(wrote);
    }
    second->Write();
  });
  rf_completion room[2];
  Stopwatch watch;
  int got = rf_submit_and_wait(queue, ops, 2, nullptr, room, 2, 2, kPatience / 10);
  EXPECT_LT(watch.ns(), kPatience / 10);
  EXPECT_EQ(2, got) << "it waited for the second pipe";
  if (got < 2) { // what is read only now lets the writer go on
    EXPECT_EQ(2 - got, rf_wait(queue, room, static_cast<unsigned>(2 - got), 2, kPatience));
  }
  writer.join();
}

TEST_P(Conformance, ATimeOutOfZeroAndReapNeverBlock) {
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  rf_op op = pipe->Read(1);
  rf_completion done;
  ASSERT_EQ(1, rf_submit(queue, &op, 1));
  // Would one of these block, then for ever: nobody writes to the pipe.
  for (int i = 0; i < 100; i++) {
    ASSERT_EQ(0, rf_wait(queue, &done, 1, 1, 0));
    ASSERT_EQ(0, rf_reap(queue, &done, 1));
  }
  ASSERT_EQ(0, rf_flush(queue));
  pipe->Write();
  ASSERT_EQ(1, rf_wait(queue, &done, 1, 1, kPatience));
  EXPECT_EQ(1, done.bytes);
}

TEST_P(Conformance, ReapStartsWhatWasSubmittedAndFindsItInTheEnd) {
  rf_file *file = Open(NewFile(4096));
  rf_queue *queue = OpenQueue();
  Buffer room(4096);
  rf_op op = rf_op_read(file, room.data(), 4096, 0, 1);
  ASSERT_EQ(1, rf_submit(queue, &op, 1));
  rf_completion done = {};
  Stopwatch watch;
  int got = 0;
  while (got == 0 && watch.ns() < kPatience) got = rf_reap(queue, &done, 1);
  ASSERT_EQ(1, got);
  EXPECT_EQ(4096, done.bytes);
}

TEST_P(Conformance, OneWaitSeesOpsOnTheBackendAndOnFallbackThreads) {
  std::string path = NewFile(65536);
  rf_file *file = Open(path);
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  Buffer room(4096);
  rf_op ops[] = {pipe->Read(1), rf_op_discard(file, 0, 4096, 2),
                 rf_op_read(file, room.data(), 4096, 4096, 3), rf_op_fallocate(file, 0, 0, 4096, 4),
                 rf_op_fsync(file, 5)};
  ASSERT_EQ(5, rf_submit(queue, ops, 5));
  auto done = WaitAll(queue, 4);
  ASSERT_EQ(4u, done.size());
  EXPECT_EQ(0u, done.count(1));
  for (auto &[user_data, answer] : done) EXPECT_EQ(0, answer.status) << user_data;
  pipe->Write();
  EXPECT_EQ(1, WaitAll(queue, 1)[1].bytes);
}

TEST_P(Conformance, AWaitIsEndedByTheSlowerOfTwoLanes) {
  rf_file *file = Open(NewFile(65536));
  Buffer room(4096);
  for (int i = 0; i < 50; i++) {
    rf_queue *queue = OpenQueue(8);
    rf_op ops[] = {rf_op_discard(file, 0, 4096, 1), rf_op_read(file, room.data(), 4096, 8192, 2)};
    rf_completion done[2];
    ASSERT_EQ(2, rf_submit_and_wait(queue, ops, 2, nullptr, done, 2, 2, kPatience));
    EXPECT_EQ(0, done[0].status);
    EXPECT_EQ(0, done[1].status);
    Forget(queue);
    ASSERT_EQ(0, rf_queue_close(queue));
  }
}

// ---- links -------------------------------------------------------------------------------------

TEST_P(Conformance, LinkedOpsRunOneAfterTheOther) {
  std::string path = NewPath();
  rf_file *file = Open(path);
  constexpr unsigned kSteps = 20;
  Buffer rooms(kSteps * 4096);
  std::vector<Buffer> data;
  std::vector<rf_op> ops;
  for (unsigned i = 0; i < kSteps; i++) {
    data.push_back(Buffer::Pattern(4096, 0, i));
    ops.push_back(Flagged(rf_op_write(file, data[i].data(), 4096, 0, 2 * i), RF_OP_LINK));
    ops.push_back(
        Flagged(rf_op_read(file, rooms.data() + i * 4096, 4096, 0, 2 * i + 1), RF_OP_LINK));
  }
  auto done = RunAll(OpenQueue(64), ops);
  ASSERT_EQ(ops.size(), done.size());
  for (auto &[user_data, answer] : done) EXPECT_EQ(4096, answer.bytes) << user_data;
  for (unsigned i = 0; i < kSteps; i++)
    ASSERT_EQ("", DiffersFromPattern(rooms.data() + i * 4096, 4096, 0, i)) << "step " << i;
}

TEST_P(Conformance, AnErrorEndsTheChainAndNothingElse) {
  std::string path = NewFile(4096);
  rf_file *file = Open(path), *broken = OpenBroken();
  Buffer room(4096), data = Buffer::Pattern(4096, 0, 9);
  unsigned char *at = data.data();
  rf_queue *queue = OpenQueue();
  auto done = RunAll(queue, {rf_op_read(file, room.data(), 4096, 0, 1),
                             Flagged(rf_op_read(broken, room.data(), 4096, 0, 2), RF_OP_LINK),
                             Flagged(rf_op_write(file, at, 4096, 0, 3), RF_OP_LINK),
                             Flagged(rf_op_write(file, at, 4096, 0, 4), RF_OP_LINK), rf_op_nop(5),
                             Flagged(rf_op_nop(6), RF_OP_LINK)});
  ASSERT_EQ(6u, done.size());
  EXPECT_EQ(0, done[1].status);
  EXPECT_EQ(-EBADF, done[2].status);
  EXPECT_EQ(-ECANCELED, done[3].status);
  EXPECT_EQ(-ECANCELED, done[4].status);
  EXPECT_EQ(0, done[4].bytes);
  EXPECT_EQ(0, done[5].status);
  EXPECT_EQ(0, done[6].status);
  std::vector<unsigned char> found = ReadBack(path, 5000);
  ASSERT_EQ(4096u, found.size());
  EXPECT_EQ("", DiffersFromPattern(found.data(), 4096, 0)) << "nothing was written";
  rf_counters counters;
  ASSERT_EQ(0, rf_queue_counters(queue, &counters));
  EXPECT_EQ(2u, counters.cancelled);
}

TEST_P(Conformance, AnOpThatMakesNoSenseEndsItsChainToo) {
  rf_op bad = rf_op_nop(1);
  bad.kind = 200;
  auto done = RunAll(OpenQueue(), {bad, Flagged(rf_op_nop(2), RF_OP_LINK), rf_op_nop(3)});
  ASSERT_EQ(3u, done.size());
  EXPECT_EQ(-EINVAL, done[1].status);
  EXPECT_EQ(-ECANCELED, done[2].status);
  EXPECT_EQ(0, done[3].status);
}

TEST_P(Conformance, AShortReadAtTheEndOfAFileDoesNotEndTheChain) {
  rf_file *file = Open(NewFile(4096));
  Buffer room(8192);
  auto done = RunAll(
      OpenQueue(), {rf_op_read(file, room.data(), 8192, 0, 1), Flagged(rf_op_nop(2), RF_OP_LINK)});
  ASSERT_EQ(2u, done.size());
  EXPECT_EQ(4096, done[1].bytes);
  EXPECT_EQ(0, done[2].status);
}

TEST_P(Conformance, ChainsReachAcrossCallsOfSubmit) {
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  rf_op first = pipe->Read(1), second = Flagged(rf_op_nop(2), RF_OP_LINK),
        third = Flagged(rf_op_nop(3), RF_OP_LINK);
  rf_completion done;
  ASSERT_EQ(1, rf_submit(queue, &first, 1));
  ASSERT_EQ(0, rf_flush(queue));
  ASSERT_EQ(1, rf_submit(queue, &second, 1));
  ASSERT_EQ(0, rf_wait(queue, &done, 1, 1, 5 * kMilliseconds)) << "it waits for the first";
  ASSERT_EQ(1, rf_submit(queue, &third, 1));
  pipe->Write();
  for (uint64_t expected : {1, 2, 3}) {
    ASSERT_EQ(1, rf_wait(queue, &done, 1, 1, kPatience));
    EXPECT_EQ(expected, done.user_data);
    EXPECT_EQ(0, done.status);
  }
}

TEST_P(Conformance, ChainsRememberAnOpThatWasReapedLongAgo) {
  rf_file *broken = OpenBroken();
  Buffer room(4096);
  rf_queue *queue = OpenQueue();
  EXPECT_EQ(-EBADF, Run(queue, rf_op_read(broken, room.data(), 4096, 0, 1)).status);
  EXPECT_EQ(-ECANCELED, Run(queue, Flagged(rf_op_nop(2), RF_OP_LINK)).status);
  EXPECT_EQ(-ECANCELED, Run(queue, Flagged(rf_op_nop(3), RF_OP_LINK)).status);
  EXPECT_EQ(0, Run(queue, rf_op_nop(4)).status);
  EXPECT_EQ(0, Run(queue, Flagged(rf_op_nop(5), RF_OP_LINK)).status);
}

TEST_P(Conformance, ALinkOnTheFirstOpOfAQueueMeansNothing) {
  EXPECT_EQ(0, Run(OpenQueue(), Flagged(rf_op_nop(1), RF_OP_LINK)).status);
}

TEST_P(Conformance, AChainCutByAFullQueueHoldsTogether) {
  rf_file *broken = OpenBroken();
  Buffer room(4096);
  for (unsigned depth : {1u, 2u, 3u}) {
    rf_queue *queue = OpenQueue(depth);
    std::vector<rf_op> good, bad;
    for (uint64_t i = 0; i < 10; i++) good.push_back(Flagged(rf_op_nop(i), RF_OP_LINK));
    bad = good;
    bad[4] = Flagged(rf_op_read(broken, room.data(), 4096, 0, 4), RF_OP_LINK);
    auto done = RunAll(queue, good);
    ASSERT_EQ(10u, done.size());
    for (auto &[user_data, answer] : done) EXPECT_EQ(0, answer.status) << user_data;
    done = RunAll(queue, bad);
    ASSERT_EQ(10u, done.size());
    for (auto &[i, answer] : done)
      EXPECT_EQ(i < 4 ? 0 : i == 4 ? -EBADF : -ECANCELED, answer.status) << i << " of " << depth;
  }
}

// ---- cancellation ------------------------------------------------------------------------------

// Whatever cancel says has to come true.
void ExpectHonest(int said, const rf_completion &done, int64_t bytes) {
  if (said == RF_CANCEL_STOPPED) {
    EXPECT_EQ(-ECANCELED, done.status);
    EXPECT_EQ(0, done.bytes);
  } else {
    EXPECT_EQ(RF_CANCEL_RUNNING, said);
    EXPECT_EQ(0, done.status);
    EXPECT_EQ(bytes, done.bytes);
  }
}

TEST_P(Conformance, CancelSaysHonestlyWhatBecomesOfABlockedOp) {
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  rf_op op = pipe->Read(77);
  rf_completion done;
  ASSERT_EQ(1, rf_submit(queue, &op, 1));
  ASSERT_EQ(0, rf_flush(queue));
  int said = rf_cancel(queue, 77);
  if (said != RF_CANCEL_STOPPED) {
    EXPECT_EQ(0, rf_reap(queue, &done, 1));
    pipe->Write();
  }
  ASSERT_EQ(1, rf_wait(queue, &done, 1, 1, kPatience));
  EXPECT_EQ(77u, done.user_data);
  ExpectHonest(said, done, 1);
  EXPECT_EQ(-ENOENT, rf_cancel(queue, 77)) << "it was reaped";
  rf_counters counters;
  ASSERT_EQ(0, rf_queue_counters(queue, &counters));
  EXPECT_EQ(said == RF_CANCEL_STOPPED ? 1u : 0u, counters.cancelled);
}

TEST_P(Conformance, ACancelledOpTellsTheBytesThatItMovedBefore) {
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  pipe->Write(4);
  rf_op op = pipe->Read(1, 8);
  rf_completion done;
  rf_counters counters = {};
  ASSERT_EQ(1, rf_submit(queue, &op, 1));
  Stopwatch watch;
  while (counters.continued == 0 && watch.ns() < kPatience) {
    ASSERT_EQ(0, rf_reap(queue, &done, 1));
    ASSERT_EQ(0, rf_queue_counters(queue, &counters));
  }
  int said = rf_cancel(queue, 1);
  if (said == RF_CANCEL_RUNNING) pipe->Write(4);
  ASSERT_EQ(1, rf_wait(queue, &done, 1, 1, kPatience));
  if (said == RF_CANCEL_RUNNING) {
    EXPECT_EQ(0, done.status);
    EXPECT_EQ(8, done.bytes);
  } else {
    EXPECT_EQ(RF_CANCEL_STOPPED, said);
    EXPECT_EQ(-ECANCELED, done.status);
    EXPECT_EQ(4, done.bytes);
  }
}

TEST_P(Conformance, AnOpThatWasNotStartedCanAlwaysBeStopped) {
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  rf_op ops[] = {pipe->Read(1), Flagged(rf_op_nop(2), RF_OP_LINK),
                 Flagged(rf_op_nop(3), RF_OP_LINK), rf_op_nop(4)};
  ASSERT_EQ(4, rf_submit(queue, ops, 4));
  EXPECT_EQ(RF_CANCEL_STOPPED, rf_cancel(queue, 4)) << "collected only";
  EXPECT_EQ(RF_CANCEL_STOPPED, rf_cancel(queue, 2)) << "held by a link";
  auto done = WaitAll(queue, 3);
  ASSERT_EQ(3u, done.size());
  for (uint64_t i : {2, 3, 4}) EXPECT_EQ(-ECANCELED, done[i].status) << i;
  pipe->Write();
  EXPECT_EQ(0, WaitAll(queue, 1)[1].status);
}

TEST_P(Conformance, CancelStopsTheOldestOfThoseWithTheSameUserData) {
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  rf_op ops[] = {pipe->Read(1), Flagged(rf_op_fsync(pipe->file, 5), RF_OP_LINK),
                 Flagged(rf_op_nop(5), RF_OP_LINK)};
  ASSERT_EQ(3, rf_submit(queue, ops, 3));
  EXPECT_EQ(RF_CANCEL_STOPPED, rf_cancel(queue, 5));
  rf_completion done[2];
  ASSERT_EQ(2, rf_wait(queue, done, 2, 2, kPatience));
  EXPECT_EQ(RF_OP_FSYNC, done[0].kind);
  EXPECT_EQ(RF_OP_NOP, done[1].kind) << "its dependent goes with it";
  EXPECT_EQ(-ECANCELED, done[1].status);
  pipe->Write();
  EXPECT_EQ(0, WaitAll(queue, 1)[1].status);
}

// The answers to the cancellation and to both ops are more than a ring of that depth has room for.
TEST_P(Conformance, CancelInAFullQueueWithADescriptorEnds) {
  auto first = NewPipe(), second = NewPipe();
  rf_queue *queue = OpenQueue(2);
  ASSERT_GE(rf_queue_fd(queue), 0);
  rf_op ops[] = {first->Read(1), second->Read(2)};
  ASSERT_EQ(2, rf_submit(queue, ops, 2));
  ASSERT_EQ(0, rf_flush(queue));
  second->Write();
  EXPECT_GE(rf_cancel(queue, 1), 0);
  first->Write(); // for backends that cannot stop it
  auto answers = WaitAll(queue, 2);
  EXPECT_TRUE(answers[1].status == -ECANCELED || answers[1].bytes == 1);
  EXPECT_EQ(1, answers[2].bytes);
}

TEST_P(Conformance, CancelFindsWhatIsFinishedAndDoesNotFindWhatNeverWas) {
  rf_queue *queue = OpenQueue();
  rf_op ops[] = {rf_op_nop(1), rf_op_nop(2)};
  rf_completion done[2];
  ASSERT_EQ(-ENOENT, rf_cancel(queue, 1));
  ASSERT_EQ(2, rf_submit(queue, ops, 2));
  ASSERT_EQ(1, rf_wait(queue, done, 1, 1, kPatience));
  uint64_t other = 3 - done[0].user_data;
  EXPECT_EQ(-ENOENT, rf_cancel(queue, done[0].user_data));
  int said = rf_cancel(queue, other);
  ASSERT_EQ(1, rf_wait(queue, done, 1, 1, kPatience));
  EXPECT_TRUE(said == RF_CANCEL_FINISHED  ? done[0].status == 0
              : said == RF_CANCEL_STOPPED ? done[0].status == -ECANCELED
                                          : said == RF_CANCEL_RUNNING)
      << said << " and then " << done[0].status;
}

TEST_P(Conformance, CancelOfAFinishedOpChangesNothing) {
  rf_op bad = rf_op_nop(9);
  bad.kind = 99; // finished as soon as it is accepted
  rf_queue *queue = OpenQueue();
  ASSERT_EQ(1, rf_submit(queue, &bad, 1));
  EXPECT_EQ(RF_CANCEL_FINISHED, rf_cancel(queue, 9));
  EXPECT_EQ(-EINVAL, WaitAll(queue, 1)[9].status);
}

// ---- deadlines ---------------------------------------------------------------------------------

TEST_P(Conformance, ADeadlineStopsABlockedOpOrItCompletesTruly) {
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  rf_op op = WithDeadline(pipe->Read(1), 20 * kMilliseconds);
  rf_completion done;
  Stopwatch watch;
  ASSERT_EQ(1, rf_submit(queue, &op, 1));
  int got = rf_wait(queue, &done, 1, 1, 200 * kMilliseconds);
  EXPECT_GE(watch.ns(), 20 * kMilliseconds);
  rf_counters counters;
  if (got == 1) {
    EXPECT_EQ(-ETIMEDOUT, done.status);
    EXPECT_EQ(0, done.bytes);
  } else {
    ASSERT_EQ(0, got);
    pipe->Write();
    ASSERT_EQ(1, rf_wait(queue, &done, 1, 1, kPatience));
    EXPECT_EQ(0, done.status);
    EXPECT_EQ(1, done.bytes);
  }
  ASSERT_EQ(0, rf_queue_counters(queue, &counters));
  EXPECT_EQ(static_cast<uint64_t>(got), counters.timed_out);
}

TEST_P(Conformance, ADeadlineOfAHeldOpEndsItAndItsDependents) {
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  rf_op ops[] = {pipe->Read(1), WithDeadline(Flagged(rf_op_nop(2), RF_OP_LINK), 10 * kMilliseconds),
                 Flagged(rf_op_nop(3), RF_OP_LINK), Flagged(rf_op_nop(4), RF_OP_LINK)};
  Stopwatch watch;
  ASSERT_EQ(4, rf_submit(queue, ops, 4));
  auto done = WaitAll(queue, 3);
  EXPECT_GE(watch.ns(), 10 * kMilliseconds);
  ASSERT_EQ(3u, done.size());
  EXPECT_EQ(-ETIMEDOUT, done[2].status);
  EXPECT_EQ(-ECANCELED, done[3].status);
  EXPECT_EQ(-ECANCELED, done[4].status);
  pipe->Write();
  EXPECT_EQ(0, WaitAll(queue, 1)[1].status);
}

TEST_P(Conformance, DeadlinesThatAreNotReachedChangeNothing) {
  rf_file *file = Open(NewFile(65536));
  Buffer room(64 * 4096);
  rf_queue *queue = OpenQueue();
  std::vector<rf_op> ops;
  for (uint64_t i = 0; i < 64; i++)
    ops.push_back(WithDeadline(rf_op_read(file, room.data() + i * 4096, 4096, i % 16 * 4096, i),
                               i % 2 != 0 ? kPatience : INT64_MAX));
  ops[3].deadline_ns = UINT64_MAX;
  auto done = RunAll(queue, ops);
  ASSERT_EQ(64u, done.size());
  for (auto &[user_data, answer] : done) EXPECT_EQ(4096, answer.bytes) << user_data;
  rf_counters counters;
  ASSERT_EQ(0, rf_queue_counters(queue, &counters));
  EXPECT_EQ(0u, counters.timed_out);
}

TEST_P(Conformance, DeadlinesComeDueInTheirOrder) {
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  rf_op blocked = pipe->Read(0);
  ASSERT_EQ(1, rf_submit(queue, &blocked, 1));
  // Each is linked to the one before: the last one has the shortest deadline.
  std::vector<rf_op> ops;
  for (uint64_t i = 1; i <= 8; i++)
    ops.push_back(WithDeadline(Flagged(rf_op_nop(i), RF_OP_LINK),
                               static_cast<int64_t>(9 - i) * 50 * kMilliseconds));
  ASSERT_EQ(8, rf_submit(queue, ops.data(), 8));
  for (uint64_t expected = 8; expected >= 1; expected--) {
    rf_completion done;
    ASSERT_EQ(1, rf_wait(queue, &done, 1, 1, kPatience));
    EXPECT_EQ(expected, done.user_data);
    EXPECT_EQ(-ETIMEDOUT, done.status);
  }
  pipe->Write();
  EXPECT_EQ(0, WaitAll(queue, 1)[0].status);
}

// ---- the descriptor ----------------------------------------------------------------------------

// With everything reaped the descriptor falls silent.  The kernel hands an answer over before it
// signals it (aio_complete of its aio.c), so an answer that is found quickly may be followed by its
// signal: one late awakening an op at most, and reaping, which finds nothing, ends it.
testing::AssertionResult FallsSilent(rf_queue *queue, int fd, int ops) {
  for (int late = 0; Readable(fd, 0); late++) {
    rf_completion done;
    int got = rf_reap(queue, &done, 1);
    if (got != 0) return testing::AssertionFailure() << "a reap of nothing answered " << got;
    if (late == ops) return testing::AssertionFailure() << "still readable after " << late;
  }
  return testing::AssertionSuccess();
}

TEST_P(Conformance, TheDescriptorIsReadableUntilEverythingIsReaped) {
  rf_file *file = Open(NewFile(65536));
  rf_queue *queue = OpenQueue();
  int fd = rf_queue_fd(queue);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(fd, rf_queue_fd(queue));
  EXPECT_FALSE(Readable(fd, 0));
  Buffer room(65536);
  for (int round = 0; round < 20; round++) {
    std::vector<rf_op> ops;
    for (uint64_t i = 0; i < 16; i++)
      ops.push_back(rf_op_read(file, room.data() + i * 4096, 4096, i * 4096, i));
    ASSERT_EQ(16, rf_submit(queue, ops.data(), 16));
    ASSERT_EQ(0, rf_flush(queue));
    for (int reaped = 0; reaped < 16;) {
      ASSERT_TRUE(Readable(fd, kPollPatience)) << "round " << round << ", " << reaped;
      rf_completion done[3];
      int got = rf_reap(queue, done, 3);
      ASSERT_GE(got, 0);
      for (int i = 0; i < got; i++) ASSERT_EQ(4096, done[i].bytes);
      reaped += got;
    }
    ASSERT_TRUE(FallsSilent(queue, fd, 16)) << "round " << round;
  }
}

TEST_P(Conformance, TheDescriptorSeesOpsOnFallbackThreads) {
  rf_file *file = Open(NewFile(65536));
  rf_queue *queue = OpenQueue();
  int fd = rf_queue_fd(queue);
  ASSERT_GE(fd, 0);
  for (uint64_t round = 0; round < 20; round++) {
    rf_op op = rf_op_discard(file, 0, 4096, round);
    rf_completion done;
    ASSERT_EQ(1, rf_submit(queue, &op, 1));
    ASSERT_EQ(0, rf_flush(queue));
    int got = 0;
    while (got == 0) {
      ASSERT_TRUE(Readable(fd, kPollPatience));
      got = rf_reap(queue, &done, 1);
    }
    ASSERT_EQ(1, got);
    EXPECT_EQ(0, done.status);
    ASSERT_TRUE(FallsSilent(queue, fd, 1)) << "round " << round;
  }
}

TEST_P(Conformance, TheDescriptorSeesABlockedOpOnlyWhenItIsDone) {
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  int fd = rf_queue_fd(queue);
  ASSERT_GE(fd, 0);
  rf_op op = pipe->Read(1);
  ASSERT_EQ(1, rf_submit(queue, &op, 1));
  ASSERT_EQ(0, rf_flush(queue));
  EXPECT_FALSE(Readable(fd, 5));
  pipe->Write();
  rf_completion done;
  int got = 0;
  while (got == 0) {
    ASSERT_TRUE(Readable(fd, kPollPatience));
    got = rf_reap(queue, &done, 1);
  }
  ASSERT_EQ(1, got);
  EXPECT_EQ(1, done.bytes);
}

TEST_P(Conformance, TheDescriptorWakesForEveryStepOfAChain) {
  rf_file *file = Open(NewFile(65536));
  rf_queue *queue = OpenQueue();
  int fd = rf_queue_fd(queue);
  ASSERT_GE(fd, 0);
  Buffer room(4096);
  std::vector<rf_op> ops;
  for (uint64_t i = 0; i < 12; i++)
    ops.push_back(Flagged(i % 3 == 0 ? rf_op_discard(file, 0, 4096, i)
                                     : rf_op_read(file, room.data(), 4096, 4096 * i, i),
                          RF_OP_LINK));
  ASSERT_EQ(12, rf_submit(queue, ops.data(), 12));
  ASSERT_EQ(0, rf_flush(queue));
  for (uint64_t expected = 0; expected < 12;) {
    ASSERT_TRUE(Readable(fd, kPollPatience)) << expected;
    rf_completion done;
    int got = rf_reap(queue, &done, 1);
    ASSERT_GE(got, 0);
    if (got == 0) continue;
    EXPECT_EQ(expected++, done.user_data);
    EXPECT_EQ(0, done.status);
  }
  EXPECT_TRUE(FallsSilent(queue, fd, 12));
}

TEST_P(Conformance, TheDescriptorBecomesReadableForADeadline) {
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  int fd = rf_queue_fd(queue);
  ASSERT_GE(fd, 0);
  rf_op ops[] = {pipe->Read(1),
                 WithDeadline(Flagged(rf_op_nop(2), RF_OP_LINK), 15 * kMilliseconds)};
  Stopwatch watch;
  ASSERT_EQ(2, rf_submit(queue, ops, 2));
  ASSERT_EQ(0, rf_flush(queue));
  rf_completion done;
  int got = 0;
  while (got == 0) {
    ASSERT_TRUE(Readable(fd, kPollPatience));
    got = rf_reap(queue, &done, 1);
  }
  EXPECT_GE(watch.ns(), 15 * kMilliseconds);
  ASSERT_EQ(1, got);
  EXPECT_EQ(2u, done.user_data);
  EXPECT_EQ(-ETIMEDOUT, done.status);
  pipe->Write();
  EXPECT_EQ(0, WaitAll(queue, 1)[1].status);
}

TEST_P(Conformance, TheDescriptorIsRefusedWhileOpsAreInTheQueue) {
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  rf_op op = pipe->Read(1);
  ASSERT_EQ(1, rf_submit(queue, &op, 1));
  EXPECT_EQ(-EBUSY, rf_queue_fd(queue));
  pipe->Write();
  EXPECT_EQ(0, WaitAll(queue, 1)[1].status);
  EXPECT_GE(rf_queue_fd(queue), 0);
  EXPECT_EQ(0, Run(queue, rf_op_nop(2)).status);
}

RF_CONFORMANCE_EVERYWHERE();

} // namespace
} // namespace conformance
