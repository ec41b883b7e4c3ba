// SPDX-License-Identifier: Apache-2.0
// The write-ahead log of examples/wal.c: kill -9 at any time, and damage to its file.
#include "examples/wal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <ringfall/ringfall.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/engines.h"
#include "tests/raw_host.h"
#include "tests/test_files.h"
#include "tests/tool_process.h"

// Every call of fsync in this program comes by here: -Wl,--wrap=fsync.
static std::atomic<unsigned> directories_synced{0};
extern "C" int __real_fsync(int fd);
extern "C" int __wrap_fsync(int fd) {
  struct stat info = {};
  if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode)) directories_synced++;
  return __real_fsync(fd);
}

namespace {

using engines::Engines;
using test_files::FillWithPattern;
using tool_test::ReadFile;
using tool_test::WriteFile;

constexpr size_t kMark = 8, kHeader = 16; // of the file, of a record

void Collect(void *records, uint64_t sequence, const void *data, size_t size) {
  auto *all = static_cast<std::vector<std::string> *>(records);
  all->emplace_back(static_cast<const char *>(data), size);
  EXPECT_EQ(sequence, all->size());
}

class WalFile : public testing::Test, protected test_files::Files {
protected:
  void SetUp() override {
    ASSERT_TRUE(FindDirectory(test_files::Place::kDisk));
    path = NewPath();
    ASSERT_EQ(Engines::Get()->Find(RF_BACKEND_THREADS, &engine), 0);
  }
  void TearDown() override { RemoveAll(); }

  int Open() {
    found.clear();
    return wal_open(engine, path.c_str(), Collect, &found, &recovery, &log);
  }
  void Close() {
    EXPECT_EQ(wal_close(log), 0);
    log = nullptr;
  }
  uint64_t Append(const std::string &text) {
    uint64_t sequence = 0;
    EXPECT_EQ(wal_append(log, text.data(), text.size(), &sequence), 0);
    return sequence;
  }
  // A log of these, and its bytes without what was allocated ahead.
  std::string Make(const std::vector<std::string> &records) {
    unlink(path.c_str());
    EXPECT_EQ(Open(), 0);
    for (const std::string &record : records) Append(record);
    Close();
    EXPECT_EQ(Open(), 0);
    Close();
    EXPECT_EQ(found, records);
    return ReadFile(path);
  }
  void Put(const std::string &bytes) {
    unlink(path.c_str());
    ASSERT_TRUE(WriteFile(path, bytes));
  }
  // Opens it, and closes it.
  void Expect(const std::vector<std::string> &records) {
    ASSERT_EQ(Open(), 0);
    Close();
    EXPECT_EQ(found, records);
    EXPECT_EQ(recovery.records, records.size());
    EXPECT_EQ(SizeOf(path), recovery.end) << "what does not count has to be cut off";
  }

  std::string path;
  rf_engine *engine = nullptr;
  wal *log = nullptr;
  wal_recovery recovery = {};
  std::vector<std::string> found;
};

// ---- the format --------------------------------------------------------------------------------

// Bit by bit, after the definition: no table.
uint32_t Crc32c(const std::string &bytes) {
  uint32_t crc = ~0u;
  for (const char byte : bytes) {
    crc ^= static_cast<unsigned char>(byte);
    for (int i = 0; i < 8; i++) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0u);
  }
  return ~crc;
}

TEST_F(WalFile, HasRecordsOfChecksumLengthSequenceAndData) {
  ASSERT_EQ(Crc32c("123456789"), 0xE3069283u);
  const std::string file = Make({"one", std::string("tw\0o", 4)});
  const std::string first = std::string("\3\0\0\0\1\0\0\0\0\0\0\0one", 15);
  const std::string second = std::string("\4\0\0\0\2\0\0\0\0\0\0\0tw\0o", 16);
  std::string expected = "ringwal\n";
  for (const std::string &record : {first, second}) {
    const uint32_t crc = Crc32c(record);
    for (unsigned i = 0; i < 4; i++) expected += static_cast<char>(crc >> (8 * i));
    expected += record;
  }
  EXPECT_EQ(file, expected);
}

TEST_F(WalFile, TakesRecordsOfEverySizeAndSaysWhichAreTooLong) {
  std::vector<std::string> records = {"", "x", std::string(WAL_RECORD_MAX, 'm')};
  // More than recovery reads at once, so that records lie across its window's ends.
  for (int i = 0; i < 40; i++)
    records.push_back(tool_test::RandomBytes(60000 + static_cast<size_t>(i) * 101));
  Make(records);
  ASSERT_EQ(Open(), 0);
  const std::string long_one(WAL_RECORD_MAX + 1, 'l');
  EXPECT_EQ(wal_append(log, long_one.data(), long_one.size(), nullptr), -EMSGSIZE);
  EXPECT_EQ(Append("after it"), records.size() + 1);
  Close();
  records.emplace_back("after it");
  Expect(records);
}

TEST_F(WalFile, AllocatesAheadAndCutsThatOffAgain) {
  ASSERT_EQ(Open(), 0);
  Append("one");
  EXPECT_GE(SizeOf(path), 1u << 20);
  Close();
  Expect({"one"});
  EXPECT_FALSE(recovery.torn) << "zeros are no record";
}

// More than is allocated at a time.
TEST_F(WalFile, GrowsAgainAndAgain) {
  std::vector<std::string> records;
  for (int i = 0; i < 160; i++)
    records.emplace_back(WAL_RECORD_MAX, static_cast<char>('a' + i % 26));
  Make(records);
}

// ---- damage ------------------------------------------------------------------------------------

TEST_F(WalFile, RefusesALastRecordWithAnyBitFlipped) {
  const std::vector<std::string> kept = {"the first", "the second"};
  const std::string two = Make(kept), three = Make({kept[0], kept[1], "the last record"});
  ASSERT_EQ(three.substr(0, two.size()), two);
  for (size_t at = two.size(); at < three.size(); at++)
    for (int bit = 0; bit < 8; bit++) {
      SCOPED_TRACE("byte " + std::to_string(at) + ", bit " + std::to_string(bit));
      std::string damaged = three;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      Put(damaged);
      Expect(kept);
      EXPECT_TRUE(recovery.torn);
      ASSERT_FALSE(HasFailure());
    }
}

TEST_F(WalFile, RefusesALastRecordThatIsTornAtAnyByte) {
  const std::vector<std::string> kept = {"the first", "the second"};
  const std::string two = Make(kept), three = Make({kept[0], kept[1], "the last record"});
  for (size_t size = two.size(); size < three.size(); size++)
    for (const size_t zeros : {0, 4096}) { // cut off there, or never written from there on
      SCOPED_TRACE("torn after " + std::to_string(size) + " bytes");
      Put(three.substr(0, size) + std::string(zeros, '\0'));
      Expect(kept);
      EXPECT_EQ(recovery.torn, size > two.size());
      ASSERT_EQ(Open(), 0);
      EXPECT_EQ(Append("another"), 3u);
      Close();
      Expect({kept[0], kept[1], "another"});
      ASSERT_FALSE(HasFailure());
    }
}

// The third record is whole, and would follow the new second one if it were left in the file.
TEST_F(WalFile, NeverBringsBackWhatCameBehindADamagedRecord) {
  const std::string one = Make({"the first"});
  std::string three = Make({"the first", "the second", "the third"});
  three[one.size() + kHeader] ^= 1;
  Put(three);
  Expect({"the first"});
  ASSERT_EQ(Open(), 0);
  EXPECT_EQ(Append("THE SECOND"), 2u);
  Close();
  Expect({"the first", "THE SECOND"});
}

// A record of an earlier life of these blocks has a checksum that is right.
TEST_F(WalFile, RefusesARecordOutOfSequence) {
  const std::string one = Make({"the first"});
  Put(one + one.substr(kMark));
  Expect({"the first"});
  EXPECT_TRUE(recovery.torn);
}

TEST_F(WalFile, DoesNotTouchAFileThatIsNoLog) {
  for (const std::string &text : {std::string("a letter to my aunt"),
                                  std::string("ringwal"
                                              " or not"),
                                  std::string("x"), std::string(9, '\0')}) {
    Put(text);
    EXPECT_EQ(Open(), -EINVAL) << text;
    EXPECT_EQ(ReadFile(path), text);
  }
}

TEST_F(WalFile, MakesALogOfOneThatWasHardlyBegun) {
  for (const std::string &text :
       {std::string(), std::string("ring"), std::string(8, '\0'), std::string("ringwal\n")}) {
    Put(text);
    Expect({});
    EXPECT_EQ(ReadFile(path), "ringwal\n");
  }
}

TEST_F(WalFile, IsOpenOnceAtATime) {
  ASSERT_EQ(Open(), 0);
  wal *second = nullptr;
  EXPECT_EQ(wal_open(engine, path.c_str(), nullptr, nullptr, nullptr, &second), -EBUSY);
  Append("undisturbed");
  Close();
  Expect({"undisturbed"});
}

TEST_F(WalFile, HasItsNameMadeDurableBeforeTheFirstRecord) {
  const unsigned before = directories_synced;
  ASSERT_EQ(Open(), 0);
  EXPECT_EQ(directories_synced, before + 1);
  Close();
}

TEST_F(WalFile, SaysWhyItCannotBeOpened) {
  path = directory() + "/no_such_directory/log";
  EXPECT_EQ(Open(), -ENOENT);
  path = directory();
  EXPECT_EQ(Open(), -EISDIR);
}

// ---- kill -9 -----------------------------------------------------------------------------------

constexpr unsigned kThreads = 4;
constexpr unsigned kKills = 60;

struct Name {
  uint32_t thread, number;
};

// Tells by itself whether it is whole.
std::string Record(Name name) {
  const unsigned seed = name.thread * 1000003 + name.number;
  std::string record(sizeof(name) + seed % 701, '\0');
  FillWithPattern(reinterpret_cast<unsigned char *>(record.data()), record.size(), 0, seed);
  memcpy(record.data(), &name, sizeof(name));
  return record;
}

using Numbers = std::array<uint32_t, kThreads>; // the last one of each thread, from 1 on

class WalKilled : public testing::TestWithParam<rf_backend_id>, protected test_files::Files {
protected:
  void SetUp() override {
    ASSERT_TRUE(FindDirectory(test_files::Place::kDisk));
    if (!raw_host::Works(GetParam())) GTEST_SKIP() << "needs " << rf_backend_name(GetParam());
    path = NewPath();
    ASSERT_EQ(Engines::Get()->Find(GetParam(), &engine), 0);
  }
  void TearDown() override { RemoveAll(); }

  // In the child: appends until it is killed, and tells of each record that was acknowledged.
  [[noreturn]] void AppendForEver(int acknowledgements) const {
    rf_engine *own = nullptr;
    wal *log = nullptr;
    if (engines::OpenEngine(GetParam(), &own) != 0) _exit(1);
    if (wal_open(own, path.c_str(), nullptr, nullptr, nullptr, &log) != 0) _exit(2);
    std::vector<std::thread> threads;
    for (uint32_t thread = 0; thread < kThreads; thread++)
      threads.emplace_back([=] {
        for (Name name = {thread, last[thread] + 1};; name.number++) {
          const std::string record = Record(name);
          if (wal_append(log, record.data(), record.size(), nullptr) != 0) _exit(3);
          if (write(acknowledgements, &name, sizeof(name)) != sizeof(name)) _exit(4);
        }
      });
    for (std::thread &thread : threads) thread.join();
    _exit(5);
  }

  // Kills it when so many records were acknowledged, and some time later.  What was acknowledged up
  // to its death goes into `acknowledged`.
  void Kill(unsigned count, int milliseconds) {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    const pid_t pid = fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) AppendForEver(ends[1]);
    close(ends[1]);
    Name name;
    unsigned seen = 0;
    const auto take = [&] {
      if (read(ends[0], &name, sizeof(name)) != sizeof(name)) return false;
      EXPECT_EQ(name.number, ++acknowledged[name.thread]);
      seen++;
      return true;
    };
    while (seen < count && take()) continue;
    poll(nullptr, 0, milliseconds);
    EXPECT_EQ(kill(pid, SIGKILL), 0);
    while (take()) continue; // what it said before it died
    close(ends[0]);
    int status = 0;
    ASSERT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_TRUE(WIFSIGNALED(status)) << "the child ended by itself: " << WEXITSTATUS(status);
    total += seen;
  }

  static void Check(void *context, uint64_t, const void *data, size_t size) {
    auto *self = static_cast<WalKilled *>(context);
    Name name = {kThreads, 0};
    ASSERT_GE(size, sizeof(name));
    memcpy(&name, data, sizeof(name));
    ASSERT_LT(name.thread, kThreads);
    EXPECT_TRUE(Record(name) == std::string(static_cast<const char *>(data), size)) << "damaged";
    EXPECT_EQ(name.number, ++self->last[name.thread]) << "lost, twice, or out of order";
  }

  // Every acknowledged record is there, and whole; of others each thread has one at most.
  void Recover() {
    wal *log = nullptr;
    wal_recovery recovery = {};
    last = {};
    ASSERT_EQ(wal_open(engine, path.c_str(), Check, this, &recovery, &log), 0);
    EXPECT_EQ(SizeOf(path), recovery.end);
    EXPECT_EQ(wal_close(log), 0);
    for (unsigned thread = 0; thread < kThreads; thread++) {
      EXPECT_GE(last[thread], acknowledged[thread]);
      EXPECT_LE(last[thread], acknowledged[thread] + 1);
    }
    acknowledged = last; // the next child begins behind them
  }

  std::string path;
  rf_engine *engine = nullptr;
  Numbers acknowledged = {}, last = {};
  uint64_t total = 0;
};

TEST_P(WalKilled, AtAnyTimeLosesNothingThatWasAcknowledged) {
  constexpr unsigned kSeed = 20240229;
  std::mt19937 random(kSeed);
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  for (unsigned i = 0; i < kKills; i++) {
    SCOPED_TRACE("kill " + std::to_string(i));
    // Every sixth while it opens a log that is new, with nothing acknowledged yet.
    const bool fresh = i % 6 == 5;
    if (fresh) {
      unlink(path.c_str());
      acknowledged = last = {};
    }
    const unsigned count = fresh ? 0 : random() % 120;
    ASSERT_NO_FATAL_FAILURE(Kill(count, static_cast<int>(random() % (fresh ? 12 : 3))));
    ASSERT_NO_FATAL_FAILURE(Recover());
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GT(total, kKills * 20u) << "they were killed before they had done anything";
}

INSTANTIATE_TEST_SUITE_P(
    On, WalKilled, testing::Values(RF_BACKEND_IO_URING, RF_BACKEND_LIBAIO, RF_BACKEND_THREADS),
    [](const auto &backend) { return std::string(rf_backend_name(backend.param)); });

} // namespace
