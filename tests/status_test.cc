// SPDX-License-Identifier: Apache-2.0
// What statuses mean: the list in the header against the words for people, and the lines that name
// op, file, place and cause.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <ringfall/ringfall.h>
#include <ringfall/status.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cstring>
#include <fstream>
#include <future>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/fault_rig.h"
#include "tests/queue_rig.h"

namespace {

using queue_rig::Rig;

// ---- the list ----------------------------------------------------------------------------------

std::string Contents(const std::string &path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_FALSE(text.str().empty()) << path;
  return text.str();
}

// Every "-ENAME" of a text, without the sign.
std::set<std::string> NamesIn(const std::string &text) {
  std::set<std::string> names;
  for (size_t at = text.find("-E"); at != std::string::npos; at = text.find("-E", at + 1)) {
    size_t end = at + 1;
    while (end < text.size() && (isupper(text[end]) || isdigit(text[end]))) end++;
    std::string name = text.substr(at + 1, end - at - 1);
    if (name.size() > 1) names.insert(name == "ENOTSUP" ? "EOPNOTSUPP" : name); // the same number
  }
  return names;
}

const char kHeader[] = "engine/include/ringfall/status.h";

// By the words with which each part of the header's list begins: "From an op", "From the probe".
std::map<std::string, std::set<std::string>> ListOfTheHeader() {
  std::map<std::string, std::set<std::string>> parts;
  std::string part;
  std::istringstream lines(Contents(kHeader));
  for (std::string line; std::getline(lines, line) && line.find(" * Threads:") != 0;) {
    std::istringstream words(line);
    std::string star, from, article, name;
    words >> star >> from >> article >> name;
    if (from == "From") part = name.substr(0, name.find_first_not_of("abcdefghijklmnopqrstuvwxyz"));
    bool entry = line.find(" *   -E") == 0;
    bool explained = entry && line.find("  ", 7) != std::string::npos;
    if (entry && (explained || part == "system"))
      parts[part].merge(NamesIn(part == "system" ? line : line.substr(0, line.find("  ", 7))));
  }
  return parts;
}

const std::map<std::string, rf_status_source> kSources = {
    {"op", RF_FROM_OP},     {"transfer", RF_FROM_TRANSFER}, {"engine", RF_FROM_ENGINE},
    {"file", RF_FROM_FILE}, {"arena", RF_FROM_ARENA},       {"queue", RF_FROM_QUEUE},
    {"pool", RF_FROM_POOL}, {"probe", RF_FROM_PROBE},
};

TEST(Status, OfTheHeadersListIsExplainedAndNoOther) {
  auto list = ListOfTheHeader();
  ASSERT_EQ(list.size(), kSources.size() + 1) << "a part of the list was not found";
  for (const auto &[part, source] : kSources) {
    std::set<std::string> explained, allowed = list[part];
    allowed.insert(list["system"].begin(), list["system"].end());
    if (part == "transfer") allowed.insert(list["op"].begin(), list["op"].end());
    for (int error = 1; error < 4096; error++)
      if (rf_status_meaning(source, -error)[0] != '\0') explained.insert(rf_status_name(-error));
    for (const std::string &name : list[part])
      EXPECT_EQ(explained.count(name), 1u) << part << " " << name << " has no words";
    for (const std::string &name : explained)
      EXPECT_EQ(allowed.count(name), 1u) << part << " " << name << " is not in the header";
  }
}

TEST(Status, OfAnyHeaderIsInTheList) {
  std::set<std::string> listed = NamesIn(Contents(kHeader));
  for (const char *header : {"arena", "engine", "file", "op", "queue", "transfer", "ringfall"})
    for (const std::string &name :
         NamesIn(Contents(std::string("engine/include/ringfall/") + header + ".h")))
      EXPECT_EQ(listed.count(name), 1u) << header << ".h: " << name;
  for (const std::string &name : NamesIn(Contents("probe/include/ringfall/verdict.h")))
    EXPECT_EQ(listed.count(name), 1u) << "verdict.h: " << name;
}

TEST(Status, OfTheListHasAName) {
  for (const auto &[part, names] : ListOfTheHeader())
    for (const std::string &name : names) {
      bool found = false;
      for (int error = 1; error < 4096; error++) found = found || rf_status_name(-error) == name;
      EXPECT_TRUE(found) << part << " " << name;
    }
  EXPECT_STREQ(rf_status_name(0), "0");
  EXPECT_STREQ(rf_status_name(-4095), "unknown");
  EXPECT_STREQ(rf_status_name(EIO), "unknown") << "a status is negative";
}

TEST(Status, MeansWhatItsSourceMeansByIt) {
  EXPECT_STREQ(rf_status_meaning(RF_FROM_QUEUE, -EAGAIN), "the queue is full");
  EXPECT_STREQ(rf_status_remedy(RF_FROM_QUEUE, -EAGAIN),
               "reap completions first, or open it deeper");
  EXPECT_STREQ(rf_status_meaning(RF_FROM_OP, -EAGAIN),
               "it would have had to wait, which the op forbids");
  EXPECT_STREQ(rf_status_meaning(RF_FROM_TRANSFER, -ENOSPC), rf_status_meaning(RF_FROM_OP, -ENOSPC))
      << "a transfer is made of ops";
  EXPECT_STREQ(rf_status_meaning(RF_FROM_FILE, -EROFS),
               "the file system is mounted for reading only");
  EXPECT_STREQ(rf_status_meaning(RF_FROM_OP, 0), "");
  EXPECT_STREQ(rf_status_remedy(RF_FROM_OP, -4095), "");
  EXPECT_STREQ(rf_status_meaning(static_cast<rf_status_source>(99), -EINVAL), "");
}

// ---- lines -------------------------------------------------------------------------------------

std::string Text(rf_status_source source, int status) {
  char text[RF_TEXT_SIZE];
  int length = rf_status_text(source, status, text, sizeof(text));
  EXPECT_EQ(length, static_cast<int>(strlen(text)));
  return text;
}

std::string Text(const rf_op *op, const rf_completion &done) {
  char text[RF_TEXT_SIZE];
  int length = rf_op_text(op, &done, text, sizeof(text));
  EXPECT_EQ(length, static_cast<int>(strlen(text)));
  return text;
}

std::string Line(int error) {
  return std::string(strerrorname_np(error)) + " (" + strerror(error) + ")";
}

TEST(StatusText, NamesErrnoMeaningAndRemedy) {
  EXPECT_EQ(Text(RF_FROM_QUEUE, -EPERM),
            Line(EPERM) + ": the queue belongs to another thread; use a queue a thread");
  EXPECT_EQ(Text(RF_FROM_ENGINE, -ENOTSUP),
            Line(EOPNOTSUPP) + ": the backend that was required does not work here; ringfall "
                               "probe; or do not require it");
  EXPECT_EQ(Text(RF_FROM_FILE, -ENOENT), Line(ENOENT)) << "the system's words are enough";
  EXPECT_EQ(Text(RF_FROM_OP, 0), "done");
}

class OpText : public testing::Test {
protected:
  void Open(const char *path, int flags) {
    rig.engine_options.choice = RF_CHOICE_REQUIRE;
    rig.engine_options.backend = RF_BACKEND_THREADS;
    rig.fd = open(path, flags | O_CLOEXEC, 0600);
    ASSERT_GE(rig.fd, 0) << path;
    ASSERT_EQ(rig.Open(), 0) << rig.Log();
  }

  std::string Run(const rf_op &op) { return Text(&op, rig.Do(op)); }

  fault_rig::Faults faults;
  Rig rig;
  char room[64] = {};
};

TEST_F(OpText, OfAFullDeviceNamesOpLengthOffsetFileBackendCauseAndRemedy) {
  Open("/dev/full", O_WRONLY);
  EXPECT_EQ(Run(rf_op_write(rig.file, room, 5, 7, 1)),
            "write of 5 bytes at offset 7 of /dev/full by threads: " + Line(ENOSPC) +
                ": the file system is full, or the device ends there; make room, then write the "
                "rest");
}

TEST_F(OpText, TellsWhatWasMoved) {
  Open("/dev/zero", O_RDONLY);
  EXPECT_EQ(Run(rf_op_read(rig.file, room, 5, 0, 1)),
            "read of 5 bytes at offset 0 of /dev/zero by threads: done, 5 bytes");
  iovec iov[2] = {{room, 3}, {room + 3, 4}};
  EXPECT_EQ(Run(rf_op_readv(rig.file, iov, 2, 9, 1)),
            "readv of 2 buffers at offset 9 of /dev/zero by threads: done, 7 bytes");
  EXPECT_EQ(Run(rf_op_nop(1)), "nop by threads: done");
}

TEST_F(OpText, WithoutARangeHasNone) {
  Open("/dev/zero", O_RDWR);
  std::string text = Run(rf_op_fsync(rig.file, 1));
  EXPECT_EQ(text.find("fsync of /dev/zero by threads: " + Line(EINVAL)), 0u) << text;
}

TEST_F(OpText, OnAStreamHasNoOffset) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  ASSERT_EQ(write(ends[1], "abc", 3), 3);
  Open("/dev/zero", O_RDWR);
  rf_file *stream = nullptr;
  ASSERT_EQ(rf_file_from_fd(rig.engine, ends[0], true, &stream), 0);
  std::string text = Run(rf_op_read(stream, room, 3, 4711, 1));
  EXPECT_EQ(text.find("read of 3 bytes of pipe:["), 0u) << text;
  EXPECT_NE(text.find("] by threads: done, 3 bytes"), std::string::npos) << text;
  EXPECT_EQ(text.find("4711"), std::string::npos) << text;
  EXPECT_EQ(rf_file_close(stream), 0);
  close(ends[1]);
}

TEST_F(OpText, WithoutAFileOrItsNameSaysThat) {
  Open("/dev/zero", O_RDWR);
  EXPECT_EQ(Run(rf_op_discard(nullptr, 0, 512, 1))
                .find("discard of 512 bytes at offset 0 of no "
                      "file by threads: " +
                      Line(EBADF)),
            0u);
  int gone = dup(rig.fd);
  rf_file *file = nullptr;
  ASSERT_EQ(rf_file_from_fd(rig.engine, gone, false, &file), 0);
  close(gone);
  std::string text = Run(rf_op_read(file, room, 1, 0, 1));
  EXPECT_NE(text.find(" of descriptor " + std::to_string(gone) + " by "), std::string::npos)
      << text;
  EXPECT_EQ(rf_file_close(file), 0);
}

TEST_F(OpText, WithoutTheOpNamesWhatTheCompletionKnows) {
  rf_completion done = {4711, 512, -EIO, RF_OP_WRITE, RF_BACKEND_LIBAIO};
  EXPECT_EQ(Text(nullptr, done), "write (user_data 4711) by libaio: " + Line(EIO) +
                                     " after 512 bytes: the device or the file system failed; "
                                     "look at the kernel's log: dmesg");
}

TEST_F(OpText, IsOneLineWhateverTheFileIsCalled) {
  const char *given = getenv("TEST_TMPDIR");
  std::string path = std::string(given != nullptr ? given : "/tmp") + "/two\nlines\x7f";
  Open(path.c_str(), O_RDWR | O_CREAT);
  std::string text = Run(rf_op_read(rig.file, room, 1, 0, 1));
  EXPECT_NE(text.find("/two?lines? by threads"), std::string::npos) << text;
  unlink(path.c_str());
}

TEST_F(OpText, AfterAPartTellsTheBytes) {
  faults.Plan("stand_in short=4096:write,@1 error=EDQUOT:write,@2");
  ASSERT_EQ(rig.Open(faults.injector()), 0);
  std::string data(8192, 'x');
  std::string text = Run(rf_op_write(rig.file, data.data(), 8192, 512, 1));
  EXPECT_NE(text.find("write of 8192 bytes at offset 512 of /"), std::string::npos) << text;
  EXPECT_NE(text.find(" by io_uring: " + Line(EDQUOT) + " after 4096 bytes: the quota is used up"),
            std::string::npos)
      << text;
}

TEST_F(OpText, IsCutWhereTheRoomEndsAndItsWholeLengthIsTold) {
  Open("/dev/full", O_WRONLY);
  rf_op op = rf_op_write(rig.file, room, 5, 7, 1);
  rf_completion done = rig.Do(op);
  std::string whole = Text(&op, done);
  for (size_t size :
       {size_t{0}, size_t{1}, size_t{2}, size_t{40}, whole.size(), whole.size() + 1}) {
    std::string small(size + 8, '#');
    errno = EXDEV;
    EXPECT_EQ(rf_op_text(&op, &done, small.data(), size), static_cast<int>(whole.size()));
    EXPECT_EQ(errno, EXDEV) << "errno is the caller's";
    std::string wrote = size == 0 ? "" : whole.substr(0, size - 1) + '\0';
    EXPECT_EQ(small.substr(0, wrote.size()), wrote) << size;
    for (size_t i = wrote.size(); i < small.size(); i++)
      ASSERT_EQ(small[i], '#') << "wrote beyond the " << size << " bytes that it has";
  }
}

TEST_F(OpText, IsWrittenByManyThreadsAtOnce) {
  Open("/dev/full", O_WRONLY);
  rf_op op = rf_op_write(rig.file, room, 5, 7, 1);
  rf_completion done = rig.Do(op);
  std::string right = Text(&op, done);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++)
    threads.emplace_back([&] {
      for (int i = 0; i < 100; i++) EXPECT_EQ(Text(&op, done), right);
    });
  for (std::thread &thread : threads) thread.join();
}

// ---- transfers ---------------------------------------------------------------------------------

class TransferText : public testing::Test {
protected:
  void SetUp() override {
    rig.engine_options.choice = RF_CHOICE_REQUIRE;
    rig.engine_options.backend = RF_BACKEND_THREADS;
    ASSERT_EQ(rig.Open(), 0) << rig.Log();
    ASSERT_EQ(rf_pool_open(rig.engine, nullptr, &pool), 0);
    rf_transfer_request_init(&request);
    request.buffer = room;
    request.length = sizeof(room);
  }
  void TearDown() override { EXPECT_EQ(rf_pool_close(pool, RF_POOL_CANCEL), 0); }

  std::string RunSync(bool write) {
    rf_transfer_result result;
    write ? rf_transfer_write_sync(pool, &request, &result)
          : rf_transfer_read_sync(pool, &request, &result);
    char text[RF_TEXT_SIZE];
    rf_transfer_sync_text(&request, write, &result, text, sizeof(text));
    return text;
  }

  Rig rig;
  rf_pool *pool = nullptr;
  rf_transfer_request request;
  char room[64] = {};
};

TEST_F(TransferText, NamesDirectionLengthOffsetPathCauseAndRemedy) {
  request.path = "/no/such/file";
  EXPECT_EQ(RunSync(false), "read of 64 bytes at offset 0 of /no/such/file: " + Line(ENOENT));
  request.path = "/";
  request.offset = 512;
  EXPECT_EQ(RunSync(true),
            "write of 64 bytes at offset 512 of /: " + Line(EISDIR) + ": it is a directory");
}

TEST_F(TransferText, OfARequestThatMakesNoSenseSaysSo) {
  EXPECT_EQ(RunSync(false).find("read of 64 bytes at offset 0 of no file: " + Line(EINVAL) +
                                ": the request makes no sense; name one file"),
            0u)
      << RunSync(false);
}

TEST_F(TransferText, NamesFilesThatHaveNoPathAsTheKernelDoes) {
  ASSERT_EQ(pwrite(rig.fd, "0123456789", 10, 0), 10);
  request.file = rig.file;
  std::string text = RunSync(false);
  EXPECT_EQ(text.find("read of 64 bytes at offset 0 of /"), 0u) << text;
  EXPECT_NE(text.find(": done, 10 bytes"), std::string::npos) << text;
  request.file = nullptr;
  request.fd = rig.fd;
  EXPECT_EQ(RunSync(false), text);
}

TEST_F(TransferText, OfATokenNeedsNothingElse) {
  rf_transfer *token = nullptr;
  std::string path = "/no/such/file";
  request.path = path.c_str();
  ASSERT_EQ(rf_transfer_read(pool, &request, &token), 0);
  path = "another"; // the request was copied
  memset(&request, 0, sizeof(request));
  ASSERT_EQ(rf_transfer_wait(token, queue_rig::kLostNs, nullptr), 0);
  char text[RF_TEXT_SIZE];
  rf_transfer_text(token, text, sizeof(text));
  EXPECT_EQ(std::string(text), "read of 64 bytes at offset 0 of /no/such/file: " + Line(ENOENT));
  EXPECT_EQ(rf_transfer_release(token), 0);
}

// The only worker is held up in a progress function while the text is asked for.
TEST_F(TransferText, OfATokenThatIsNotCompleteSaysThat) {
  rf_pool_options options;
  rf_pool_options_init(&options);
  options.workers = 1;
  ASSERT_EQ(rf_pool_close(pool, RF_POOL_CANCEL), 0);
  pool = nullptr;
  ASSERT_EQ(rf_pool_open(rig.engine, &options, &pool), 0);
  std::promise<void> release;
  std::shared_future<void> released(release.get_future());
  char first[64] = {};
  rf_transfer_request holder = request;
  holder.fd = rig.fd;
  holder.buffer = first;
  holder.progress = [](void *context, uint64_t, uint64_t) {
    static_cast<std::shared_future<void> *>(context)->wait();
  };
  holder.progress_context = &released;
  ASSERT_EQ(pwrite(rig.fd, first, sizeof(first), 0), 64);
  rf_transfer *holding = nullptr, *token = nullptr;
  ASSERT_EQ(rf_transfer_read(pool, &holder, &holding), 0);
  request.path = "/no/such/file";
  ASSERT_EQ(rf_transfer_read(pool, &request, &token), 0);
  char text[RF_TEXT_SIZE];
  rf_transfer_text(holding, text, sizeof(text));
  EXPECT_NE(std::string(text).find(": not complete yet"), std::string::npos) << text;
  release.set_value();
  ASSERT_EQ(rf_transfer_wait(holding, queue_rig::kLostNs, nullptr), 0);
  ASSERT_EQ(rf_transfer_wait(token, queue_rig::kLostNs, nullptr), 0);
  rf_transfer_text(token, text, sizeof(text));
  EXPECT_EQ(std::string(text), "read of 64 bytes at offset 0 of /no/such/file: " + Line(ENOENT));
  EXPECT_EQ(rf_transfer_release(holding), 0);
  EXPECT_EQ(rf_transfer_release(token), 0);
}

} // namespace
