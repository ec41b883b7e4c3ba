// SPDX-License-Identifier: Apache-2.0
// Every op and its answer: what it does, one completion each, any depth, what is wrong with one.
#include <linux/falloc.h>
#include <sys/eventfd.h>

#include <random>
#include <set>

#include "tests/conformance.h"

namespace conformance {
namespace {

// ---- what ops do -------------------------------------------------------------------------------

TEST_P(Conformance, WritesWhatAPlainReadThenFinds) {
  std::string path = NewPath();
  rf_file *file = Open(path);
  Buffer data = Buffer::Pattern(65536);
  rf_completion done = Run(OpenQueue(), rf_op_write(file, data.data(), 65536, 0, 7));
  EXPECT_EQ(0, done.status);
  EXPECT_EQ(65536, done.bytes);
  std::vector<unsigned char> found = ReadBack(path, 100000);
  ASSERT_EQ(65536u, found.size());
  EXPECT_EQ("", DiffersFromPattern(found.data(), found.size(), 0));
}

TEST_P(Conformance, ReadsWhatAPlainWritePutThere) {
  rf_file *file = Open(NewFile(65536));
  Buffer room(8192);
  rf_completion done = Run(OpenQueue(), rf_op_read(file, room.data(), 8192, 16384, 8));
  EXPECT_EQ(0, done.status);
  ASSERT_EQ(8192, done.bytes);
  EXPECT_EQ("", DiffersFromPattern(room.data(), 8192, 16384));
}

TEST_P(Conformance, WritesFromManyBuffersInOrder) {
  std::string path = NewPath();
  rf_file *file = Open(path);
  Buffer first = Buffer::Pattern(8192, 4096), second = Buffer::Pattern(4096, 12288);
  iovec iov[] = {{first.data(), 8192}, {second.data(), 4096}};
  rf_completion done = Run(OpenQueue(), rf_op_writev(file, iov, 2, 4096, 9));
  EXPECT_EQ(0, done.status);
  EXPECT_EQ(12288, done.bytes);
  std::vector<unsigned char> found = ReadBack(path, 20000, 4096);
  ASSERT_EQ(12288u, found.size());
  EXPECT_EQ("", DiffersFromPattern(found.data(), found.size(), 4096));
}

TEST_P(Conformance, ReadsIntoManyBuffersInOrder) {
  rf_file *file = Open(NewFile(32768));
  Buffer first(4096), second(8192), third(4096);
  iovec iov[] = {{first.data(), 4096}, {second.data(), 8192}, {third.data(), 4096}};
  rf_completion done = Run(OpenQueue(), rf_op_readv(file, iov, 3, 8192, 10));
  EXPECT_EQ(0, done.status);
  ASSERT_EQ(16384, done.bytes);
  EXPECT_EQ("", DiffersFromPattern(first.data(), 4096, 8192));
  EXPECT_EQ("", DiffersFromPattern(second.data(), 8192, 12288));
  EXPECT_EQ("", DiffersFromPattern(third.data(), 4096, 20480));
}

TEST_P(Conformance, SyncsMoveNothingAndSucceed) {
  rf_file *file = Open(NewFile(4096));
  auto done = RunAll(OpenQueue(), {rf_op_fsync(file, 1), rf_op_fdatasync(file, 2)});
  ASSERT_EQ(2u, done.size());
  for (auto &[user_data, answer] : done) {
    EXPECT_EQ(0, answer.status) << user_data;
    EXPECT_EQ(0, answer.bytes) << user_data;
  }
}

TEST_P(Conformance, FallocateExtendsTheFileAndAllocates) {
  std::string path = NewPath();
  rf_file *file = Open(path);
  rf_completion done = Run(OpenQueue(), rf_op_fallocate(file, 0, 8192, 65536, 3));
  EXPECT_EQ(0, done.status);
  EXPECT_EQ(0, done.bytes);
  struct stat info;
  ASSERT_EQ(0, stat(path.c_str(), &info));
  EXPECT_EQ(8192 + 65536, info.st_size);
  EXPECT_GE(info.st_blocks * 512, 65536);
}

TEST_P(Conformance, FallocateHonoursItsMode) {
  std::string path = NewFile(4096);
  rf_file *file = Open(path);
  rf_queue *queue = OpenQueue();
  EXPECT_EQ(0, Run(queue, rf_op_fallocate(file, FALLOC_FL_KEEP_SIZE, 0, 65536, 3)).status);
  EXPECT_EQ(4096u, SizeOf(path));
  rf_completion wrong = Run(queue, rf_op_fallocate(file, 0x40000000, 0, 4096, 4));
  EXPECT_EQ(-EOPNOTSUPP, wrong.status);
}

TEST_P(Conformance, DiscardMakesAHoleAndKeepsTheSize) {
  std::string path = NewFile(65536);
  rf_file *file = Open(path);
  rf_completion done = Run(OpenQueue(), rf_op_discard(file, 16384, 32768, 3));
  EXPECT_EQ(0, done.status);
  EXPECT_EQ(0, done.bytes);
  std::vector<unsigned char> found = ReadBack(path, 100000);
  ASSERT_EQ(65536u, found.size());
  EXPECT_EQ("", DiffersFromPattern(found.data(), 16384, 0));
  EXPECT_TRUE(IsAll(found.data() + 16384, 32768, 0));
  EXPECT_EQ("", DiffersFromPattern(found.data() + 49152, 16384, 49152));
}

TEST_P(Conformance, DurableWritesWriteTheSame) {
  std::string path = NewPath();
  rf_file *file = Open(path);
  Buffer data = Buffer::Pattern(4096);
  rf_completion done =
      Run(OpenQueue(), Flagged(rf_op_write(file, data.data(), 4096, 0, 1), RF_OP_DSYNC));
  EXPECT_EQ(0, done.status);
  EXPECT_EQ(4096, done.bytes);
  std::vector<unsigned char> found = ReadBack(path, 4096);
  ASSERT_EQ(4096u, found.size());
  EXPECT_EQ("", DiffersFromPattern(found.data(), 4096, 0));
}

TEST_P(Conformance, NowaitReadsOrSaysWhyNot) {
  rf_file *file = Open(NewFile(4096));
  Buffer room(4096);
  rf_completion done =
      Run(OpenQueue(), Flagged(rf_op_read(file, room.data(), 4096, 0, 1), RF_OP_NOWAIT));
  if (done.status == 0) {
    EXPECT_EQ(4096, done.bytes);
    EXPECT_EQ("", DiffersFromPattern(room.data(), 4096, 0));
  } else {
    EXPECT_TRUE(done.status == -EAGAIN || done.status == -EOPNOTSUPP) << done.status;
    EXPECT_TRUE(done.status == -EAGAIN || !rf_file_get_info(file)->nowait_read);
  }
}

TEST_P(Conformance, NowaitWritesOrSaysWhyNot) {
  for (int append : {0, O_APPEND}) {
    rf_file *file = Open(NewFile(4096), O_RDWR | append);
    Buffer data = Buffer::Pattern(4096);
    iovec one = {data.data(), 4096};
    int raw = pwritev2(rf_file_fd(file), &one, 1, 0, RWF_NOWAIT) < 0 ? -errno : 0;
    rf_completion done =
        Run(OpenQueue(), Flagged(rf_op_write(file, data.data(), 4096, 0, 1), RF_OP_NOWAIT));
    EXPECT_TRUE(done.status == 0 || done.status == -EAGAIN || done.status == -EOPNOTSUPP)
        << done.status;
    EXPECT_EQ(done.status == 0 ? 4096 : 0, done.bytes);
    if (raw == -EOPNOTSUPP) {
      EXPECT_EQ(raw, done.status) << "again and again would not help";
    }
  }
}

TEST_P(Conformance, AppendingWritesGoToTheEnd) {
  std::string path = NewFile(4096);
  rf_file *file = Open(path, O_WRONLY | O_APPEND);
  Buffer data = Buffer::Pattern(4096, 4096);
  rf_completion done = Run(OpenQueue(), rf_op_write(file, data.data(), 4096, 0, 1));
  EXPECT_EQ(0, done.status);
  EXPECT_EQ(4096, done.bytes);
  std::vector<unsigned char> found = ReadBack(path, 10000);
  ASSERT_EQ(8192u, found.size());
  EXPECT_EQ("", DiffersFromPattern(found.data(), 8192, 0));
}

TEST_P(Conformance, AnIoPriorityChangesNoData) {
  rf_file *file = Open(NewFile(8192));
  Buffer room(4096);
  rf_op op = rf_op_read(file, room.data(), 4096, 4096, 1);
  op.ioprio = 2 << 13 | 7; // best effort, the lowest
  rf_completion done = Run(OpenQueue(), op);
  EXPECT_EQ(0, done.status);
  ASSERT_EQ(4096, done.bytes);
  EXPECT_EQ("", DiffersFromPattern(room.data(), 4096, 4096));
}

TEST_P(Conformance, StreamsIgnoreTheOffset) {
  auto pipe = NewPipe();
  pipe->Write(4);
  rf_op op = pipe->Read(1, 4);
  op.offset = 12345;
  rf_completion done = Run(OpenQueue(), op);
  EXPECT_EQ(0, done.status);
  EXPECT_EQ(4, done.bytes);
  EXPECT_EQ("abcd", std::string(pipe->byte, 4));
}

TEST_P(Conformance, StreamsWithNonblockAreWaitedForAsOthers) {
  int ends[2];
  ASSERT_EQ(0, pipe2(ends, O_CLOEXEC | O_NONBLOCK));
  CloseLater(ends[0]);
  CloseLater(ends[1]);
  rf_file *from = Adopt(ends[0]), *to = Adopt(ends[1]);
  rf_queue *queue = OpenQueue();
  Buffer out = Buffer::Pattern(300000), in(300000);
  rf_op read = rf_op_read(from, in.data(), 300000, 0, 1);
  rf_completion early;
  EXPECT_EQ(0, rf_submit_and_wait(queue, &read, 1, nullptr, &early, 1, 1, 250 * kMilliseconds))
      << early.status << ": longer than all retries take, and nothing is there";
  rf_op write = rf_op_write(to, out.data(), 300000, 0, 2);
  ASSERT_EQ(1, rf_submit(queue, &write, 1));
  auto done = WaitAll(queue, 2);
  for (uint64_t user_data : {1, 2}) {
    EXPECT_EQ(0, done[user_data].status);
    EXPECT_EQ(300000, done[user_data].bytes);
  }
  EXPECT_EQ("", DiffersFromPattern(in.data(), 300000, 0));
}

TEST_P(Conformance, TerminalsWithNonblockAreWaitedForAsOthers) {
  if (access("/dev/pts/ptmx", F_OK) != 0) GTEST_SKIP() << "needs /dev/pts";
  int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  ASSERT_GE(master, 0) << strerror(errno);
  CloseLater(master);
  ASSERT_EQ(0, unlockpt(master)) << strerror(errno);
  int terminal = open(ptsname(master), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  ASSERT_GE(terminal, 0) << strerror(errno);
  CloseLater(terminal);
  rf_queue *queue = OpenQueue();
  char line[8] = {};
  rf_op read = rf_op_read(Adopt(terminal), line, sizeof(line), 0, 1);
  read.flags = RF_OP_ALLOW_SHORT;
  rf_completion done;
  EXPECT_EQ(0, rf_submit_and_wait(queue, &read, 1, nullptr, &done, 1, 1, 250 * kMilliseconds))
      << done.status;
  ASSERT_EQ(3, write(master, "hi\n", 3));
  done = WaitAll(queue, 1)[1];
  EXPECT_EQ(0, done.status);
  EXPECT_EQ(3, done.bytes);
}

// They let lseek pass, but have no offsets.
TEST_P(Conformance, EventfdsAreStreamsToo) {
  int fd = eventfd(7, EFD_CLOEXEC);
  ASSERT_GE(fd, 0);
  CloseLater(fd);
  rf_file *file = Adopt(fd);
  EXPECT_TRUE(rf_file_get_info(file)->stream);
  rf_queue *queue = OpenQueue();
  uint64_t count = 0;
  rf_completion done = Run(queue, rf_op_read(file, &count, sizeof(count), 12345, 1));
  EXPECT_EQ(0, done.status);
  EXPECT_EQ(8, done.bytes);
  EXPECT_EQ(7u, count);
  done = Run(queue, rf_op_write(file, &count, sizeof(count), 12345, 2));
  EXPECT_EQ(0, done.status);
  EXPECT_EQ(8, done.bytes);
}

TEST_P(Conformance, PolledReadsGiveTheDataOrTheRefusalOfPreadv2) {
  rf_file *file = Open(NewFile(4096));
  Buffer room(4096), plain(4096);
  iovec iov = {plain.data(), 4096};
  ssize_t expected = preadv2(rf_file_fd(file), &iov, 1, 0, RWF_HIPRI);
  int refusal = expected < 0 ? -errno : 0;
  rf_completion done =
      Run(OpenQueue(), Flagged(rf_op_read(file, room.data(), 4096, 0, 1), RF_OP_HIPRI));
  ASSERT_EQ(refusal, done.status);
  ASSERT_EQ(refusal == 0 ? 4096 : 0, done.bytes);
  if (refusal == 0) {
    EXPECT_EQ("", DiffersFromPattern(room.data(), 4096, 0));
  }
}

// ---- one answer each ---------------------------------------------------------------------------

TEST_P(Conformance, TheAnswerNamesTheOpAndWhoRanIt) {
  rf_file *file = Open(NewFile(4096));
  rf_queue *queue = OpenQueue();
  EXPECT_EQ(GetParam().backend, rf_queue_backend(queue));
  Buffer room(4096);
  rf_completion done = Run(queue, rf_op_read(file, room.data(), 4096, 0, UINT64_MAX));
  EXPECT_EQ(UINT64_MAX, done.user_data);
  EXPECT_EQ(RF_OP_READ, done.kind);
  EXPECT_EQ(GetParam().backend, done.backend);
}

TEST_P(Conformance, ThousandsOfOpsGetOneAnswerEach) {
  constexpr unsigned kOps = 6000, kBlocks = 64;
  std::string path = NewFile(kBlocks * 4096);
  rf_file *file = Open(path);
  rf_queue *queue = OpenQueue(128);
  std::mt19937 random(1);
  Buffer source = Buffer::Pattern(kBlocks * 4096), room(kOps * 4096);
  std::vector<rf_op> ops;
  iovec iov[2] = {{source.data(), 4096}, {source.data() + 4096, 4096}};
  for (uint64_t i = 0; i < kOps; i++) {
    uint64_t block = random() % kBlocks;
    switch (random() % 8) {
      case 0:
        ops.push_back(rf_op_nop(i));
        break;
      case 1:
        ops.push_back(rf_op_writev(file, iov, 2, 0, i));
        break;
      case 2:
      case 3:
        ops.push_back(rf_op_write(file, source.data() + block * 4096, 4096, block * 4096, i));
        break;
      default:
        ops.push_back(rf_op_read(file, room.data() + i * 4096, 4096, block * 4096, i));
    }
  }
  auto done = RunAll(queue, ops);
  ASSERT_EQ(kOps, done.size());
  for (const rf_op &op : ops) {
    const rf_completion &answer = done[op.user_data];
    ASSERT_EQ(0, answer.status) << op.user_data;
    ASSERT_EQ(op.kind, answer.kind);
    int64_t bytes = op.kind == RF_OP_NOP ? 0 : op.kind == RF_OP_WRITEV ? 8192 : 4096;
    ASSERT_EQ(bytes, answer.bytes) << op.user_data;
  }
  EXPECT_EQ(0, rf_reap(queue, &done[0], 1)) << "and no more than one";
  std::vector<unsigned char> found = ReadBack(path, kBlocks * 4096);
  ASSERT_EQ(kBlocks * 4096u, found.size());
  EXPECT_EQ("", DiffersFromPattern(found.data(), found.size(), 0));
}

TEST_P(Conformance, ReadsInRandomOrderEachGetTheirOwnData) {
  constexpr unsigned kBlocks = 512;
  rf_file *file = Open(NewFile(kBlocks * 4096));
  Buffer room(kBlocks * 4096);
  std::vector<uint64_t> order(kBlocks);
  for (unsigned i = 0; i < kBlocks; i++) order[i] = i;
  std::shuffle(order.begin(), order.end(), std::mt19937(2));
  std::vector<rf_op> ops;
  for (uint64_t block : order)
    ops.push_back(rf_op_read(file, room.data() + block * 4096, 4096, block * 4096, block));
  auto done = RunAll(OpenQueue(kBlocks), ops);
  ASSERT_EQ(kBlocks, done.size());
  for (auto &[block, answer] : done) ASSERT_EQ(4096, answer.bytes) << block << answer.status;
  EXPECT_EQ("", DiffersFromPattern(room.data(), room.size(), 0));
}

// ---- depth -------------------------------------------------------------------------------------

TEST_P(Conformance, EveryDepthIsAcceptedToTheLastOpAndCompletes) {
  rf_file *file = Open(NewFile(65536));
  Buffer room(RF_DEPTH_MAX / 4 * 4096);
  for (unsigned depth : {1u, 2u, 3u, 64u, 1000u, 4096u, RF_DEPTH_MAX}) {
    rf_queue *queue = OpenQueue(depth);
    ASSERT_NE(nullptr, queue);
    std::vector<rf_op> ops;
    for (uint64_t i = 0; i < depth; i++)
      ops.push_back(i % 4 != 0
                        ? rf_op_nop(i)
                        : rf_op_read(file, room.data() + i / 4 * 4096, 4096, i % 16 * 4096, i));
    ASSERT_EQ(static_cast<int>(depth), rf_submit(queue, ops.data(), depth));
    rf_op extra = rf_op_nop(depth);
    ASSERT_EQ(-EAGAIN, rf_submit(queue, &extra, 1)) << "depth " << depth;
    std::vector<rf_completion> answers(depth);
    ASSERT_EQ(static_cast<int>(depth), rf_wait(queue, answers.data(), depth, depth, kPatience));
    std::vector<bool> seen(depth);
    for (const rf_completion &answer : answers) {
      ASSERT_LT(answer.user_data, depth);
      ASSERT_FALSE(seen[answer.user_data]);
      seen[answer.user_data] = true;
      ASSERT_EQ(0, answer.status);
      ASSERT_EQ(answer.user_data % 4 == 0 ? 4096 : 0, answer.bytes);
    }
    ASSERT_EQ(1, rf_submit(queue, &extra, 1)) << "room again at depth " << depth;
    ASSERT_EQ(1, rf_wait(queue, answers.data(), 1, 1, kPatience));
    Forget(queue);
    ASSERT_EQ(0, rf_queue_close(queue));
  }
}

TEST_P(Conformance, DepthsOutOfRangeAreRefused) {
  rf_queue_options options;
  rf_queue *queue = nullptr;
  for (unsigned depth : {0u, RF_DEPTH_MAX + 1, UINT32_MAX}) {
    rf_queue_options_init(&options);
    options.depth = depth;
    EXPECT_EQ(-EINVAL, rf_queue_open(engine(), &options, &queue)) << depth;
  }
  for (unsigned workers : {0u, 1025u}) {
    rf_queue_options_init(&options);
    options.workers = workers;
    EXPECT_EQ(-EINVAL, rf_queue_open(engine(), &options, &queue)) << workers;
  }
}

TEST_P(Conformance, AFullQueueTakesWhatFitsAndThenNothing) {
  rf_queue *queue = OpenQueue(8);
  std::vector<rf_op> ops;
  for (uint64_t i = 0; i < 12; i++) ops.push_back(rf_op_nop(i));
  EXPECT_EQ(5, rf_submit(queue, ops.data(), 5));
  EXPECT_EQ(3, rf_submit(queue, ops.data() + 5, 7));
  EXPECT_EQ(-EAGAIN, rf_submit(queue, ops.data() + 8, 4));
  EXPECT_EQ(0, rf_submit(queue, ops.data(), 0));
  rf_completion answers[12];
  unsigned accepted = 99;
  int first = rf_submit_and_wait(queue, ops.data() + 8, 4, &accepted, answers, 8, 12, kPatience);
  EXPECT_EQ(8, first) << "a full queue is no error here";
  EXPECT_EQ(0u, accepted);
  EXPECT_EQ(4, rf_submit_and_wait(queue, ops.data() + 8, 4, &accepted, answers, 4, 4, kPatience));
  EXPECT_EQ(4u, accepted);
  rf_counters counters;
  ASSERT_EQ(0, rf_queue_counters(queue, &counters));
  EXPECT_EQ(12u, counters.completed);
  EXPECT_EQ(12u, counters.refused) << "4 of 7, 4 of 4, and 4 of 4 again";
}

TEST_P(Conformance, CompletionsNotReapedKeepTheirPlace) {
  rf_queue *queue = OpenQueue(2);
  rf_op ops[] = {rf_op_nop(1), rf_op_nop(2), rf_op_nop(3)};
  rf_completion answers[3];
  ASSERT_EQ(1, rf_submit_and_wait(queue, ops, 2, nullptr, answers, 1, 1, kPatience));
  EXPECT_EQ(1, rf_submit(queue, ops, 3)) << "one slot is free, one completion is not reaped";
  EXPECT_EQ(2, rf_wait(queue, answers, 2, 3, kPatience));
}

// ---- what is wrong with an op ------------------------------------------------------------------

TEST_P(Conformance, ABadDescriptorInABatchHarmsNoOther) {
  rf_file *good = Open(NewFile(8192)), *broken = OpenBroken();
  Buffer room(12288);
  unsigned char *at = room.data();
  auto done = RunAll(OpenQueue(),
                     {rf_op_read(good, at, 4096, 0, 1), rf_op_read(broken, at + 4096, 4096, 0, 2),
                      rf_op_read(good, at + 8192, 4096, 4096, 3)});
  ASSERT_EQ(3u, done.size());
  EXPECT_EQ(4096, done[1].bytes);
  EXPECT_EQ(0, done[1].status);
  EXPECT_EQ(0, done[2].bytes);
  EXPECT_EQ(-EBADF, done[2].status);
  EXPECT_EQ(4096, done[3].bytes);
  EXPECT_EQ(0, done[3].status);
  EXPECT_EQ("", DiffersFromPattern(at, 4096, 0));
  EXPECT_EQ("", DiffersFromPattern(at + 8192, 4096, 4096));
}

TEST_P(Conformance, EveryKindOfOpOnABadDescriptorIsEbadf) {
  rf_file *broken = OpenBroken();
  Buffer room(4096);
  iovec iov = {room.data(), 4096};
  auto done = RunAll(OpenQueue(),
                     {rf_op_read(broken, room.data(), 4096, 0, 1),
                      rf_op_write(broken, room.data(), 4096, 0, 2),
                      rf_op_readv(broken, &iov, 1, 0, 3), rf_op_writev(broken, &iov, 1, 0, 4),
                      rf_op_fsync(broken, 5), rf_op_fdatasync(broken, 6),
                      rf_op_fallocate(broken, 0, 0, 4096, 7), rf_op_discard(broken, 0, 4096, 8)});
  ASSERT_EQ(8u, done.size());
  for (auto &[user_data, answer] : done) EXPECT_EQ(-EBADF, answer.status) << user_data;
}

TEST_P(Conformance, TheWrongDirectionIsEbadf) {
  std::string path = NewFile(4096);
  rf_file *to_read = Open(path, O_RDONLY), *to_write = Open(path, O_WRONLY);
  Buffer room(4096);
  auto done = RunAll(OpenQueue(),
                     {rf_op_write(to_read, room.data(), 4096, 0, 1),
                      rf_op_read(to_write, room.data(), 4096, 0, 2),
                      rf_op_fallocate(to_read, 0, 0, 4096, 3), rf_op_discard(to_read, 0, 4096, 4)});
  ASSERT_EQ(4u, done.size());
  for (auto &[user_data, answer] : done) {
    EXPECT_EQ(-EBADF, answer.status) << user_data;
    EXPECT_EQ(0, answer.bytes) << user_data;
  }
  EXPECT_EQ(4096u, SizeOf(path));
}

TEST_P(Conformance, OpsThatMakeNoSenseCompleteWithWhatIsWrong) {
  rf_file *file = Open(NewFile(4096));
  Buffer room(64 * 4096);
  rf_op good = rf_op_read(file, room.data(), 4096, 0, 0);
  std::vector<rf_op> ops;
  auto add = [&](auto &&change) {
    rf_op op = good;
    op.user_data = ops.size();
    op.buf = room.data() + ops.size() * 4096; // no two ops in flight share memory
    change(op);
    ops.push_back(op);
  };
  add([](rf_op &) {});
  add([](rf_op &op) { op.kind = RF_OP_KINDS; });
  add([](rf_op &op) { op.kind = 255; });
  add([](rf_op &op) { op.flags = 1u << 7; });
  add([](rf_op &op) { op.reserved = 1; });
  add([](rf_op &op) { op.len = UINT64_MAX; });
  add([](rf_op &op) { op.offset = UINT64_MAX; });
  add([](rf_op &op) { op.offset = INT64_MAX; });
  size_t invalid_end = ops.size();
  add([](rf_op &op) { op.file = nullptr; });
  add([](rf_op &op) { op = rf_op_fsync(nullptr, op.user_data); });
  size_t bad_end = ops.size();
  add([](rf_op &) {});
  auto done = RunAll(OpenQueue(), ops);
  ASSERT_EQ(ops.size(), done.size());
  EXPECT_EQ(0, done[0].status);
  for (size_t i = 1; i < invalid_end; i++) EXPECT_EQ(-EINVAL, done[i].status) << i;
  for (size_t i = invalid_end; i < bad_end; i++) EXPECT_EQ(-EBADF, done[i].status) << i;
  EXPECT_EQ(0, done[bad_end].status);
  for (size_t i = 1; i < bad_end; i++) EXPECT_EQ(0, done[i].bytes) << i;
}

TEST_P(Conformance, IovecsBeyondWhatAFileCanHaveAreInvalid) {
  rf_file *file = Open(NewFile(4096));
  Buffer room(4096);
  iovec huge[] = {{room.data(), SIZE_MAX / 2}, {room.data(), 4096}};
  auto done =
      RunAll(OpenQueue(), {rf_op_readv(file, huge, 2, 0, 1), rf_op_readv(file, nullptr, 2, 0, 2),
                           rf_op_readv(file, nullptr, 0, 0, 3)});
  ASSERT_EQ(3u, done.size());
  EXPECT_EQ(-EINVAL, done[1].status);
  EXPECT_EQ(-EFAULT, done[2].status);
  EXPECT_EQ(0, done[3].status);
}

TEST_P(Conformance, FallocateRangesThatMakeNoSenseAreRefusedAsByTheKernel) {
  rf_file *file = Open(NewFile(4096));
  auto done = RunAll(OpenQueue(),
                     {rf_op_fallocate(file, 0, 0, 0, 1), rf_op_fallocate(file, 0, 0, UINT64_MAX, 2),
                      rf_op_fallocate(file, 0, 4096, INT64_MAX - 100, 3)});
  ASSERT_EQ(3u, done.size());
  EXPECT_EQ(-EINVAL, done[1].status);
  EXPECT_EQ(-EINVAL, done[2].status);
  EXPECT_TRUE(done[3].status == -EFBIG || done[3].status == -EINVAL) << done[3].status;
}

// ---- counters ----------------------------------------------------------------------------------

TEST_P(Conformance, CountersAddUp) {
  std::string path = NewFile(65536);
  rf_file *file = Open(path), *broken = OpenBroken();
  rf_queue *queue = OpenQueue(16);
  Buffer room(100 * 4096);
  std::vector<rf_op> ops;
  for (uint64_t i = 0; i < 100; i++)
    ops.push_back(rf_op_read(file, room.data() + i * 4096, 4096, i % 16 * 4096, i));
  ops.push_back(rf_op_read(broken, room.data(), 4096, 0, 100));
  ops.push_back(rf_op_discard(file, 0, 4096, 101));
  ops.push_back(rf_op_fallocate(file, 0, 0, 4096, 102));
  auto done = RunAll(queue, ops);
  ASSERT_EQ(103u, done.size());
  rf_counters counters;
  ASSERT_EQ(0, rf_queue_counters(queue, &counters));
  EXPECT_EQ(103u, counters.accepted);
  EXPECT_EQ(103u, counters.completed);
  EXPECT_EQ(1u, counters.failed);
  EXPECT_EQ(100u * 4096, counters.bytes);
  EXPECT_GE(counters.requests, 103u);
  EXPECT_GE(counters.batches, 103u / 16);
  EXPECT_LE(counters.batches, counters.requests);
  EXPECT_EQ(0u, counters.cancelled);
  EXPECT_EQ(0u, counters.timed_out);
  EXPECT_EQ(0u, counters.deaths);
  EXPECT_EQ(1u, counters.generation);
  std::map<int, uint64_t> elsewhere;
  for (auto &[user_data, answer] : done)
    elsewhere[answer.kind] += answer.backend != GetParam().backend;
  for (int kind = 0; kind < RF_OP_KINDS; kind++)
    EXPECT_EQ(elsewhere[kind], FellBack(counters, static_cast<rf_op_kind>(kind)))
        << rf_op_name(static_cast<rf_op_kind>(kind));
}

TEST_P(Conformance, TheEngineSumsUpItsQueuesOpenAndClosed) {
  rf_counters before, after;
  ASSERT_EQ(0, rf_engine_counters(engine(), &before));
  rf_queue *closed = OpenQueue(), *open = OpenQueue();
  EXPECT_EQ(0, Run(closed, rf_op_nop(1)).status);
  EXPECT_EQ(0, Run(open, rf_op_nop(1)).status);
  Forget(closed);
  ASSERT_EQ(0, rf_queue_close(closed));
  ASSERT_EQ(0, rf_engine_counters(engine(), &after));
  EXPECT_EQ(before.completed + 2, after.completed);
}

TEST_P(Conformance, ContinuedTransfersAreCounted) {
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  pipe->Write(4);
  rf_op op = pipe->Read(1, 8);
  ASSERT_EQ(1, rf_submit(queue, &op, 1));
  rf_completion done;
  rf_counters counters = {};
  Stopwatch watch;
  while (counters.continued == 0 && watch.ns() < kPatience) {
    ASSERT_EQ(0, rf_reap(queue, &done, 1));
    ASSERT_EQ(0, rf_queue_counters(queue, &counters));
  }
  EXPECT_EQ(1u, counters.continued);
  pipe->Write(4);
  ASSERT_EQ(1, rf_wait(queue, &done, 1, 1, kPatience));
  EXPECT_EQ(8, done.bytes);
  EXPECT_EQ(0, done.status);
  ASSERT_EQ(0, rf_queue_counters(queue, &counters));
  EXPECT_GE(counters.requests, 2u);
  EXPECT_EQ("abcdabcd", std::string(pipe->byte, 8));
}

TEST_P(Conformance, TheHistogramCountsEveryOp) {
  rf_file *file = Open(NewFile(4096));
  rf_queue *queue = OpenQueue(16, true);
  Buffer room(200 * 4096);
  std::vector<rf_op> ops;
  for (uint64_t i = 0; i < 200; i++)
    ops.push_back(rf_op_read(file, room.data() + i * 4096, 4096, 0, i));
  Stopwatch watch;
  ASSERT_EQ(200u, RunAll(queue, ops).size());
  uint64_t all_took = static_cast<uint64_t>(watch.ns());
  rf_latency latency;
  ASSERT_EQ(0, rf_queue_latency(queue, &latency));
  EXPECT_EQ(200u, latency.count);
  uint64_t sum = 0;
  for (uint64_t bucket : latency.bucket) sum += bucket;
  EXPECT_EQ(200u, sum);
  EXPECT_GT(latency.max_ns, 0u);
  EXPECT_LE(latency.max_ns, all_took);
  EXPECT_LE(latency.max_ns, latency.total_ns);
  EXPECT_LE(latency.total_ns, 200 * latency.max_ns);
  EXPECT_EQ(latency.max_ns, rf_latency_at(&latency, 1.0));
  EXPECT_LE(rf_latency_at(&latency, 0.5), rf_latency_at(&latency, 0.99));
}

TEST_P(Conformance, ThereIsNoHistogramUnlessAskedFor) {
  rf_latency latency;
  EXPECT_EQ(-ENODATA, rf_queue_latency(OpenQueue(), &latency));
}

RF_CONFORMANCE_EVERYWHERE();

} // namespace
} // namespace conformance
