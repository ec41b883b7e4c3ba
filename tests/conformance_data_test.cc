// SPDX-License-Identifier: Apache-2.0
// The bytes: lengths, vectors, alignments, ends of files, holes, and memory that faults.
#include "tests/aliased.h"
#include "tests/conformance.h"

namespace conformance {
namespace {

constexpr uint64_t kGiB = UINT64_C(1) << 30;

// What direct I/O may answer besides the right thing.
bool RefusedAsMisaligned(const rf_completion &done, bool direct) {
  return direct && done.status == -EINVAL;
}

// ---- lengths -----------------------------------------------------------------------------------

constexpr size_t kLengths[] = {0, 1, 511, 512, 513, 4095, 4096, 4097, 1048576, 1048577};

TEST_P(Conformance, ReadsOfAnyLengthAreExact) {
  rf_file *file = Open(NewFile(2 << 20));
  rf_queue *queue = OpenQueue();
  for (size_t length : kLengths) {
    Buffer room(2 << 20);
    rf_completion done = Run(queue, rf_op_read(file, room.data(), length, 4096, length));
    if (length % Unit(file) != 0 && RefusedAsMisaligned(done, direct())) continue;
    EXPECT_EQ(0, done.status) << length;
    ASSERT_EQ(static_cast<int64_t>(length), done.bytes);
    EXPECT_EQ("", DiffersFromPattern(room.data(), length, 4096));
    EXPECT_TRUE(IsAll(room.data() + length, room.size() - length, 0xEE)) << length;
  }
}

TEST_P(Conformance, WritesOfAnyLengthAreExact) {
  rf_queue *queue = OpenQueue();
  for (size_t length : kLengths) {
    std::string path = NewPath();
    rf_file *file = Open(path);
    Buffer data = Buffer::Pattern(2 << 20);
    rf_completion done = Run(queue, rf_op_write(file, data.data(), length, 0, length));
    if (length % Unit(file) != 0 && RefusedAsMisaligned(done, direct())) continue;
    EXPECT_EQ(0, done.status) << length;
    ASSERT_EQ(static_cast<int64_t>(length), done.bytes);
    std::vector<unsigned char> found = ReadBack(path, 2 << 20);
    ASSERT_EQ(length, found.size());
    EXPECT_EQ("", DiffersFromPattern(found.data(), length, 0));
  }
}

TEST_P(Conformance, ReadsAboveWhatOneCallMovesAreExact) {
  if (!kGigabytes) GTEST_SKIP() << "needs a build without a sanitizer: gigabytes of data";
  if (place() != Place::kDisk) GTEST_SKIP() << "needs a disk: 5 GiB of holes would fill memory";
  constexpr uint64_t kSize = 6 * kGiB;
  const std::vector<uint64_t> marks = {
      0,        kGiB - 1, kGiB,          2 * kGiB - 4097, 2 * kGiB - 2,
      2 * kGiB, 3 * kGiB, 4 * kGiB + 17, 5 * kGiB - 1};
  std::string path = NewPath();
  int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_EQ(0, ftruncate(fd, static_cast<off_t>(kSize))) << "needs sparse files";
  for (uint64_t mark : marks) {
    unsigned char value = static_cast<unsigned char>(mark % 251 + 1);
    ASSERT_EQ(1, pwrite(fd, &value, 1, static_cast<off_t>(mark)));
  }
  ASSERT_EQ(0, fsync(fd));
  rf_file *file = Open(path, O_RDONLY);
  rf_queue *queue = OpenQueue();
  aliased::Aliased room(5 * kGiB, marks);
  for (uint64_t length : {2 * kGiB - 1, 2 * kGiB, 2 * kGiB + 1, 5 * kGiB}) {
    for (uint64_t mark : marks) room.data()[mark] = 0;
    rf_completion done = Run(queue, rf_op_read(file, room.data(), length, 0, length));
    if (length % Unit(file) != 0 && RefusedAsMisaligned(done, direct())) continue;
    EXPECT_EQ(0, done.status) << length;
    ASSERT_EQ(static_cast<int64_t>(length), done.bytes);
    for (uint64_t mark : marks)
      EXPECT_EQ(mark < length ? mark % 251 + 1 : 0u, room.data()[mark])
          << "byte " << mark << " of " << length;
  }
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  close(fd);
}

TEST_P(Conformance, WritesAboveWhatOneCallMovesAreWhole) {
  if (!kGigabytes) GTEST_SKIP() << "needs a build without a sanitizer: gigabytes of data";
  rf_file *null = Adopt(open("/dev/null", O_WRONLY | O_CLOEXEC));
  rf_queue *queue = OpenQueue();
  aliased::Aliased room(5 * kGiB, {});
  for (uint64_t length : {2 * kGiB - 1, 2 * kGiB, 2 * kGiB + 1, 5 * kGiB}) {
    rf_completion done = Run(queue, rf_op_write(null, room.data(), length, 0, length));
    EXPECT_EQ(0, done.status) << length;
    EXPECT_EQ(static_cast<int64_t>(length), done.bytes);
  }
  close(rf_file_fd(null));
}

// ---- vectors -----------------------------------------------------------------------------------

TEST_P(Conformance, VectorsOfThousandsOfOddPiecesAreExact) {
  constexpr size_t kPieces = 3000;
  size_t total = 0;
  std::vector<iovec> iov(kPieces);
  for (size_t i = 0; i < kPieces; i++) {
    bool empty = i == 0 || i == 1 || i == kPieces / 2 || i == kPieces - 1 || i % 97 == 0;
    iov[i].iov_len = empty ? 0 : i * 7 % 613 + 1;
    total += iov[i].iov_len;
  }
  std::string path = NewPath();
  rf_file *file = Open(path);
  rf_queue *queue = OpenQueue();
  Buffer data = Buffer::Pattern(total), room(total);
  size_t at = 0;
  for (iovec &one : iov) one.iov_base = data.data() + std::exchange(at, at + one.iov_len);
  rf_completion wrote = Run(queue, rf_op_writev(file, iov.data(), kPieces, 0, 1));
  if (RefusedAsMisaligned(wrote, direct())) {
    EXPECT_LT(wrote.bytes, static_cast<int64_t>(total));
    return;
  }
  EXPECT_EQ(0, wrote.status);
  ASSERT_EQ(static_cast<int64_t>(total), wrote.bytes);
  at = 0;
  for (iovec &one : iov) one.iov_base = room.data() + std::exchange(at, at + one.iov_len);
  rf_completion read = Run(queue, rf_op_readv(file, iov.data(), kPieces, 0, 2));
  if (RefusedAsMisaligned(read, direct())) return;
  EXPECT_EQ(0, read.status);
  ASSERT_EQ(static_cast<int64_t>(total), read.bytes);
  EXPECT_EQ("", DiffersFromPattern(room.data(), total, 0));
  std::vector<unsigned char> found = ReadBack(path, total + 1);
  ASSERT_EQ(total, found.size());
  EXPECT_EQ("", DiffersFromPattern(found.data(), total, 0));
}

TEST_P(Conformance, VectorsOfThousandsOfAlignedPiecesAreExact) {
  constexpr size_t kPieces = 3000, kPiece = 4096;
  std::string path = NewPath();
  rf_file *file = Open(path);
  rf_queue *queue = OpenQueue();
  Buffer data = Buffer::Pattern(kPieces * kPiece), room(kPieces * kPiece);
  std::vector<iovec> from, to;
  for (size_t i = 0; i < kPieces; i++) {
    if (i % 500 == 0) from.push_back({data.data(), 0}), to.push_back({room.data(), 0});
    from.push_back({data.data() + i * kPiece, kPiece});
    to.push_back({room.data() + i * kPiece, kPiece});
  }
  from.push_back({data.data(), 0});
  to.push_back({room.data(), 0});
  rf_completion wrote = Run(queue, rf_op_writev(file, from.data(), from.size(), 0, 1));
  EXPECT_EQ(0, wrote.status);
  ASSERT_EQ(static_cast<int64_t>(kPieces * kPiece), wrote.bytes);
  rf_completion read = Run(queue, rf_op_readv(file, to.data(), to.size(), 0, 2));
  EXPECT_EQ(0, read.status);
  ASSERT_EQ(static_cast<int64_t>(kPieces * kPiece), read.bytes);
  EXPECT_EQ("", DiffersFromPattern(room.data(), room.size(), 0));
}

TEST_P(Conformance, VectorsOfNothingMoveNothing) {
  rf_file *file = Open(NewFile(4096));
  Buffer room(4096);
  iovec empty[] = {{room.data(), 0}, {room.data(), 0}};
  auto done =
      RunAll(OpenQueue(), {rf_op_readv(file, empty, 2, 0, 1), rf_op_writev(file, empty, 2, 0, 2),
                           rf_op_readv(file, empty, 0, 0, 3), rf_op_writev(file, empty, 0, 0, 4)});
  ASSERT_EQ(4u, done.size());
  for (auto &[user_data, answer] : done) {
    EXPECT_EQ(0, answer.status) << user_data;
    EXPECT_EQ(0, answer.bytes) << user_data;
  }
}

TEST_P(Conformance, VectorsAboveWhatOneCallMovesAreWhole) {
  if (!kGigabytes) GTEST_SKIP() << "needs a build without a sanitizer: gigabytes of data";
  if (place() != Place::kDisk) GTEST_SKIP() << "needs a disk: the holes would fill memory";
  constexpr size_t kPiece = 16 << 20, kPieces = 150; // 2.3 GiB
  std::string path = NewPath();
  int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  Buffer mark = Buffer::Pattern(kPiece), junk(kPiece), last(kPiece), beyond(kPiece);
  constexpr off_t kLast = off_t{kPieces - 1} * kPiece, kBeyond = 64 * off_t{kPiece};
  ASSERT_EQ(static_cast<ssize_t>(kPiece), pwrite(fd, mark.data(), kPiece, kLast));
  ASSERT_EQ(static_cast<ssize_t>(kPiece), pwrite(fd, mark.data(), kPiece, kBeyond));
  ASSERT_EQ(0, fsync(fd));
  std::vector<iovec> iov(kPieces, iovec{junk.data(), kPiece});
  iov[64].iov_base = beyond.data(); // the first after 1 GiB
  iov[kPieces - 1].iov_base = last.data();
  rf_file *file = Open(path, O_RDONLY);
  rf_completion done = Run(OpenQueue(), rf_op_readv(file, iov.data(), kPieces, 0, 1));
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  close(fd);
  EXPECT_EQ(0, done.status);
  ASSERT_EQ(static_cast<int64_t>(kPieces * kPiece), done.bytes);
  EXPECT_EQ("", DiffersFromPattern(last.data(), kPiece, 0));
  EXPECT_EQ("", DiffersFromPattern(beyond.data(), kPiece, 0));
  EXPECT_TRUE(IsAll(junk.data(), kPiece, 0));
}

TEST_P(Conformance, OneVectorPieceLargerThanACallIsWhole) {
  if (!kGigabytes) GTEST_SKIP() << "needs a build without a sanitizer: gigabytes of data";
  rf_file *null = Adopt(open("/dev/null", O_WRONLY | O_CLOEXEC));
  aliased::Aliased room(3 * kGiB, {});
  iovec iov[] = {{room.data(), 100}, {room.data(), 3 * kGiB}, {room.data(), 0}, {room.data(), 55}};
  rf_completion done = Run(OpenQueue(), rf_op_writev(null, iov, 4, 0, 1));
  EXPECT_EQ(0, done.status);
  EXPECT_EQ(static_cast<int64_t>(3 * kGiB + 155), done.bytes);
  close(rf_file_fd(null));
}

// ---- alignment (row 38) ------------------------------------------------------------------------

TEST_P(Conformance, BuffersAtAnyAddressGetTheRightBytesOrEinval) {
  std::string path = NewFile(65536);
  rf_file *file = Open(path);
  rf_queue *queue = OpenQueue();
  for (size_t shift : {1, 8, 511}) {
    Buffer room(20000);
    rf_completion read = Run(queue, rf_op_read(file, room.data() + shift, 8192, 4096, 1));
    if (!RefusedAsMisaligned(read, direct())) {
      EXPECT_EQ(0, read.status) << shift;
      ASSERT_EQ(8192, read.bytes) << shift;
      EXPECT_EQ("", DiffersFromPattern(room.data() + shift, 8192, 4096)) << shift;
    }
    EXPECT_TRUE(IsAll(room.data(), shift, 0xEE)) << shift;
    EXPECT_TRUE(IsAll(room.data() + shift + 8192, 20000 - 8192 - shift, 0xEE)) << shift;

    Buffer data = Buffer::Pattern(20000, 0, 5);
    rf_completion wrote = Run(queue, rf_op_write(file, data.data() + shift, 8192, 16384, 2));
    std::vector<unsigned char> found = ReadBack(path, 8192, 16384);
    ASSERT_EQ(8192u, found.size());
    if (RefusedAsMisaligned(wrote, direct())) {
      EXPECT_EQ("", DiffersFromPattern(found.data(), 8192, 16384)) << shift;
    } else {
      EXPECT_EQ(0, wrote.status) << shift;
      ASSERT_EQ(8192, wrote.bytes) << shift;
      EXPECT_EQ(0, memcmp(found.data(), data.data() + shift, 8192)) << shift;
      Buffer before = Buffer::Pattern(8192, 16384);
      int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
      EXPECT_EQ(8192, pwrite(fd, before.data(), 8192, 16384));
      close(fd);
    }
  }
}

TEST_P(Conformance, OddOffsetsGetTheRightBytesOrEinval) {
  std::string path = NewFile(65536);
  rf_file *file = Open(path);
  rf_queue *queue = OpenQueue();
  for (uint64_t offset : {1, 8, 511, 513, 4095}) {
    Buffer room(8192);
    rf_completion read = Run(queue, rf_op_read(file, room.data(), 4096, offset, 1));
    if (!RefusedAsMisaligned(read, direct())) {
      EXPECT_EQ(0, read.status) << offset;
      ASSERT_EQ(4096, read.bytes) << offset;
      EXPECT_EQ("", DiffersFromPattern(room.data(), 4096, offset)) << offset;
    }
    EXPECT_TRUE(IsAll(room.data() + 4096, 4096, 0xEE)) << offset;
    Buffer data = Buffer::Pattern(4096, offset); // what is there already
    rf_completion wrote = Run(queue, rf_op_write(file, data.data(), 4096, offset, 2));
    if (!RefusedAsMisaligned(wrote, direct())) {
      EXPECT_EQ(0, wrote.status) << offset;
      EXPECT_EQ(4096, wrote.bytes) << offset;
    }
    std::vector<unsigned char> found = ReadBack(path, 65536);
    ASSERT_EQ(65536u, found.size());
    EXPECT_EQ("", DiffersFromPattern(found.data(), 65536, 0)) << offset;
  }
}

TEST_P(Conformance, WhatTheFileCallsAlignedIsNeverRefused) {
  rf_file *file = Open(NewFile(65536));
  rf_queue *queue = OpenQueue();
  const rf_file_info *info = rf_file_get_info(file);
  size_t memory = std::max<size_t>(1, info->memory_align), unit = std::max<size_t>(1, Unit(file));
  ASSERT_LE(memory, 65536u);
  ASSERT_LE(unit, 32768u);
  Buffer room(memory + unit);
  rf_completion done = Run(queue, rf_op_read(file, room.data() + memory, unit, unit, 1));
  EXPECT_EQ(0, done.status) << "memory " << memory << ", unit " << unit;
  ASSERT_EQ(static_cast<int64_t>(unit), done.bytes);
  EXPECT_EQ("", DiffersFromPattern(room.data() + memory, unit, unit));
}

// ---- ends (row 36) -----------------------------------------------------------------------------

TEST_P(Conformance, ReadsAcrossTheEndHaveFewerBytesAndSucceed) {
  for (size_t size : {8192u + 1u, 8192u + 512u, 8192u + 4095u, 12288u}) {
    rf_file *file = Open(NewFile(size));
    Buffer room(32768);
    rf_completion done = Run(OpenQueue(), rf_op_read(file, room.data(), 32768, 4096, 1));
    EXPECT_EQ(0, done.status) << size;
    ASSERT_EQ(static_cast<int64_t>(size) - 4096, done.bytes);
    EXPECT_EQ("", DiffersFromPattern(room.data(), size - 4096, 4096));
    // Direct reads may fill the rest with zeros: that is the kernel's way.
    if (!direct()) {
      EXPECT_TRUE(IsAll(room.data() + size - 4096, 32768 - (size - 4096), 0xEE)) << size;
    }
  }
}

TEST_P(Conformance, VectoredReadsAcrossTheEndHaveFewerBytesAndSucceed) {
  rf_file *file = Open(NewFile(8192 + 512));
  Buffer room(16384);
  iovec iov[] = {{room.data(), 4096},
                 {room.data(), 0},
                 {room.data() + 4096, 4096},
                 {room.data() + 8192, 4096},
                 {room.data() + 12288, 4096}};
  rf_completion done = Run(OpenQueue(), rf_op_readv(file, iov, 5, 0, 1));
  EXPECT_EQ(0, done.status);
  ASSERT_EQ(8192 + 512, done.bytes);
  EXPECT_EQ("", DiffersFromPattern(room.data(), 8192 + 512, 0));
}

TEST_P(Conformance, ReadsAtAndPastTheEndAreEmptyAndSucceed) {
  rf_file *file = Open(NewFile(8192)), *empty = Open(NewFile(0));
  Buffer room(4096);
  auto done = RunAll(OpenQueue(), {rf_op_read(file, room.data(), 4096, 8192, 1),
                                   rf_op_read(file, room.data(), 4096, 1 << 30, 2),
                                   rf_op_read(empty, room.data(), 4096, 0, 3)});
  ASSERT_EQ(3u, done.size());
  for (auto &[user_data, answer] : done) {
    EXPECT_EQ(0, answer.status) << user_data;
    EXPECT_EQ(0, answer.bytes) << user_data;
  }
  EXPECT_TRUE(IsAll(room.data(), 4096, 0xEE));
}

TEST_P(Conformance, HolesReadAsZeros) {
  std::string path = NewPath();
  rf_file *file = Open(path);
  ASSERT_EQ(0, truncate(path.c_str(), 1 << 20));
  Buffer data = Buffer::Pattern(4096, 524288), room(1 << 20);
  rf_queue *queue = OpenQueue();
  ASSERT_EQ(4096, Run(queue, rf_op_write(file, data.data(), 4096, 524288, 1)).bytes);
  rf_completion done = Run(queue, rf_op_read(file, room.data(), 1 << 20, 0, 2));
  EXPECT_EQ(0, done.status);
  ASSERT_EQ(1 << 20, done.bytes);
  EXPECT_TRUE(IsAll(room.data(), 524288, 0));
  EXPECT_EQ("", DiffersFromPattern(room.data() + 524288, 4096, 524288));
  EXPECT_TRUE(IsAll(room.data() + 528384, (1 << 20) - 528384, 0));
}

TEST_P(Conformance, ReadsDuringTruncationGiveAPrefixAndNoError) {
  std::string path = NewFile(1 << 20);
  rf_file *file = Open(path);
  rf_queue *queue = OpenQueue();
  for (int i = 0; i < 50; i++) {
    Buffer room(1 << 20);
    rf_op op = rf_op_read(file, room.data(), 1 << 20, 0, 1);
    ASSERT_EQ(1, rf_submit(queue, &op, 1));
    ASSERT_EQ(0, rf_flush(queue));
    ASSERT_EQ(0, truncate(path.c_str(), 8192));
    rf_completion done;
    ASSERT_EQ(1, rf_wait(queue, &done, 1, 1, kPatience));
    EXPECT_EQ(0, done.status);
    ASSERT_GE(done.bytes, 8192);
    EXPECT_EQ("", DiffersFromPattern(room.data(), 8192, 0));
    Buffer again = Buffer::Pattern(1 << 20);
    int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
    ASSERT_EQ(1 << 20, pwrite(fd, again.data(), 1 << 20, 0));
    close(fd);
  }
}

// ---- whole by default, short when allowed ------------------------------------------------------

TEST_P(Conformance, ShortReadsAreContinuedUntilTheStreamEnds) {
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  pipe->Write(3);
  rf_op op = pipe->Read(1, 8);
  ASSERT_EQ(1, rf_submit(queue, &op, 1));
  ASSERT_EQ(0, rf_flush(queue));
  pipe->Write(2);
  int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
  ASSERT_EQ(pipe->write_end, dup3(null, pipe->write_end, O_CLOEXEC)); // the end of the stream
  close(null);
  rf_completion done;
  ASSERT_EQ(1, rf_wait(queue, &done, 1, 1, kPatience));
  EXPECT_EQ(0, done.status);
  EXPECT_EQ(5, done.bytes);
  EXPECT_EQ("abcab", std::string(pipe->byte, 5));
}

TEST_P(Conformance, ShortReadsCompleteWhenAllowed) {
  auto pipe = NewPipe();
  rf_queue *queue = OpenQueue();
  pipe->Write(3);
  rf_completion done = Run(queue, Flagged(pipe->Read(1, 8), RF_OP_ALLOW_SHORT));
  EXPECT_EQ(0, done.status);
  EXPECT_EQ(3, done.bytes);
  rf_counters counters;
  ASSERT_EQ(0, rf_queue_counters(queue, &counters));
  EXPECT_EQ(0u, counters.continued);
}

TEST_P(Conformance, AllowingShortReadsChangesNothingWhereNoneIs) {
  rf_file *file = Open(NewFile(65536));
  Buffer room(32768);
  rf_completion done =
      Run(OpenQueue(), Flagged(rf_op_read(file, room.data(), 32768, 8192, 1), RF_OP_ALLOW_SHORT));
  EXPECT_EQ(0, done.status);
  ASSERT_EQ(32768, done.bytes);
  EXPECT_EQ("", DiffersFromPattern(room.data(), 32768, 8192));
}

// ---- memory that is not there (row 40) ---------------------------------------------------------

// 8192 bytes before memory that is not there.
struct Cliff {
  Buffer memory{65536};
  unsigned char *edge() { return memory.data() + 65536; }
  unsigned char *at() { return edge() - 8192; }
};

void ExpectTheGoodPart(const rf_completion &done, bool direct) {
  EXPECT_EQ(-EFAULT, done.status);
  if (direct)
    EXPECT_LE(done.bytes, 8192);
  else
    EXPECT_EQ(8192, done.bytes);
  EXPECT_GE(done.bytes, 0);
}

TEST_P(Conformance, ReadsIntoMemoryThatEndsTellWhatCameBefore) {
  rf_file *file = Open(NewFile(65536));
  Cliff cliff;
  rf_completion done = Run(OpenQueue(), rf_op_read(file, cliff.at(), 32768, 4096, 1));
  ExpectTheGoodPart(done, direct());
  EXPECT_EQ("", DiffersFromPattern(cliff.at(), static_cast<size_t>(done.bytes), 4096));
}

TEST_P(Conformance, WritesFromMemoryThatEndsTellWhatCameBefore) {
  std::string path = NewPath();
  rf_file *file = Open(path);
  Cliff cliff;
  for (size_t i = 0; i < 8192; i++) cliff.at()[i] = PatternAt(i);
  rf_completion done = Run(OpenQueue(), rf_op_write(file, cliff.at(), 32768, 0, 1));
  ExpectTheGoodPart(done, direct());
  std::vector<unsigned char> found = ReadBack(path, 65536);
  ASSERT_EQ(static_cast<size_t>(done.bytes), found.size());
  EXPECT_EQ("", DiffersFromPattern(found.data(), found.size(), 0));
}

TEST_P(Conformance, VectorsWithOneBadPieceTellWhatCameBefore) {
  rf_file *file = Open(NewFile(65536));
  Cliff cliff;
  iovec iov[] = {{cliff.at(), 8192}, {cliff.edge(), 4096}, {cliff.at(), 4096}};
  rf_completion done = Run(OpenQueue(), rf_op_readv(file, iov, 3, 0, 1));
  ExpectTheGoodPart(done, direct());
  EXPECT_EQ("", DiffersFromPattern(cliff.at(), static_cast<size_t>(done.bytes), 0));
}

TEST_P(Conformance, MemoryThatIsNotThereAtAllIsEfault) {
  rf_file *file = Open(NewFile(65536));
  Cliff cliff;
  auto done = RunAll(OpenQueue(), {rf_op_read(file, cliff.edge(), 4096, 0, 1),
                                   rf_op_write(file, cliff.edge(), 4096, 0, 2), rf_op_nop(3)});
  ASSERT_EQ(3u, done.size());
  EXPECT_EQ(-EFAULT, done[1].status);
  EXPECT_EQ(0, done[1].bytes);
  EXPECT_EQ(-EFAULT, done[2].status);
  EXPECT_EQ(0, done[2].bytes);
  EXPECT_EQ(0, done[3].status);
}

RF_CONFORMANCE_EVERYWHERE();

} // namespace
} // namespace conformance
