// SPDX-License-Identifier: Apache-2.0
// Where storage ends: RLIMIT_FSIZE, a full file system, the end of a device, a device that fails.
// Mounts and loop devices are made in children, by root; a test that cannot says what is missing.
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "tests/conformance.h"
#include "tests/loop_device.h"

namespace conformance {
namespace {

// ---- RLIMIT_FSIZE (row 31) ---------------------------------------------------------------------

TEST_P(Conformance, AWriteAcrossTheSizeLimitTellsBytesAndEfbigAndTheProcessLives) {
  std::string path = NewPath();
  RF_IN_CHILD({
    StartAnewInChild();
    rf_file *file = Open(path);
    size_t unit = Unit(file);
    size_t limit = 6144 % unit == 0 ? 6144 : unit;
    size_t length = 6144 % unit == 0 ? 8192 : 2 * unit;
    rlimit limits = {limit, limit};
    ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limits));
    signal(SIGXFSZ, SIG_DFL);
    Buffer data = Buffer::Pattern(length);
    rf_queue *queue = OpenQueue();
    rf_completion done = Run(queue, rf_op_write(file, data.data(), length, 0, 1));
    EXPECT_EQ(-EFBIG, done.status);
    EXPECT_EQ(static_cast<int64_t>(limit), done.bytes);
    iovec iov[] = {{data.data(), length / 2}, {data.data() + length / 2, length / 2}};
    rf_completion vectored = Run(queue, rf_op_writev(file, iov, 2, 0, 2));
    EXPECT_EQ(-EFBIG, vectored.status);
    EXPECT_EQ(static_cast<int64_t>(limit), vectored.bytes);
    size_t past = (limit + 4095) / 4096 * 4096;
    rf_completion beyond = Run(queue, rf_op_write(file, data.data(), length, past, 3));
    EXPECT_EQ(-EFBIG, beyond.status);
    EXPECT_EQ(0, beyond.bytes);
    rf_completion grown = Run(queue, rf_op_fallocate(file, 0, 0, 1 << 20, 4));
    EXPECT_EQ(-EFBIG, grown.status);
    rf_completion below = Run(queue, rf_op_write(file, data.data(), limit / unit * unit, 0, 5));
    EXPECT_EQ(0, below.status);
    EXPECT_EQ(static_cast<int64_t>(limit / unit * unit), below.bytes);
    EXPECT_EQ(limit, SizeOf(path));
    CloseAll();
  });
  std::vector<unsigned char> found = ReadBack(path, 65536);
  ASSERT_GT(found.size(), 0u);
  EXPECT_EQ("", DiffersFromPattern(found.data(), found.size(), 0));
}

// ---- ENOSPC (row 32) ---------------------------------------------------------------------------

TEST_P(Conformance, AWriteThatFillsTheFileSystemTellsBytesAndEnospc) {
  std::string mount_point = NewPath();
  ASSERT_EQ(0, mkdir(mount_point.c_str(), 0700));
  in_child::Outcome outcome = in_child::Run([&] {
    if (unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("none", mount_point.c_str(), "tmpfs", 0, "size=64k") != 0)
      in_child::Skip("root, to mount a small tmpfs");
    StartAnewInChild();
    std::string path = mount_point + "/file";
    int probe = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | (direct() ? O_DIRECT : 0), 0600);
    if (probe < 0) in_child::Skip("O_DIRECT on tmpfs");
    close(probe);
    rf_file *file = Open(path);
    Buffer data = Buffer::Pattern(131072);
    rf_queue *queue = OpenQueue();
    rf_completion done = Run(queue, rf_op_write(file, data.data(), 131072, 0, 1));
    EXPECT_EQ(-ENOSPC, done.status);
    EXPECT_EQ(65536, done.bytes);
    std::vector<unsigned char> found = ReadBack(path, 200000);
    ASSERT_EQ(65536u, found.size());
    EXPECT_EQ("", DiffersFromPattern(found.data(), found.size(), 0));
    EXPECT_EQ(-ENOSPC, Run(queue, rf_op_write(file, data.data(), 4096, 65536, 2)).status);
    EXPECT_EQ(-ENOSPC, Run(queue, rf_op_fallocate(file, 0, 0, 1 << 20, 3)).status);
    CloseAll();
  });
  rmdir(mount_point.c_str());
  if (outcome.ended_with(in_child::kSkipped)) GTEST_SKIP() << "needs " << outcome.output;
  ASSERT_TRUE(outcome.ended_with(in_child::kDone)) << outcome.how() << "\n" << outcome.output;
}

// ---- block devices (rows 34 and 35) ------------------------------------------------------------

constexpr size_t kDevice = 1 << 20;

TEST_P(Conformance, ReadsAcrossTheEndOfADeviceAreShortAndSucceed) {
  loop_device::Loop loop(NewFile(kDevice));
  if (!loop.missing().empty()) GTEST_SKIP() << "needs " << loop.missing();
  rf_file *device = Open(loop.path(), O_RDWR);
  ASSERT_TRUE(rf_file_get_info(device)->block_device);
  EXPECT_EQ(kDevice, rf_file_get_info(device)->size);
  rf_queue *queue = OpenQueue();
  Buffer room(32768);
  rf_completion across = Run(queue, rf_op_read(device, room.data(), 32768, kDevice - 8192, 1));
  EXPECT_EQ(0, across.status);
  ASSERT_EQ(8192, across.bytes);
  EXPECT_EQ("", DiffersFromPattern(room.data(), 8192, kDevice - 8192));
  for (uint64_t offset : {kDevice, kDevice + 65536}) {
    rf_completion past = Run(queue, rf_op_read(device, room.data(), 4096, offset, 2));
    EXPECT_EQ(0, past.status) << offset;
    EXPECT_EQ(0, past.bytes) << offset;
  }
  CloseAll();
}

TEST_P(Conformance, WritesAcrossTheEndOfADeviceTellBytesAndEnospc) {
  std::string backing = NewFile(kDevice);
  loop_device::Loop loop(backing);
  if (!loop.missing().empty()) GTEST_SKIP() << "needs " << loop.missing();
  rf_file *device = Open(loop.path(), O_RDWR);
  rf_queue *queue = OpenQueue();
  Buffer data = Buffer::Pattern(32768, kDevice - 8192, 3);
  rf_completion across = Run(queue, rf_op_write(device, data.data(), 32768, kDevice - 8192, 1));
  EXPECT_EQ(-ENOSPC, across.status);
  EXPECT_EQ(8192, across.bytes);
  rf_completion past = Run(queue, rf_op_write(device, data.data(), 4096, kDevice, 2));
  EXPECT_EQ(-ENOSPC, past.status);
  EXPECT_EQ(0, past.bytes);
  EXPECT_EQ(0, Run(queue, rf_op_fsync(device, 3)).status);
  std::vector<unsigned char> found = ReadBack(backing, 2 * kDevice);
  ASSERT_EQ(kDevice, found.size());
  EXPECT_EQ("", DiffersFromPattern(found.data(), kDevice - 8192, 0));
  EXPECT_EQ("", DiffersFromPattern(found.data() + kDevice - 8192, 8192, kDevice - 8192, 3));
  CloseAll();
}

// What the kernel itself makes of a device whose file has been cut: EIO, or zeros on older ones.
bool ReadsAsZeros(const std::string &device, off_t offset) {
  Buffer room(4096);
  int fd = open(device.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  bool whole = pread(fd, room.data(), 4096, offset) == 4096;
  close(fd);
  return whole && IsAll(room.data(), 4096, 0);
}

TEST_P(Conformance, ADeviceThatFailsIsEioAndTheBytesBeforeItAreRight) {
  std::string backing = NewFile(kDevice);
  loop_device::Loop loop(backing);
  if (!loop.missing().empty()) GTEST_SKIP() << "needs " << loop.missing();
  rf_file *device = Open(loop.path(), O_RDONLY);
  ASSERT_EQ(0, truncate(backing.c_str(), kDevice / 2));
  if (ReadsAsZeros(loop.path(), kDevice / 2 + 65536))
    GTEST_SKIP() << "needs a loop device that fails behind the end of its file";
  rf_queue *queue = OpenQueue();
  Buffer room(65536);
  rf_completion good = Run(queue, rf_op_read(device, room.data(), 65536, kDevice / 4, 1));
  EXPECT_EQ(0, good.status);
  ASSERT_EQ(65536, good.bytes);
  EXPECT_EQ("", DiffersFromPattern(room.data(), 65536, kDevice / 4));
  rf_completion across = Run(queue, rf_op_read(device, room.data(), 65536, kDevice / 2 - 16384, 2));
  EXPECT_EQ(-EIO, across.status);
  ASSERT_GE(across.bytes, 0);
  ASSERT_LE(across.bytes, 16384);
  EXPECT_EQ(
      "", DiffersFromPattern(room.data(), static_cast<size_t>(across.bytes), kDevice / 2 - 16384));
  rf_completion bad = Run(queue, rf_op_read(device, room.data(), 4096, kDevice / 2 + 65536, 3));
  EXPECT_EQ(-EIO, bad.status);
  EXPECT_EQ(0, bad.bytes);
  CloseAll();
}

TEST_P(Conformance, DiscardOnADeviceSucceedsOrSaysThatItCannot) {
  std::string backing = NewFile(kDevice);
  loop_device::Loop loop(backing);
  if (!loop.missing().empty()) GTEST_SKIP() << "needs " << loop.missing();
  rf_file *device = Open(loop.path(), O_RDWR);
  rf_queue *queue = OpenQueue();
  rf_completion done = Run(queue, rf_op_discard(device, 65536, 65536, 1));
  EXPECT_TRUE(done.status == 0 || done.status == -EOPNOTSUPP) << done.status;
  EXPECT_EQ(0, done.bytes);
  Buffer room(65536);
  rf_completion before = Run(queue, rf_op_read(device, room.data(), 65536, 0, 2));
  ASSERT_EQ(65536, before.bytes);
  EXPECT_EQ("", DiffersFromPattern(room.data(), 65536, 0)) << "what was not discarded is there";
  CloseAll();
}

// ---- large sectors (row 33) --------------------------------------------------------------------

TEST_P(Conformance, DirectIoThatIsNotAlignedToLargeSectorsIsEinval) {
  constexpr size_t kSector = 4096;
  std::string backing = NewFile(kDevice);
  loop_device::Loop loop(backing, kSector);
  if (!loop.missing().empty()) GTEST_SKIP() << "needs " << loop.missing();
  rf_file *device = Open(loop.path(), O_RDWR);
  if (direct()) {
    EXPECT_EQ(kSector, rf_file_get_info(device)->offset_align);
  }
  rf_queue *queue = OpenQueue();
  Buffer data = Buffer::Pattern(2 * kSector, 0, 5);
  struct {
    uint64_t offset, length;
  } odd[] = {{512, kSector}, {kSector, 512}, {kSector, kSector + 512}, {1, 1}};
  for (auto [offset, length] : odd) {
    rf_completion read = Run(queue, rf_op_read(device, data.data(), length, offset, 1));
    rf_completion wrote = Run(queue, rf_op_write(device, data.data(), length, offset, 2));
    EXPECT_EQ(direct() ? -EINVAL : 0, read.status) << length << " at " << offset;
    EXPECT_EQ(direct() ? -EINVAL : 0, wrote.status) << length << " at " << offset;
    EXPECT_EQ(direct() ? 0 : static_cast<int64_t>(length), wrote.bytes);
  }
  Buffer fresh = Buffer::Pattern(2 * kSector, 8 * kSector, 6);
  EXPECT_EQ(0, Run(queue, rf_op_write(device, fresh.data(), 2 * kSector, 8 * kSector, 3)).status);
  EXPECT_EQ(0, Run(queue, rf_op_fsync(device, 4)).status);
  std::vector<unsigned char> found = ReadBack(backing, kDevice);
  ASSERT_EQ(kDevice, found.size());
  EXPECT_EQ("", DiffersFromPattern(&found[8 * kSector], 2 * kSector, 8 * kSector, 6));
  if (direct()) {
    EXPECT_EQ("", DiffersFromPattern(found.data(), 8 * kSector, 0)) << "refused, yet written";
  }
  CloseAll();
}

// ---- memory that goes away (row 40) ------------------------------------------------------------

// A buffer that is a mapped file, which somebody cuts: its pages raise SIGBUS in programs.
TEST_P(Conformance, ABufferThatIsAMappedFileCutShortIsEfaultAfterTheGoodPart) {
  std::string path = NewFile(65536), mapped = NewFile(65536, 9);
  int fd = open(mapped.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  void *at = mmap(nullptr, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ASSERT_NE(MAP_FAILED, at);
  ASSERT_EQ(0, ftruncate(fd, 8192));
  rf_file *file = Open(path);
  rf_queue *queue = OpenQueue();
  for (rf_op op : {rf_op_read(file, at, 32768, 0, 1), rf_op_write(file, at, 32768, 0, 2)}) {
    rf_completion done = Run(queue, op);
    EXPECT_EQ(-EFAULT, done.status);
    EXPECT_GE(done.bytes, 0);
    EXPECT_LE(done.bytes, 8192);
  }
  EXPECT_EQ(0, Run(queue, rf_op_read(file, at, 4096, 0, 3)).status) << "the queue goes on";
  munmap(at, 65536);
  close(fd);
}

RF_CONFORMANCE_EVERYWHERE();

} // namespace
} // namespace conformance
