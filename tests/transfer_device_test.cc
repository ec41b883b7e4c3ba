// SPDX-License-Identifier: Apache-2.0
// Transfers on block devices that end, or fail, in the middle of the range.  Needs root.
#include <fcntl.h>
#include <unistd.h>

#include "tests/loop_device.h"
#include "tests/transfer_rig.h"

namespace transfer_rig {
namespace {

class TransferDevices : public Transfers {};

// A device that ends in the middle of the range (FAILURES row 34).
TEST_P(TransferDevices, AcrossTheEndOfADeviceAreShortReadsAndFullWrites) {
  constexpr size_t kSize = 1 << 20, kTail = 3 * 16384 + 4096;
  std::string backing = NewFile(kSize);
  loop_device::Loop device(backing, 4096);
  if (!device.missing().empty()) GTEST_SKIP() << "needs " << device.missing();
  rf_pool *pool = NewPool(PoolOptions(2, 16384, 4));
  for (size_t shift : {0, 1}) {
    Buffer room(kSize);
    unsigned char *at = room.data() + shift;
    rf_transfer_result read = Read(pool, ByPath(device.path(), at, 200000, kSize - kTail));
    EXPECT_EQ(0, read.status) << "the end of the device is an end of file";
    ASSERT_EQ(kTail, read.bytes);
    EXPECT_EQ("", DiffersFromPattern(at, kTail, kSize - kTail));
    EXPECT_TRUE(IsAll(at + kTail, 4096, 0xEE));
    read = Read(pool, ByPath(device.path(), at, 4096, kSize + 4096));
    EXPECT_EQ(0, read.status);
    EXPECT_EQ(0u, read.bytes);
    for (size_t i = 0; i < 200000; i++) at[i] = test_files::PatternAt(kSize - kTail + i, 7);
    rf_transfer_result wrote = Write(pool, ByPath(device.path(), at, 200000, kSize - kTail));
    EXPECT_EQ(-ENOSPC, wrote.status);
    EXPECT_LE(wrote.bytes, kTail);
    wrote = Write(pool, ByPath(device.path(), at, kTail, kSize - kTail));
    EXPECT_EQ(0, wrote.status);
    EXPECT_EQ(kTail, wrote.bytes);
    read = Read(pool, ByPath(device.path(), room.data(), kSize));
    ASSERT_EQ(kSize, read.bytes);
    EXPECT_EQ("", DiffersFromPattern(room.data(), kSize - kTail, 0)) << "not asked for";
    EXPECT_EQ("", DiffersFromPattern(room.data() + kSize - kTail, kTail, kSize - kTail, 7));
    for (size_t i = 0; i < kTail; i++) at[i] = test_files::PatternAt(kSize - kTail + i);
    EXPECT_EQ(0, Write(pool, ByPath(device.path(), at, kTail, kSize - kTail)).status);
  }
}

// A device that loses its second half (FAILURES row 35).
TEST_P(TransferDevices, OnADeviceThatFailsAreEioAndTheBytesBeforeItAreRight) {
  constexpr size_t kSize = 1 << 20;
  std::string backing = NewFile(kSize);
  loop_device::Loop device(backing, 4096);
  if (!device.missing().empty()) GTEST_SKIP() << "needs " << device.missing();
  ASSERT_EQ(0, truncate(backing.c_str(), kSize / 2));
  Buffer room(kSize);
  int fd = OpenFd(device.path(), O_RDONLY | O_DIRECT);
  if (pread(fd, room.data(), 4096, kSize - 65536) == 4096)
    GTEST_SKIP() << "needs a loop device that fails behind the end of its file";
  rf_pool *pool = NewPool(PoolOptions(2, 16384, 4));
  for (size_t shift : {0, 1}) {
    unsigned char *at = room.data() + shift;
    size_t length = kSize - shift;
    rf_transfer_result result = Read(pool, ByPath(device.path(), at, length));
    EXPECT_EQ(-EIO, result.status);
    EXPECT_GT(result.bytes, 0u);
    EXPECT_LE(result.bytes, kSize / 2);
    EXPECT_EQ("", DiffersFromPattern(at, result.bytes, 0));
    result = Read(pool, ByPath(device.path(), at, kSize / 4, 4096));
    EXPECT_EQ(0, result.status) << "what is there can still be had";
    EXPECT_EQ("", DiffersFromPattern(at, kSize / 4, 4096));
  }
}

INSTANTIATE_TEST_SUITE_P(Everywhere, TransferDevices, testing::ValuesIn(DiskCases()), CaseName);

} // namespace
} // namespace transfer_rig
