// SPDX-License-Identifier: Apache-2.0
// The matrix of the suite that transfers have to match (DeepSpeed's async_io): every combination of
// direction, workers, way of waiting, single_submit, overlap_events and kind of buffer; queues of
// several files; files in parts, by path and by descriptor; one pool used by many at once.
#include <thread>

#include "tests/transfer_rig.h"

namespace transfer_rig {
namespace {

constexpr size_t kBlock = 1024; // as there: tiny blocks and a short queue
constexpr unsigned kDepth = 2;
constexpr size_t kSize = 4096 * 5 + 1000;

enum class Memory { kArena, kAligned, kOdd };

std::ostream &operator<<(std::ostream &out, Memory memory) {
  return out << (memory == Memory::kArena     ? "arena"
                 : memory == Memory::kAligned ? "aligned memory"
                                              : "odd memory");
}

class TransferMatrix : public Transfers {
protected:
  void SetUp() override {
    Transfers::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_EQ(0, rf_arena_open(engine(), kRoom, 0, &arena_));
  }
  void TearDown() override {
    Transfers::TearDown();
    rf_arena_close(arena_);
  }

  // Room for kRoom bytes less one, filled with something that no file has.
  unsigned char *Room(Memory memory) {
    unsigned char *at = memory == Memory::kArena
                            ? static_cast<unsigned char *>(rf_arena_base(arena_))
                            : plain_.data() + (memory == Memory::kOdd ? 1 : 0);
    memset(at, 0xEE, kRoom - 1);
    return at;
  }

  template <typename Body> void ForEachPool(Body &&body) {
    for (unsigned workers : {1u, 2u})
      for (bool single : {false, true})
        for (bool overlap : {false, true}) {
          SCOPED_TRACE(testing::Message() << workers << " workers, single_submit " << single
                                          << ", overlap_events " << overlap);
          rf_pool_options options = PoolOptions(workers, kBlock, kDepth);
          options.single_submit = single;
          options.overlap_events = overlap;
          rf_pool *pool = NewPool(options);
          body(pool);
          ClosePool(pool, RF_POOL_DRAIN);
        }
  }

  static rf_transfer_result Run(rf_pool *pool, bool write, bool async,
                                const rf_transfer_request &request) {
    if (async) return Finish(Start(pool, write, request));
    return write ? Write(pool, request) : Read(pool, request);
  }

  static constexpr size_t kRoom = 65536;

private:
  rf_arena *arena_ = nullptr;
  Buffer plain_{kRoom};
};

TEST_P(TransferMatrix, ReadsAndWritesInEveryConfiguration) {
  std::string path = NewFile(kSize), made = NewPath();
  ForEachPool([&](rf_pool *pool) {
    for (bool async : {false, true})
      for (Memory memory : {Memory::kArena, Memory::kAligned, Memory::kOdd}) {
        SCOPED_TRACE(testing::Message() << (async ? "async, " : "sync, ") << memory);
        unsigned char *room = Room(memory);
        rf_transfer_result read = Run(pool, false, async, ByPath(path, room, kSize));
        ASSERT_EQ(0, read.status);
        ASSERT_EQ(kSize, read.bytes);
        ASSERT_EQ("", DiffersFromPattern(room, kSize, 0));
        rf_transfer_result wrote = Run(pool, true, async, ByPath(made, room, kSize));
        ASSERT_EQ(0, wrote.status);
        ASSERT_EQ(kSize, wrote.bytes);
        std::vector<unsigned char> found = Content(made);
        ASSERT_EQ(kSize, found.size());
        ASSERT_EQ("", DiffersFromPattern(found.data(), kSize, 0));
        ASSERT_EQ(0, unlink(made.c_str()));
      }
  });
}

TEST_P(TransferMatrix, QueuesOfSeveralFilesAreEachExact) {
  ForEachPool([&](rf_pool *pool) {
    for (unsigned files : {2u, 3u})
      for (Memory memory : {Memory::kArena, Memory::kOdd}) {
        SCOPED_TRACE(testing::Message() << files << " files, " << memory);
        unsigned char *room = Room(memory);
        constexpr size_t kPart = kRoom / 3 - 1;
        std::vector<std::string> paths;
        std::vector<rf_transfer *> tokens;
        for (unsigned i = 0; i < files; i++) {
          paths.push_back(NewPath());
          FillWithPattern(room + i * kPart, kPart, 0, i);
          tokens.push_back(Start(pool, true, ByPath(paths[i], room + i * kPart, kPart)));
        }
        for (rf_transfer *token : tokens) ASSERT_EQ(kPart, Finish(token).bytes);
        memset(room, 0xEE, kRoom - 1);
        tokens.clear();
        for (unsigned i = 0; i < files; i++)
          tokens.push_back(Start(pool, false, ByPath(paths[i], room + i * kPart, kPart)));
        for (rf_transfer *token : tokens) ASSERT_EQ(0, Finish(token).status);
        for (unsigned i = 0; i < files; i++)
          ASSERT_EQ("", DiffersFromPattern(room + i * kPart, kPart, 0, i));
        for (const std::string &path : paths) unlink(path.c_str());
      }
  });
}

// Parts of one file, written and read at the same time, through one name or one descriptor.
TEST_P(TransferMatrix, PartsOfOneFileMakeTheWhole) {
  const std::vector<std::vector<size_t>> partitions = {{1, 1, 1}, {1, 1, 2}, {1, 2, 1}, {2, 1, 1}};
  rf_pool *pool = NewPool(PoolOptions(2, kBlock, kDepth));
  int direct = DirectFlag();
  for (const auto &partition : partitions)
    for (size_t unit : {4096, 8192, 5001}) // the last: no boundary is aligned
      for (int by : {0, 1, 2, 3})
        for (Memory memory : {Memory::kArena, Memory::kOdd}) {
          SCOPED_TRACE(testing::Message() << partition[0] << ":" << partition[1] << ":"
                                          << partition[2] << " of " << unit << ", way " << by);
          std::string path = NewPath();
          int fd = by == 0   ? -1
                   : by == 1 ? OpenFd(path, O_RDWR | O_CREAT)
                   : by == 2 ? OpenFd(path, O_RDWR | O_CREAT | direct)
                             : OpenFd(path, O_RDWR | O_CREAT | O_APPEND);
          unsigned char *room = Room(memory);
          size_t total = (partition[0] + partition[1] + partition[2]) * unit;
          ASSERT_LT(total, kRoom);
          FillWithPattern(room, total, 0);
          for (bool write : {true, false}) {
            std::vector<rf_transfer *> tokens;
            size_t at = 0;
            for (size_t share : partition) {
              size_t length = share * unit;
              tokens.push_back(Start(pool, write,
                                     fd < 0 ? ByPath(path, room + at, length, at)
                                            : ByFd(fd, room + at, length, at)));
              at += length;
            }
            for (size_t i = 0; i < tokens.size(); i++) {
              rf_transfer_result result = Finish(tokens[i]);
              ASSERT_EQ(0, result.status);
              ASSERT_EQ(partition[i] * unit, result.bytes);
            }
            if (!write) break;
            std::vector<unsigned char> found = Content(path);
            ASSERT_EQ(total, found.size());
            ASSERT_EQ("", DiffersFromPattern(found.data(), total, 0));
            memset(room, 0xEE, total);
          }
          ASSERT_EQ("", DiffersFromPattern(room, total, 0));
          unlink(path.c_str());
        }
}

TEST_P(TransferMatrix, OnePoolServesManyThreads) {
  std::string path = NewFile(kSize);
  rf_pool *pool = NewPool(PoolOptions(2, kBlock, kDepth));
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 8; i++)
    threads.emplace_back([&, i] {
      std::string own = path + "_" + std::to_string(i);
      for (int round = 0; round < 10; round++) {
        Buffer room(kSize + 1);
        EXPECT_EQ(kSize, Read(pool, ByPath(path, room.data() + i % 2, kSize)).bytes);
        EXPECT_EQ("", DiffersFromPattern(room.data() + i % 2, kSize, 0));
        rf_transfer *token = Start(pool, true, ByPath(own, room.data() + i % 2, kSize));
        EXPECT_EQ(kSize, Finish(token).bytes);
      }
      std::vector<unsigned char> found = Content(own);
      EXPECT_EQ(kSize, found.size());
      EXPECT_EQ("", DiffersFromPattern(found.data(), found.size(), 0));
      unlink(own.c_str());
    });
  for (std::thread &thread : threads) thread.join();
}

TEST_P(TransferMatrix, AnyNumberOfWorkersAndSizesThatDoNotDivide) {
  constexpr size_t kOddSize = 1000003;
  std::string path = NewFile(kOddSize), made = NewPath();
  for (unsigned workers = 1; workers <= 16; workers += workers < 4 ? 1 : 3)
    for (size_t block : {1000, 100003}) {
      SCOPED_TRACE(testing::Message() << workers << " workers, blocks of " << block);
      rf_pool *pool = NewPool(PoolOptions(workers, block, 3));
      Buffer room(kOddSize + 7);
      ASSERT_EQ(kOddSize, Read(pool, ByPath(path, room.data() + 7, kOddSize)).bytes);
      ASSERT_EQ("", DiffersFromPattern(room.data() + 7, kOddSize, 0));
      ASSERT_EQ(kOddSize, Write(pool, ByPath(made, room.data() + 7, kOddSize)).bytes);
      std::vector<unsigned char> found = Content(made);
      ASSERT_EQ(kOddSize, found.size());
      ASSERT_EQ("", DiffersFromPattern(found.data(), kOddSize, 0));
      ASSERT_EQ(0, unlink(made.c_str()));
      ClosePool(pool, RF_POOL_DRAIN);
    }
}

INSTANTIATE_TEST_SUITE_P(Everywhere, TransferMatrix, testing::ValuesIn(AllCases()), CaseName);

} // namespace
} // namespace transfer_rig
