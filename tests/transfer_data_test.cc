// SPDX-License-Identifier: Apache-2.0
// The bytes of transfers: those asked for, and no others; whatever the size, the offset, the
// address and the way they go.
#include <sys/resource.h>

#include "tests/aliased.h"
#include "tests/transfer_rig.h"

namespace transfer_rig {
namespace {

struct Shape {
  uint64_t offset, length;
  size_t shift; // of the buffer, from a page's start
};

std::ostream &operator<<(std::ostream &out, const Shape &shape) {
  return out << shape.length << " bytes at " << shape.offset << ", address +" << shape.shift;
}

std::vector<Shape> Shapes() {
  std::vector<Shape> shapes;
  for (uint64_t length : {0, 1, 511, 512, 513, 4095, 4096, 4097, 65536, 65537, 300000})
    for (uint64_t offset : {0, 1, 512, 4095, 4096, 12289})
      for (size_t shift : {0, 1, 511, 512}) shapes.push_back({offset, length, shift});
  return shapes;
}

class TransferData : public Transfers {};

TEST_P(TransferData, ReadsHaveTheBytesOfTheRangeAndTouchNoOthers) {
  constexpr size_t kSize = 320000;
  std::string path = NewFile(kSize);
  rf_pool *pool = NewPool(PoolOptions(2, 16384, 4));
  Buffer room(400000);
  for (const Shape &shape : Shapes()) {
    memset(room.data(), 0xEE, room.size());
    unsigned char *at = room.data() + shape.shift;
    rf_transfer_result result = Read(pool, ByPath(path, at, shape.length, shape.offset));
    ASSERT_EQ(0, result.status) << shape;
    ASSERT_EQ(shape.length, result.bytes) << shape;
    ASSERT_EQ("", DiffersFromPattern(at, shape.length, shape.offset)) << shape;
    ASSERT_TRUE(IsAll(room.data(), shape.shift, 0xEE)) << shape;
    size_t after = shape.shift + shape.length;
    ASSERT_TRUE(IsAll(room.data() + after, room.size() - after, 0xEE)) << shape;
  }
}

TEST_P(TransferData, WritesHaveTheBytesOfTheBufferAndTouchNoOthers) {
  constexpr size_t kSize = 320000;
  std::string path = NewFile(kSize);
  rf_pool *pool = NewPool(PoolOptions(2, 16384, 4));
  std::vector<unsigned char> expected = Content(path);
  unsigned seed = 1;
  for (const Shape &shape : Shapes()) {
    Buffer data(shape.shift + shape.length);
    unsigned char *from = data.data() + shape.shift;
    FillWithPattern(from, shape.length, 0, seed);
    memcpy(expected.data() + shape.offset, from, shape.length);
    rf_transfer_result result = Write(pool, ByPath(path, from, shape.length, shape.offset));
    ASSERT_EQ(0, result.status) << shape;
    ASSERT_EQ(shape.length, result.bytes) << shape;
    constexpr uint64_t kAround = 16384; // what is further away is looked at in the end
    uint64_t start = shape.offset > kAround ? shape.offset - kAround : 0;
    std::vector<unsigned char> found = ReadBack(path, shape.length + 2 * kAround, start);
    ASSERT_EQ(0, memcmp(found.data(), expected.data() + start, found.size())) << shape;
    seed++;
  }
  EXPECT_TRUE(expected == Content(path));
}

TEST_P(TransferData, NewFilesEndWhereTheLastByteIs) {
  rf_pool *pool = NewPool(PoolOptions(2, 16384, 4));
  for (bool preallocate : {false, true}) {
    for (uint64_t length : {0, 1, 511, 513, 4096, 4097, 300001}) {
      for (uint64_t offset : {0, 3, 4096}) {
        std::string path = NewPath();
        Buffer data = Buffer::Pattern(length, offset);
        rf_transfer_request request = ByPath(path, data.data(), length, offset);
        if (!preallocate) request.flags = RF_TRANSFER_CREATE;
        rf_transfer_result result = Write(pool, request);
        ASSERT_EQ(0, result.status) << length << " at " << offset;
        ASSERT_EQ(length, result.bytes);
        std::vector<unsigned char> found = Content(path);
        ASSERT_EQ(length == 0 ? 0 : offset + length, found.size());
        if (length == 0) continue;
        EXPECT_TRUE(IsAll(found.data(), offset, 0)) << length << " at " << offset;
        EXPECT_EQ("", DiffersFromPattern(found.data() + offset, length, offset));
      }
    }
  }
}

// As it was lost elsewhere: a size that is no multiple of 512 times the workers.
TEST_P(TransferData, TheTailOf28824000BytesIsThere) {
  constexpr size_t kSize = 28824000;
  rf_pool *pool = NewPool();
  std::string path = NewPath();
  Buffer data = Buffer::Pattern(kSize), room(kSize + 1);
  ASSERT_EQ(kSize, Write(pool, ByPath(path, data.data(), kSize)).bytes);
  ASSERT_EQ(kSize, SizeOf(path));
  ASSERT_EQ(kSize, Read(pool, ByPath(path, room.data() + 1, kSize)).bytes);
  EXPECT_EQ(0, memcmp(room.data() + 1, data.data(), kSize));
}

TEST_P(TransferData, ReadsAcrossTheEndHaveFewerBytesAndSucceed) {
  rf_pool *pool = NewPool(PoolOptions(2, 16384, 4));
  for (size_t size : {0, 1, 511, 512, 4097, 100000, 131072, 131073})
    for (uint64_t offset : {0, 1, 4096, 100000, 200000})
      for (size_t shift : {0, 1}) {
        std::string path = NewFile(size);
        Buffer room(300001);
        rf_transfer_result result = Read(pool, ByPath(path, room.data() + shift, 300000, offset));
        uint64_t expected = offset < size ? size - offset : 0;
        ASSERT_EQ(0, result.status) << size << " from " << offset;
        ASSERT_EQ(expected, result.bytes) << size << " from " << offset;
        ASSERT_EQ("", DiffersFromPattern(room.data() + shift, expected, offset)) << size;
        unlink(path.c_str());
      }
}

TEST_P(TransferData, HolesReadAsZerosAndAreFilled) {
  rf_pool *pool = NewPool(PoolOptions(2, 16384, 4));
  std::string path = NewPath();
  constexpr uint64_t kFar = (uint64_t{5} << 30) - 3; // no 32-bit number of bytes leads there
  constexpr size_t kSize = 200005;
  Buffer data = Buffer::Pattern(kSize, kFar), room(kSize + 100);
  rf_transfer_request request = ByPath(path, data.data(), kSize, kFar);
  ASSERT_EQ(kSize, Write(pool, request).bytes);
  ASSERT_EQ(kFar + kSize, SizeOf(path));
  ASSERT_EQ(kSize + 50, Read(pool, ByPath(path, room.data(), kSize + 100, kFar - 50)).bytes);
  EXPECT_TRUE(IsAll(room.data(), 50, 0));
  EXPECT_EQ("", DiffersFromPattern(room.data() + 50, kSize, kFar));
}

// Nothing there looks at the memory, so that it costs none.
TEST_P(TransferData, MoreThanFourGigabytesAreCountedRight) {
  if (test_files::kThreadSanitizer)
    GTEST_SKIP() << "needs a build without ThreadSanitizer, which marks each byte as read";
  constexpr uint64_t kSize = (uint64_t{5} << 30) + 777;
  void *nothing =
      mmap(nullptr, kSize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(MAP_FAILED, nothing);
  rf_pool *pool = NewPool();
  rf_transfer_result result = Write(pool, ByPath("/dev/null", nothing, kSize));
  EXPECT_EQ(0, result.status);
  EXPECT_EQ(kSize, result.bytes);
  EXPECT_EQ(kSize, result.buffered_bytes);
  EXPECT_EQ(5 * 1024u + 1, Counters(pool).blocks);
  munmap(nothing, kSize);
}

// ---- the way that data goes --------------------------------------------------------------------

TEST_P(TransferData, WholeBlocksGoDirectlyAndStraight) {
  constexpr size_t kSize = 1 << 20;
  std::string path = NewFile(kSize);
  int fd = open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (fd < 0) GTEST_SKIP() << "needs O_DIRECT in " << directory();
  close(fd);
  rf_pool *pool = NewPool();
  Buffer room(kSize + 4096);
  for (bool write : {false, true}) {
    auto run = [&](const rf_transfer_request &request) {
      return write ? Write(pool, request) : Read(pool, request);
    };
    rf_transfer_result aligned = run(ByPath(path, room.data(), kSize));
    EXPECT_TRUE(aligned.direct && !aligned.refused_direct);
    EXPECT_EQ(kSize, aligned.direct_bytes);
    EXPECT_EQ(0u, aligned.bounced_bytes);
    rf_transfer_result odd = run(ByPath(path, room.data() + 1, kSize));
    EXPECT_EQ(kSize, odd.direct_bytes);
    EXPECT_EQ(kSize, odd.bounced_bytes);
    rf_transfer_request request = ByPath(path, room.data(), kSize);
    request.buffered = true;
    rf_transfer_result buffered = run(request);
    EXPECT_FALSE(buffered.direct || buffered.refused_direct);
    EXPECT_EQ(kSize, buffered.buffered_bytes);
    rf_transfer_result ends = run(ByPath(path, room.data() + 1, kSize - 2, 1));
    EXPECT_TRUE(ends.direct);
    EXPECT_EQ(kSize - 2, ends.direct_bytes + ends.buffered_bytes);
    EXPECT_LE(ends.buffered_bytes, write ? 2 * 65536u : 0u);
    EXPECT_LE(ends.bounced_bytes, write ? 0u : 2 * 65536u);
  }
}

TEST_P(TransferData, WhereDirectIsRefusedItIsRecorded) {
  rf_pool *pool = NewPool();
  Buffer room(65536);
  // procfs has regular files without O_DIRECT, on every host.
  rf_transfer_result result = Read(pool, ByPath("/proc/self/status", room.data(), 65536));
  EXPECT_EQ(0, result.status);
  EXPECT_GT(result.bytes, 100u);
  EXPECT_TRUE(result.refused_direct);
  EXPECT_FALSE(result.direct);
  EXPECT_EQ(result.bytes, result.buffered_bytes);
  EXPECT_EQ(1u, Counters(pool).refused_direct);
}

TEST_P(TransferData, BounceBuffersStayWithinTheirLimit) {
  constexpr size_t kSize = (8 << 20) + 1;
  std::string path = NewFile(kSize);
  for (size_t limit : {RF_POOL_BOUNCE_MIN, size_t{1} << 20}) {
    rf_pool_options options = PoolOptions(4, 1 << 20, 16);
    options.bounce_limit = limit;
    rf_pool *pool = NewPool(options);
    Buffer room(4 * kSize + 1);
    std::vector<rf_transfer *> tokens;
    for (size_t i = 0; i < 4; i++)
      tokens.push_back(Start(pool, false, ByPath(path, room.data() + 1 + i * kSize, kSize)));
    for (rf_transfer *token : tokens) EXPECT_EQ(kSize, Finish(token).bytes);
    for (size_t i = 0; i < 4; i++)
      EXPECT_EQ("", DiffersFromPattern(room.data() + 1 + i * kSize, kSize, 0));
    EXPECT_LE(Counters(pool).bounce_most, limit);
    ClosePool(pool, RF_POOL_DRAIN);
  }
}

TEST_P(TransferData, LockedBounceBuffersAreARequestThatCanFail) {
  RF_IN_CHILD({
    if (geteuid() != 0) in_child::Skip("root, to become a user with a limit");
    struct rlimit limit = {65536, 65536};
    ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
    ASSERT_EQ(0, setuid(65534));
    static char plain[1 << 20];
    if (mlock(plain, sizeof(plain)) == 0)
      in_child::Skip("a build without sanitizers, whose mlock does nothing");
    rf_engine_options engine_options;
    rf_engine_options_init(&engine_options);
    engine_options.choice = RF_CHOICE_REQUIRE; // which needs no locked memory itself
    engine_options.backend = RF_BACKEND_THREADS;
    rf_engine *own = nullptr;
    ASSERT_EQ(0, rf_engine_open(&own, &engine_options));
    rf_pool_options options = PoolOptions();
    options.lock_bounce = true;
    rf_pool *pool = nullptr;
    EXPECT_EQ(-ENOMEM, rf_pool_open(own, &options, &pool));
    options.lock_bounce = false;
    EXPECT_EQ(0, rf_pool_open(own, &options, &pool));
    EXPECT_EQ(0, rf_pool_close(pool, RF_POOL_DRAIN));
    EXPECT_EQ(0, rf_engine_close(own)) << "something is left of the pool that failed";
  });
}

INSTANTIATE_TEST_SUITE_P(Everywhere, TransferData, testing::ValuesIn(AllCases()), CaseName);

// On one backend, since it takes seconds; on a disk, since holes of that size would fill memory.
class TransferLarge : public Transfers {};

TEST_P(TransferLarge, FiveGigabytesAreExact) {
  if (test_files::kThreadSanitizer)
    GTEST_SKIP() << "needs a build without ThreadSanitizer: gigabytes of shadow";
  constexpr uint64_t kGiB = 1 << 30, kSize = 5 * kGiB + 777;
  const std::vector<uint64_t> marks = {0,        kGiB - 1, 2 * kGiB - 5, 4 * kGiB - 1, 4 * kGiB + 9,
                                       kSize - 1};
  std::string path = NewPath();
  int fd = OpenFd(path, O_RDWR | O_CREAT);
  for (uint64_t mark : marks) ASSERT_EQ(1, pwrite(fd, "x", 1, static_cast<off_t>(mark)));
  aliased::Aliased room(kSize, marks);
  rf_pool *pool = NewPool(PoolOptions(1, 4 << 20, 1)); // more at a time on the same pages is slow
  rf_transfer_result result = Read(pool, ByFd(fd, room.data(), kSize));
  ASSERT_EQ(0, result.status);
  ASSERT_EQ(kSize, result.bytes);
  EXPECT_EQ(kSize, result.direct_bytes + result.buffered_bytes);
  for (uint64_t mark : marks) {
    EXPECT_EQ('x', room.data()[mark]) << mark;
    EXPECT_EQ(0, room.data()[mark + (mark == 0 ? 1 : -1)]) << mark;
  }
}

INSTANTIATE_TEST_SUITE_P(Auto, TransferLarge,
                         testing::Values(Case{RF_BACKEND_IO_URING, true, Place::kDisk}), CaseName);

} // namespace
} // namespace transfer_rig
