// SPDX-License-Identifier: Apache-2.0
// Files and arenas that register themselves with the ring: that it is used, that nothing stale is
// ever met, that what is closed is let go, and that refusals change nothing but speed.
//
// What the core asks of the ring is seen through tests/observed_backend.h, what the kernel holds in
// /proc/self/fdinfo.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <ringfall/ringfall.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/in_child.h"
#include "tests/observed_backend.h"
#include "tests/queue_rig.h"
#include "tests/raw_host.h"
#include "tests/ring_fd.h"
#include "tests/seccomp_filter.h"

namespace {

using observed::CountFlag;
using observed::Seen;
using queue_rig::kLostNs;
using queue_rig::Pattern;
using queue_rig::Rig;
using seccomp_filter::Deny;

constexpr size_t kBlock = 4096;
constexpr size_t kEnough = 20; // ops on a file, after which it is registered for sure
constexpr int kLostMs = static_cast<int>(kLostNs / 1000000);

#define RF_NEEDS_PLACES()                                                                          \
  if (!raw_host::HasPlaces())                                                                      \
  GTEST_SKIP() << "needs rings with places to be filled in (Linux "                                \
                  "5.19)"

// A queue on a ring, watched.
class Registry : public testing::Test {
protected:
  void SetUp() override {
    if (!raw_host::Works(RF_BACKEND_IO_URING)) GTEST_SKIP() << "needs io_uring";
    rig.engine_options.choice = RF_CHOICE_REQUIRE;
    rig.engine_options.backend = RF_BACKEND_IO_URING;
  }

  void Open() {
    ASSERT_EQ(rig.Open(backends.substitute()), 0) << rig.Log();
    std::vector<int> rings = ring_fd::All();
    ASSERT_EQ(rings.size(), 1u);
    ring = rings[0];
    own_files = ring_fd::Taken(ring, "UserFiles");
    ASSERT_LE(own_files, 1) << "no more than the pipe that tells of the ring's end";
    backends.Take();
  }

  // Registered by the core, that is, without what the ring has for itself.
  int Files() const {
    int taken = ring_fd::Taken(ring, "UserFiles");
    return taken < 0 ? taken : taken - own_files;
  }
  int Memory() const { return ring_fd::Taken(ring, "UserBufs"); }

  // A new file of that content, without a name; more: O_DIRECT, for which arenas are registered.
  static int NewFd(const std::string &content, int more) {
    const char *given = getenv("TEST_TMPDIR");
    std::string path = std::string(given != nullptr ? given : "/tmp") + "/ringfall-test-XXXXXX";
    int plain = mkstemp(path.data());
    EXPECT_GE(plain, 0) << strerror(errno);
    EXPECT_EQ(pwrite(plain, content.data(), content.size(), 0),
              static_cast<ssize_t>(content.size()));
    int fd = open(path.c_str(), O_RDWR | O_CLOEXEC | more);
    EXPECT_GE(fd, 0) << strerror(errno);
    close(plain);
    unlink(path.c_str());
    return fd;
  }

  static rf_file *Adopt(rf_engine *engine, int fd) {
    rf_file *file = nullptr;
    EXPECT_EQ(rf_file_from_fd(engine, fd, true, &file), 0);
    return file;
  }

  rf_file *NewFile(const std::string &content, int more = 0) {
    return Adopt(rig.engine, NewFd(content, more));
  }

  // Reads all of it, block by block, into memory at `into`.
  bool Reads(rf_file *file, const std::string &content, char *into) {
    std::vector<rf_op> ops;
    memset(into, 0, content.size());
    for (size_t at = 0; at < content.size(); at += kBlock)
      ops.push_back(rf_op_read(file, into + at, kBlock, at, ops.size()));
    return rig.Completed(rig.Do(ops), ops.size(), kBlock) &&
           memcmp(into, content.data(), content.size()) == 0;
  }
  bool Reads(rf_file *file, const std::string &content) {
    std::string into(content.size(), '\0');
    return Reads(file, content, into.data());
  }

  observed::Backends backends;
  Rig rig;
  int own_files = 0;
  int ring = -1;
};

void DoIt(bool elsewhere, const std::function<void()> &work) {
  if (!elsewhere)
    work();
  else
    std::thread(work).join();
}

// ---- that it is used ---------------------------------------------------------------------------

TEST_F(Registry, RegistersAFileAfterAFewOpsOnIt) {
  RF_NEEDS_PLACES();
  Open();
  if (HasFatalFailure()) return;
  EXPECT_EQ(Files(), 0);
  ASSERT_TRUE(rig.RoundTrip(kEnough));
  EXPECT_EQ(Files(), 1);
  std::vector<Seen> seen = backends.Take();
  EXPECT_FALSE(seen.front().Has(RF_REQUEST_FIXED_FILE)) << "not worth it for one op";
  EXPECT_TRUE(seen.back().Has(RF_REQUEST_FIXED_FILE));
  ASSERT_TRUE(rig.RoundTrip(kEnough, kBlock, 3));
  EXPECT_EQ(CountFlag(backends.Take(), RF_REQUEST_FIXED_FILE), 2 * kEnough) << "all but the fsync";
}

TEST_F(Registry, VectorsGoThroughTheRegisteredFileToo) {
  RF_NEEDS_PLACES();
  Open();
  if (HasFatalFailure()) return;
  ASSERT_TRUE(rig.RoundTrip(kEnough));
  backends.Take();
  std::string data = Pattern(3 * kBlock, 5), back(data.size(), '\0');
  iovec out[2] = {{data.data(), 1000}, {data.data() + 1000, data.size() - 1000}};
  iovec in[2] = {{back.data(), 5000}, {back.data() + 5000, back.size() - 5000}};
  EXPECT_EQ(rig.Do(rf_op_writev(rig.file, out, 2, kBlock, 1)).bytes, 3 * int64_t{kBlock});
  EXPECT_EQ(rig.Do(rf_op_readv(rig.file, in, 2, kBlock, 2)).bytes, 3 * int64_t{kBlock});
  EXPECT_TRUE(back == data);
  EXPECT_EQ(CountFlag(backends.Take(), RF_REQUEST_FIXED_FILE), 2u);
}

TEST_F(Registry, ArenaMemoryIsRegisteredAtOnceAndOtherMemoryIsNot) {
  RF_NEEDS_PLACES();
  Open();
  if (HasFatalFailure()) return;
  rf_arena *arena = nullptr;
  EXPECT_EQ(Memory(), 0);
  ASSERT_EQ(rf_arena_open(rig.engine, 64 * kBlock, 0, &arena), 0);
  char *base = static_cast<char *>(rf_arena_base(arena));
  std::string data = Pattern(32 * kBlock);
  rf_file *file = NewFile(std::string(data.size(), '\0'), O_DIRECT);
  memcpy(base, data.data(), data.size());
  std::vector<rf_op> ops;
  for (size_t at = 0; at < data.size(); at += kBlock)
    ops.push_back(rf_op_write(file, base + at, kBlock, at, at));
  EXPECT_TRUE(rig.Completed(rig.Do(ops), 32, kBlock));
  EXPECT_EQ(CountFlag(backends.Take(), RF_REQUEST_FIXED_MEMORY), 32u);
  EXPECT_EQ(Memory(), 1);
  EXPECT_TRUE(Reads(file, data, base + 32 * kBlock)) << "up to its very end";
  EXPECT_EQ(CountFlag(backends.Take(), RF_REQUEST_FIXED_MEMORY), 32u);
  alignas(kBlock) static char other[32 * kBlock];
  EXPECT_TRUE(Reads(file, data, other));
  EXPECT_EQ(CountFlag(backends.Take(), RF_REQUEST_FIXED_MEMORY), 0u);
  rf_arena_close(arena);
  EXPECT_EQ(Memory(), 0) << "closed by the queue's own thread: let go at once";
  EXPECT_EQ(rf_file_close(file), 0);
}

// The arena's pages as direct I/O needs them, in memory that the test has.
char *Aligned(std::vector<char> *memory) {
  auto at = reinterpret_cast<uintptr_t>(memory->data());
  return memory->data() + (kBlock - at % kBlock) % kBlock;
}

TEST_F(Registry, AdoptedMemoryIsRegisteredLikeAnArenas) {
  RF_NEEDS_PLACES();
  Open();
  if (HasFatalFailure()) return;
  std::vector<char> memory(34 * kBlock);
  char *base = Aligned(&memory);
  rf_arena *arena = nullptr;
  ASSERT_EQ(rf_arena_adopt(rig.engine, base, 32 * kBlock, &arena), 0);
  std::string data = Pattern(32 * kBlock);
  rf_file *file = NewFile(data, O_DIRECT);
  EXPECT_TRUE(Reads(file, data, base));
  EXPECT_EQ(CountFlag(backends.Take(), RF_REQUEST_FIXED_MEMORY), 32u);
  EXPECT_EQ(Memory(), 1);
  EXPECT_TRUE(Reads(file, data, base + kBlock)) << "the last block lies behind it";
  EXPECT_EQ(CountFlag(backends.Take(), RF_REQUEST_FIXED_MEMORY), 31u);
  rf_arena_close(arena);
  EXPECT_EQ(Memory(), 0);
  EXPECT_TRUE(Reads(file, data, base)) << "the memory is still there";
  EXPECT_EQ(CountFlag(backends.Take(), RF_REQUEST_FIXED_MEMORY), 0u);
  EXPECT_EQ(rf_file_close(file), 0);
}

TEST_F(Registry, ArenasOfTheSameMemoryGoOneByOne) {
  RF_NEEDS_PLACES();
  Open();
  if (HasFatalFailure()) return;
  std::vector<char> memory(34 * kBlock);
  char *base = Aligned(&memory);
  rf_arena *first = nullptr, *second = nullptr;
  ASSERT_EQ(rf_arena_adopt(rig.engine, base, 32 * kBlock, &first), 0);
  ASSERT_EQ(rf_arena_adopt(rig.engine, base, 32 * kBlock, &second), 0);
  std::string data = Pattern(32 * kBlock);
  rf_file *file = NewFile(data, O_DIRECT);
  EXPECT_TRUE(Reads(file, data, base));
  EXPECT_EQ(Memory(), 2);
  rf_arena_close(first);
  EXPECT_EQ(Memory(), 1);
  EXPECT_TRUE(Reads(file, data, base));
  EXPECT_EQ(CountFlag(backends.Take(), RF_REQUEST_FIXED_MEMORY), 64u);
  rf_arena_close(second);
  EXPECT_EQ(Memory(), 0);
  EXPECT_EQ(rf_file_close(file), 0);
}

TEST_F(Registry, MemoryThatTheKernelDoesNotTakeIsUsedUnregistered) {
  RF_NEEDS_PLACES();
  Open();
  if (HasFatalFailure()) return;
  char *base = static_cast<char *>(
      mmap(nullptr, 32 * kBlock, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(base, MAP_FAILED);
  ASSERT_EQ(munmap(base + 16 * kBlock, 16 * kBlock), 0); // not there: nothing to be registered
  rf_arena *arena = nullptr;
  ASSERT_EQ(rf_arena_adopt(rig.engine, base, 32 * kBlock, &arena), 0);
  std::string data = Pattern(16 * kBlock);
  rf_file *file = NewFile(data, O_DIRECT);
  EXPECT_TRUE(Reads(file, data, base));
  EXPECT_EQ(CountFlag(backends.Take(), RF_REQUEST_FIXED_MEMORY), 0u);
  EXPECT_TRUE(rig.Logged(RF_LOG_INFO, {"unregistered"})) << rig.Log();
  rf_arena_close(arena);
  munmap(base, 16 * kBlock);
  EXPECT_EQ(rf_file_close(file), 0);
}

// Each has its own, and a block is large: registering them would only cost.
TEST_F(Registry, FilesOfTransfersAreNotRegistered) {
  Open();
  if (HasFatalFailure()) return;
  rf_pool_options options;
  rf_pool_options_init(&options);
  options.block_size = kBlock;
  options.workers = 1;
  rf_pool *pool = nullptr;
  ASSERT_EQ(rf_pool_open(rig.engine, &options, &pool), 0);
  std::string data = Pattern(64 * kBlock), back(data.size(), '\0');
  int fd = NewFd(data, 0);
  backends.Take();
  rf_transfer_request request;
  rf_transfer_request_init(&request);
  request.fd = fd;
  request.buffer = back.data();
  request.length = back.size();
  rf_transfer_result result;
  ASSERT_EQ(rf_transfer_read_sync(pool, &request, &result), 0);
  EXPECT_TRUE(back == data);
  std::vector<Seen> seen = backends.Take();
  EXPECT_GE(seen.size(), 64u);
  EXPECT_EQ(CountFlag(seen, RF_REQUEST_FIXED_FILE), 0u);
  rf_pool_close(pool, RF_POOL_DRAIN);
  close(fd);
}

// Ops of one kind on one file go alike in all but this: each has memory of its own.
TEST_F(Registry, ArenaMemoryAndOtherMemoryMayTakeTurnsInABatch) {
  RF_NEEDS_PLACES();
  Open();
  if (HasFatalFailure()) return;
  std::string content = Pattern(kEnough * kBlock);
  rf_file *file = NewFile(content, O_DIRECT);
  rf_arena *arena = nullptr;
  ASSERT_EQ(rf_arena_open(rig.engine, content.size(), 0, &arena), 0);
  void *memory = nullptr;
  ASSERT_EQ(posix_memalign(&memory, kBlock, content.size()), 0);
  char *registered = static_cast<char *>(rf_arena_base(arena)),
       *plain = static_cast<char *>(memory);
  ASSERT_TRUE(Reads(file, content, plain)); // so that the file is registered
  backends.Take();
  std::vector<rf_op> ops;
  for (size_t i = 0; i < kEnough; i++)
    ops.push_back(
        rf_op_read(file, (i % 2 == 0 ? plain : registered) + i * kBlock, kBlock, i * kBlock, i));
  EXPECT_TRUE(rig.Completed(rig.Do(ops), kEnough, kBlock));
  std::vector<Seen> seen = backends.Take();
  ASSERT_EQ(seen.size(), kEnough);
  for (size_t i = 0; i < kEnough; i++)
    EXPECT_EQ(seen[i].Has(RF_REQUEST_FIXED_MEMORY), i % 2 == 1) << "op " << i;
  EXPECT_EQ(CountFlag(seen, RF_REQUEST_FIXED_FILE), kEnough);
  for (size_t i = 1; i < kEnough; i += 2)
    EXPECT_EQ(memcmp(registered + i * kBlock, content.data() + i * kBlock, kBlock), 0) << i;
  free(memory);
  EXPECT_EQ(rf_file_close(file), 0);
  rf_arena_close(arena);
}

TEST_F(Registry, CopiesFromThePageCacheUseArenasAsOrdinaryMemory) {
  RF_NEEDS_PLACES();
  Open();
  if (HasFatalFailure()) return;
  rf_arena *arena = nullptr;
  ASSERT_EQ(rf_arena_open(rig.engine, kEnough * kBlock, 0, &arena), 0);
  std::string data = Pattern(kEnough * kBlock);
  rf_file *file = NewFile(data);
  EXPECT_TRUE(Reads(file, data, static_cast<char *>(rf_arena_base(arena))));
  std::vector<Seen> seen = backends.Take();
  EXPECT_EQ(CountFlag(seen, RF_REQUEST_FIXED_MEMORY), 0u);
  EXPECT_GT(CountFlag(seen, RF_REQUEST_FIXED_FILE), 0u);
  rf_arena_close(arena);
  EXPECT_EQ(rf_file_close(file), 0);
}

TEST_F(Registry, OddLengthsAndNothingAtAllAreTheSameInArenas) {
  Open();
  if (HasFatalFailure()) return;
  rf_arena *arena = nullptr;
  ASSERT_EQ(rf_arena_open(rig.engine, 4 * kBlock, 0, &arena), 0);
  char *base = static_cast<char *>(rf_arena_base(arena));
  std::string data = Pattern(10000);
  memcpy(base + 1, data.data(), data.size());
  EXPECT_EQ(rig.Do(rf_op_write(rig.file, base + 1, data.size(), 3, 1)).bytes, 10000);
  memset(base, 0, 4 * kBlock);
  rf_completion past = rig.Do(rf_op_read(rig.file, base + 7, 4 * kBlock - 7, 3, 2));
  EXPECT_EQ(past.status, 0);
  EXPECT_EQ(past.bytes, 10000) << "the file ends there";
  EXPECT_EQ(memcmp(base + 7, data.data(), data.size()), 0);
  rf_completion end = rig.Do(rf_op_read(rig.file, base, kBlock, 20000, 3));
  EXPECT_EQ(end.status, 0);
  EXPECT_EQ(end.bytes, 0);
  for (char *at : {base, base + 4 * kBlock}) {
    rf_completion none = rig.Do(rf_op_read(rig.file, at, 0, 0, 4));
    EXPECT_EQ(none.status, 0);
    EXPECT_EQ(none.bytes, 0);
    EXPECT_EQ(rig.Do(rf_op_write(rig.file, at, 0, 0, 5)).status, 0);
  }
  rf_arena_close(arena);
}

TEST_F(Registry, AQueueOpenedLaterRegistersTheArenasThatAreThere) {
  RF_NEEDS_PLACES();
  rf_arena *arena = nullptr;
  ASSERT_EQ(rig.OpenEngine(backends.substitute()), 0);
  ASSERT_EQ(rf_arena_open(rig.engine, kBlock, 0, &arena), 0);
  ASSERT_EQ(rig.OpenQueue(), 0);
  ring = ring_fd::All().at(0);
  EXPECT_EQ(Memory(), 1);
  rf_arena_close(arena);
}

TEST_F(Registry, RegistersNothingWhenToldSo) {
  rig.queue_options.registered = false;
  Open();
  if (HasFatalFailure()) return;
  rf_arena *arena = nullptr;
  ASSERT_EQ(rf_arena_open(rig.engine, kEnough * kBlock, 0, &arena), 0);
  ASSERT_TRUE(rig.RoundTrip(kEnough));
  EXPECT_TRUE(
      Reads(rig.file, rig.Content(kEnough * kBlock), static_cast<char *>(rf_arena_base(arena))));
  EXPECT_EQ(CountFlag(backends.Take(), RF_REQUEST_FIXED_FILE | RF_REQUEST_FIXED_MEMORY), 0u);
  EXPECT_LE(Files(), 0);
  EXPECT_LE(Memory(), 0);
  rf_arena_close(arena);
}

// ---- that nothing stale is met -----------------------------------------------------------------

class Stale : public Registry, public testing::WithParamInterface<bool> {};

TEST_P(Stale, MemoryMappedWhereAnArenaWasGetsTheData) {
  Open();
  if (HasFatalFailure()) return;
  std::string data = Pattern(kEnough * kBlock);
  rf_file *file = NewFile(data, O_DIRECT);
  rf_arena *arena = nullptr;
  ASSERT_EQ(rf_arena_open(rig.engine, data.size(), 0, &arena), 0);
  char *base = static_cast<char *>(rf_arena_base(arena));
  ASSERT_TRUE(Reads(file, data, base));
  DoIt(GetParam(), [&] { rf_arena_close(arena); });
  void *again = mmap(base, data.size(), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  ASSERT_EQ(again, base) << "the arena's memory was given back";
  backends.Take();
  EXPECT_TRUE(Reads(file, data, base));
  EXPECT_EQ(CountFlag(backends.Take(), RF_REQUEST_FIXED_MEMORY), 0u);
  EXPECT_EQ(Memory(), 0);
  munmap(again, data.size());
  EXPECT_EQ(rf_file_close(file), 0);
}

// The place of the old one is taken by the new one, which may well be at the same address.
TEST_P(Stale, AnArenaInPlaceOfAnotherGetsTheData) {
  RF_NEEDS_PLACES();
  Open();
  if (HasFatalFailure()) return;
  std::string data = Pattern(kEnough * kBlock);
  rf_file *file = NewFile(data, O_DIRECT);
  for (int i = 0; i < 40; i++) {
    rf_arena *arena = nullptr;
    DoIt(GetParam(), [&] { EXPECT_EQ(rf_arena_open(rig.engine, data.size(), 0, &arena), 0); });
    backends.Take();
    EXPECT_TRUE(Reads(file, data, static_cast<char *>(rf_arena_base(arena)))) << i;
    EXPECT_EQ(CountFlag(backends.Take(), RF_REQUEST_FIXED_MEMORY), kEnough) << i;
    EXPECT_EQ(Memory(), 1);
    DoIt(GetParam(), [&] { rf_arena_close(arena); });
  }
  EXPECT_EQ(rf_file_close(file), 0);
}

TEST_P(Stale, AFileInPlaceOfAClosedOneIsTheOneThatIsRead) {
  RF_NEEDS_PLACES();
  Open();
  if (HasFatalFailure()) return;
  std::string first = Pattern(kEnough * kBlock, 1), second = Pattern(kEnough * kBlock, 2);
  rf_file *file = NewFile(first);
  ASSERT_TRUE(Reads(file, first));
  std::vector<Seen> seen = backends.Take();
  ASSERT_TRUE(seen.back().Has(RF_REQUEST_FIXED_FILE));
  uint16_t place = seen.back().file_slot;
  DoIt(GetParam(), [&] {
    EXPECT_EQ(rf_file_close(file), 0);
    file = NewFile(second);
  });
  EXPECT_TRUE(Reads(file, second));
  seen = backends.Take();
  EXPECT_FALSE(seen.front().Has(RF_REQUEST_FIXED_FILE)) << "it is a new one";
  ASSERT_TRUE(seen.back().Has(RF_REQUEST_FIXED_FILE));
  EXPECT_EQ(seen.back().file_slot, place) << "or this test shows nothing";
  EXPECT_TRUE(Reads(file, second));
  EXPECT_EQ(rf_file_close(file), 0);
}

INSTANTIATE_TEST_SUITE_P(ClosedBy, Stale, testing::Bool(), [](const auto &given) {
  return std::string(given.param ? "AnotherThread" : "TheQueuesOwnThread");
});

TEST_F(Registry, AFileClosedBeforeItWasRegisteredLeavesItsPlaceToTheNext) {
  RF_NEEDS_PLACES();
  Open();
  if (HasFatalFailure()) return;
  std::string data = Pattern(kEnough * kBlock);
  rf_file *brief = NewFile(data);
  char byte;
  for (uint64_t i = 0; i < 5; i++) EXPECT_EQ(rig.Do(rf_op_read(brief, &byte, 1, i, i)).bytes, 1);
  EXPECT_EQ(rf_file_close(brief), 0);
  rf_file *file = NewFile(data);
  EXPECT_TRUE(Reads(file, data));
  EXPECT_EQ(Files(), 1);
  EXPECT_EQ(rf_file_close(file), 0);
  EXPECT_EQ(Files(), 0);
}

TEST_F(Registry, AChildsUseOfTheMemoryDoesNotTakeItFromTheRing) {
  RF_NEEDS_PLACES();
  Open();
  if (HasFatalFailure()) return;
  std::string data = Pattern(kEnough * kBlock);
  rf_file *file = NewFile(data, O_DIRECT);
  rf_arena *arena = nullptr;
  ASSERT_EQ(rf_arena_open(rig.engine, data.size(), 0, &arena), 0);
  char *base = static_cast<char *>(rf_arena_base(arena));
  ASSERT_TRUE(Reads(file, data, base));
  RF_IN_CHILD({ memset(base, 1, data.size()); });
  memset(base, 2, data.size()); // after a fork, a write may well be to a copy
  backends.Take();
  EXPECT_TRUE(Reads(file, data, base));
  EXPECT_EQ(CountFlag(backends.Take(), RF_REQUEST_FIXED_MEMORY), kEnough);
  rf_arena_close(arena);
  EXPECT_EQ(rf_file_close(file), 0);
}

// ---- more than there are places for ------------------------------------------------------------

TEST_F(Registry, MoreFilesThanPlacesAreAllReadRight) {
  RF_NEEDS_PLACES();
  constexpr size_t kFiles = 300;
  rig.queue_options.depth = 512;
  Open();
  if (HasFatalFailure()) return;
  std::vector<rf_file *> files;
  std::vector<std::string> contents;
  for (uint32_t i = 0; i < kFiles; i++) {
    contents.push_back(Pattern(64, i + 1));
    files.push_back(NewFile(contents.back()));
  }
  std::vector<std::string> back(kFiles);
  for (size_t round = 0; round < kEnough; round++) {
    std::vector<rf_op> ops;
    for (size_t i = 0; i < kFiles; i++) {
      back[i].assign(64, '\0');
      ops.push_back(rf_op_read(files[i], back[i].data(), 64, 0, i));
    }
    EXPECT_TRUE(rig.Completed(rig.Do(ops), kFiles, 64));
    EXPECT_TRUE(back == contents) << "round " << round;
  }
  EXPECT_EQ(Files(), 255) << "one place is the rig's own file's, which was not used";
  for (rf_file *file : files) EXPECT_EQ(rf_file_close(file), 0);
  EXPECT_EQ(Files(), 0);
  rf_file *late = NewFile(Pattern(kEnough * kBlock));
  EXPECT_TRUE(Reads(late, Pattern(kEnough * kBlock)));
  EXPECT_EQ(Files(), 1);
  EXPECT_EQ(rf_file_close(late), 0);
}

TEST_F(Registry, MoreArenasThanPlacesAllGetTheirData) {
  RF_NEEDS_PLACES();
  constexpr size_t kArenas = 40;
  Open();
  if (HasFatalFailure()) return;
  std::string data = Pattern(kBlock);
  rf_file *file = NewFile(data, O_DIRECT);
  std::vector<rf_arena *> arenas(kArenas);
  for (rf_arena *&arena : arenas) ASSERT_EQ(rf_arena_open(rig.engine, kBlock, 0, &arena), 0);
  for (rf_arena *arena : arenas)
    EXPECT_TRUE(Reads(file, data, static_cast<char *>(rf_arena_base(arena))));
  EXPECT_EQ(CountFlag(backends.Take(), RF_REQUEST_FIXED_MEMORY), 16u);
  EXPECT_EQ(Memory(), 16);
  for (size_t i = 0; i < kArenas / 2; i++) { // among them all that are registered
    rf_arena_close(arenas[i]);
    arenas[i] = nullptr;
  }
  EXPECT_EQ(Memory(), 0);
  ASSERT_EQ(rf_arena_open(rig.engine, kBlock, 0, &arenas[0]), 0);
  EXPECT_EQ(Memory(), 1);
  for (rf_arena *arena : arenas) {
    if (arena == nullptr) continue;
    EXPECT_TRUE(Reads(file, data, static_cast<char *>(rf_arena_base(arena))));
  }
  EXPECT_EQ(CountFlag(backends.Take(), RF_REQUEST_FIXED_MEMORY), 1u);
  for (rf_arena *arena : arenas) rf_arena_close(arena);
  EXPECT_EQ(rf_file_close(file), 0);
}

// ---- several threads ---------------------------------------------------------------------------

TEST_F(Registry, FilesAndArenasComeAndGoWhileQueuesWork) {
  constexpr int kRounds = 200;
  Open();
  if (HasFatalFailure()) return;
  std::string data = Pattern(kEnough * kBlock);
  rf_file *file = NewFile(data);
  std::atomic<bool> over{false};
  std::thread other([&] {
    for (int i = 0; i < kRounds; i++) {
      std::string brief = Pattern(4 * kBlock, static_cast<uint32_t>(i) + 1);
      rf_file *mine = NewFile(brief);
      rf_arena *arena = nullptr;
      rf_queue *queue = nullptr;
      EXPECT_EQ(rf_arena_open(rig.engine, brief.size(), 0, &arena), 0);
      EXPECT_EQ(rf_queue_open(rig.engine, nullptr, &queue), 0);
      char *into = static_cast<char *>(rf_arena_base(arena));
      for (uint64_t n = 0; n < 12; n++) {
        rf_op op = rf_op_read(mine, into, brief.size(), 0, n);
        rf_completion done = {};
        EXPECT_EQ(rf_submit_and_wait(queue, &op, 1, nullptr, &done, 1, 1, kLostNs), 1);
        EXPECT_EQ(done.bytes, static_cast<int64_t>(brief.size()));
      }
      EXPECT_EQ(memcmp(into, brief.data(), brief.size()), 0) << i;
      EXPECT_EQ(rf_queue_close(queue), 0);
      rf_arena_close(arena);
      EXPECT_EQ(rf_file_close(mine), 0);
    }
    over = true;
  });
  std::string into(data.size(), '\0');
  size_t rounds = 0;
  for (; !over && !HasFailure(); rounds++) EXPECT_TRUE(Reads(file, data, into.data()));
  other.join();
  EXPECT_GT(rounds, 0u);
  EXPECT_EQ(rf_file_close(file), 0);
}

// ---- that what is closed is let go -------------------------------------------------------------

// A pipe of which the kernel tells when nobody can read from it any more.
class Watched {
public:
  explicit Watched(rf_engine *engine) {
    EXPECT_EQ(pipe2(ends_, O_CLOEXEC), 0);
    EXPECT_EQ(rf_file_from_fd(engine, ends_[0], true, &file), 0);
  }
  ~Watched() { close(ends_[1]); }

  // So often that its file gets registered.
  void Use(Rig *rig) {
    for (uint64_t i = 0; i < kEnough; i++) {
      char byte = 0;
      EXPECT_EQ(write(ends_[1], "x", 1), 1);
      EXPECT_EQ(rig->Do(rf_op_read(file, &byte, 1, 0, i)).bytes, 1);
    }
  }

  bool LetGo(int patience_ms) const {
    pollfd end = {ends_[1], 0, 0};
    return poll(&end, 1, patience_ms) == 1 && (end.revents & POLLERR) != 0;
  }

  rf_file *file = nullptr;

private:
  int ends_[2] = {-1, -1};
};

TEST_F(Registry, AFileClosedByTheQueuesThreadIsLetGoAtOnce) {
  RF_NEEDS_PLACES();
  Open();
  if (HasFatalFailure()) return;
  Watched pipe(rig.engine);
  pipe.Use(&rig);
  ASSERT_EQ(Files(), 1);
  EXPECT_FALSE(pipe.LetGo(0));
  EXPECT_EQ(rf_file_close(pipe.file), 0);
  EXPECT_TRUE(pipe.LetGo(kLostMs));
}

TEST_F(Registry, AFileClosedByAnotherThreadIsLetGoAtTheQueuesNextCall) {
  RF_NEEDS_PLACES();
  Open();
  if (HasFatalFailure()) return;
  Watched pipe(rig.engine);
  pipe.Use(&rig);
  ASSERT_EQ(Files(), 1);
  std::thread([&] { EXPECT_EQ(rf_file_close(pipe.file), 0); }).join();
  rf_completion none;
  EXPECT_EQ(rf_reap(rig.queue, &none, 1), 0);
  EXPECT_EQ(Files(), 0);
  EXPECT_TRUE(pipe.LetGo(kLostMs));
}

TEST_F(Registry, FilesAreLetGoWithTheQueue) {
  RF_NEEDS_PLACES();
  Open();
  if (HasFatalFailure()) return;
  Watched pipe(rig.engine);
  pipe.Use(&rig);
  ASSERT_EQ(Files(), 1);
  std::thread([&] { EXPECT_EQ(rf_file_close(pipe.file), 0); }).join();
  EXPECT_EQ(rig.CloseQueue(), 0);
  EXPECT_TRUE(pipe.LetGo(kLostMs));
}

TEST_F(Registry, FilesAreLetGoWithTheQueueOfAThreadThatHasEnded) {
  RF_NEEDS_PLACES();
  Open();
  if (HasFatalFailure()) return;
  Watched pipe(rig.engine);
  std::thread([&] { pipe.Use(&rig); }).join();
  ASSERT_EQ(Files(), 1);
  EXPECT_EQ(rf_file_close(pipe.file), 0);
  EXPECT_EQ(rig.CloseQueue(), 0);
  EXPECT_TRUE(pipe.LetGo(kLostMs));
}

// Nobody but that thread can take the ring's descriptor out of its table.
TEST_F(Registry, FilesOfAQueueThatAnotherThreadClosesAreLetGoWhenItsThreadEnds) {
  RF_NEEDS_PLACES();
  Open();
  if (HasFatalFailure()) return;
  Watched pipe(rig.engine);
  pthread_barrier_t both; // used; closed
  pthread_barrier_init(&both, nullptr, 2);
  std::thread owner([&] {
    pipe.Use(&rig);
    pthread_barrier_wait(&both);
    pthread_barrier_wait(&both);
  });
  pthread_barrier_wait(&both);
  EXPECT_EQ(Files(), 1);
  EXPECT_EQ(rf_file_close(pipe.file), 0);
  EXPECT_EQ(rig.CloseQueue(), 0);
  pthread_barrier_wait(&both);
  owner.join();
  pthread_barrier_destroy(&both);
  EXPECT_TRUE(pipe.LetGo(kLostMs));
}

// The kernel lets a thread register 16 rings.
TEST_F(Registry, ManyQueuesOfOneThreadWorkInTurnAndTogether) {
  Open();
  if (HasFatalFailure()) return;
  std::vector<rf_queue *> queues;
  rf_queue *first = rig.queue;
  for (int i = 0; i < 40; i++) {
    ASSERT_EQ(rf_queue_open(rig.engine, nullptr, &rig.queue), 0);
    queues.push_back(rig.queue);
    EXPECT_TRUE(rig.RoundTrip(4, kBlock, static_cast<uint32_t>(i) + 1)) << i;
    if (i % 3 != 0) continue;
    EXPECT_EQ(rf_queue_close(queues.front()), 0);
    queues.erase(queues.begin());
  }
  for (rf_queue *queue : queues) EXPECT_EQ(rf_queue_close(queue), 0);
  rig.queue = first;
  EXPECT_TRUE(rig.RoundTrip());
}

// ---- refused -----------------------------------------------------------------------------------

// In the child.  Everything once more, after the kernel stopped registering.
void WorksWithoutRegistration(Rig *rig) {
  rf_arena *arena = nullptr;
  ASSERT_EQ(rf_arena_open(rig->engine, 64 * kBlock, 0, &arena), 0);
  char *base = static_cast<char *>(rf_arena_base(arena));
  EXPECT_TRUE(rig->RoundTrip(64, kBlock, 9));
  std::string data = rig->Content(64 * kBlock);
  std::vector<rf_op> ops;
  for (size_t at = 0; at < data.size(); at += kBlock)
    ops.push_back(rf_op_read(rig->file, base + at, kBlock, at, at));
  EXPECT_TRUE(rig->Completed(rig->Do(ops), 64, kBlock));
  EXPECT_EQ(memcmp(base, data.data(), data.size()), 0);
  rf_arena_close(arena);
}

TEST_F(Registry, RefusedInUseLeavesTheRingAtWork) {
  RF_NEEDS_PLACES();
  RF_IN_CHILD({
    Rig own;
    own.engine_options = rig.engine_options;
    ASSERT_EQ(own.Open(backends.substitute()), 0) << own.Log();
    ASSERT_EQ(own.Do(rf_op_nop(1)).status, 0); // the ring is enabled by registering
    if (seccomp_filter::Install({Deny(SYS_io_uring_register, EPERM)}) != 0)
      in_child::Skip("seccomp filters");
    backends.Take();
    WorksWithoutRegistration(&own);
    EXPECT_EQ(CountFlag(backends.Take(), RF_REQUEST_FIXED_FILE | RF_REQUEST_FIXED_MEMORY), 0u);
    EXPECT_EQ(own.Counters().deaths, 0u);
    EXPECT_EQ(rf_queue_backend(own.queue), RF_BACKEND_IO_URING);
    EXPECT_TRUE(own.Logged(RF_LOG_INFO, {"unregistered"})) << own.Log();
  });
}

TEST_F(Registry, RefusedInUseDoesNotBringBackWhatWasRegisteredBefore) {
  RF_IN_CHILD({
    Rig own;
    own.engine_options = rig.engine_options;
    ASSERT_EQ(own.Open(backends.substitute()), 0) << own.Log();
    rf_arena *arena = nullptr;
    ASSERT_EQ(rf_arena_open(own.engine, 64 * kBlock, 0, &arena), 0);
    char *base = static_cast<char *>(rf_arena_base(arena));
    std::string data = Pattern(64 * kBlock);
    rf_file *file = Adopt(own.engine, NewFd(data, O_DIRECT));
    ASSERT_TRUE(own.RoundTrip());
    if (seccomp_filter::Install({Deny(SYS_io_uring_register, EPERM)}) != 0)
      in_child::Skip("seccomp filters");
    rf_arena_close(arena);
    void *again = mmap(base, 64 * kBlock, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    ASSERT_EQ(again, base);
    EXPECT_EQ(own.Do(rf_op_read(file, base, data.size(), 0, 1)).bytes, 64 * int64_t{kBlock});
    EXPECT_EQ(memcmp(base, data.data(), data.size()), 0);
    EXPECT_EQ(rf_file_close(file), 0);
    WorksWithoutRegistration(&own);
  });
}

TEST_F(Registry, RefusedBeforeTheFirstOpLeadsToThreads) {
  RF_IN_CHILD({
    Rig own;
    own.engine_options = rig.engine_options;
    ASSERT_EQ(own.Open(), 0) << own.Log();
    if (seccomp_filter::Install({Deny(SYS_io_uring_register, EPERM)}) != 0)
      in_child::Skip("seccomp filters");
    WorksWithoutRegistration(&own);
    EXPECT_EQ(own.Counters().failed, 0u);
  });
}

TEST_F(Registry, AnArenaAboveTheLimitOfLockedMemoryGoesUnregistered) {
  RF_NEEDS_PLACES();
  RF_IN_CHILD({
    if (geteuid() != 0) in_child::Skip("root, to become another user");
    rlimit limit = {256 << 10, 256 << 10}; // a ring and a small arena, and no more
    ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    Rig own;
    own.engine_options = rig.engine_options;
    own.queue_options.depth = 8;
    own.OpenFile();
    std::string data = Pattern(16 * kBlock);
    int fd = NewFd(data, O_DIRECT);
    // No user that others use here: what they lock counts, too.
    ASSERT_EQ(setuid(static_cast<uid_t>(3000000000u + static_cast<uid_t>(getpid()))), 0);
    int status = own.Open(backends.substitute());
    if (status == -ENOTSUP) in_child::Skip("a ring within 256 KiB of locked memory");
    ASSERT_EQ(status, 0) << own.Log();
    backends.Take();
    rf_arena *small = nullptr;
    rf_arena *large = nullptr;
    ASSERT_EQ(rf_arena_open(own.engine, 16 * kBlock, 0, &small), 0);
    ASSERT_EQ(rf_arena_open(own.engine, 1 << 20, 0, &large), 0);
    EXPECT_TRUE(own.RoundTrip(16));
    rf_file *file = Adopt(own.engine, fd);
    for (rf_arena *arena : {small, large}) {
      char *base = static_cast<char *>(rf_arena_base(arena));
      backends.Take();
      EXPECT_EQ(own.Do(rf_op_read(file, base, data.size(), 0, 1)).bytes, 16 * int64_t{kBlock});
      EXPECT_EQ(memcmp(base, data.data(), data.size()), 0);
      EXPECT_EQ(CountFlag(backends.Take(), RF_REQUEST_FIXED_MEMORY), arena == small ? 1u : 0u);
    }
    EXPECT_TRUE(own.Logged(RF_LOG_INFO, {"1048576", "unregistered", strerror(ENOMEM)}))
        << own.Log();
    rf_arena_close(small);
    rf_arena_close(large);
    EXPECT_EQ(rf_file_close(file), 0);
  });
}

TEST_F(Registry, SixtyFourKibibytesOfLockedMemoryAreEnoughForRightData) {
  RF_IN_CHILD({
    if (geteuid() != 0) in_child::Skip("root, to become another user");
    rlimit limit = {64 << 10, 64 << 10};
    ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    Rig own;
    own.OpenFile();
    ASSERT_EQ(setuid(static_cast<uid_t>(3000000000u + static_cast<uid_t>(getpid()))), 0);
    ASSERT_EQ(own.Open(), 0) << own.Log();
    WorksWithoutRegistration(&own);
    EXPECT_EQ(own.Counters().failed, 0u);
  });
}

} // namespace
