// SPDX-License-Identifier: Apache-2.0
// `ringfall read`, `write` and `verify`, seen from outside.  (`copy` is in tool_test.cc.)
#include <gtest/gtest.h>

#include "raw_host.h"
#include "tool_json.h"
#include "tool_process.h"

using tool_test::Directory;
using tool_test::Json;
using tool_test::Lines;
using tool_test::ParseJson;
using tool_test::Process;
using tool_test::RandomBytes;
using tool_test::ReadFile;
using tool_test::Result;
using tool_test::RunTool;
using tool_test::Text;
using tool_test::World;
using tool_test::WriteFile;

namespace {

using Names = std::set<std::string>;
using Arguments = std::vector<std::string>;
constexpr size_t kMiB = 1 << 20;

std::string Sha256Of(const std::string &path) {
  return Process({path}, World(), "sha256sum").Wait().out.substr(0, 64);
}

ino_t InodeOf(const std::string &path) {
  struct stat info = {};
  EXPECT_EQ(stat(path.c_str(), &info), 0) << path;
  return info.st_ino;
}

class TransferTool : public testing::Test {
protected:
  // Runs it with this on its standard input.
  Result RunWith(const std::string &input, const Arguments &arguments, World world = World()) {
    const std::string path = directory_ / "stdin";
    EXPECT_TRUE(WriteFile(path, input));
    world.input_fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    const Result result = RunTool(arguments, world);
    close(world.input_fd);
    unlink(path.c_str());
    return result;
  }

  const Directory directory_;
  const std::string file_ = directory_ / "file";
  const std::string other_ = directory_ / "other";
};

// ---- on each backend ---------------------------------------------------------------------------

struct Way {
  rf_backend_id backend;
  bool direct;
};

class TransferToolWays : public TransferTool, public testing::WithParamInterface<Way> {
protected:
  void SetUp() override {
    if (!raw_host::Works(GetParam().backend))
      GTEST_SKIP() << "needs " << rf_backend_name(GetParam().backend);
  }
  Arguments Command(const std::string &command, const Arguments &more) {
    Arguments all = {command, "--backend", rf_backend_name(GetParam().backend),
                     GetParam().direct ? "--direct" : "--buffered"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
};

INSTANTIATE_TEST_SUITE_P(Each, TransferToolWays,
                         testing::Values(Way{RF_BACKEND_IO_URING, false},
                                         Way{RF_BACKEND_IO_URING, true},
                                         Way{RF_BACKEND_LIBAIO, true},
                                         Way{RF_BACKEND_THREADS, false}),
                         [](const testing::TestParamInfo<Way> &each) {
                           return std::string(rf_backend_name(each.param.backend)) +
                                  (each.param.direct ? "_direct" : "_buffered");
                         });

TEST_P(TransferToolWays, ReadPassesOnTheBytesOfAnyPart) {
  const std::string content = RandomBytes(3 * kMiB + 17);
  ASSERT_TRUE(WriteFile(file_, content));
  struct Part {
    size_t offset, length;
  };
  for (const Part part :
       {Part{0, content.size()}, Part{1, 511}, Part{4095, 4098}, Part{kMiB - 1, 2 * kMiB + 3},
        Part{content.size(), 5}, Part{content.size() - 3, 500}}) {
    const Result result =
        RunTool(Command("read", {"--offset", std::to_string(part.offset), "--length",
                                 std::to_string(part.length), file_, "-"}));
    ASSERT_EQ(result.exit_code, 0) << part.offset << ": " << result.err;
    EXPECT_TRUE(result.out == content.substr(part.offset, part.length)) << part.offset;
    EXPECT_NE(result.err.find("MiB/s"), std::string::npos) << result.err;
  }
}

TEST_P(TransferToolWays, WriteLeavesTheBytesOfItsInputWhateverTheSize) {
  for (const bool replace : {false, true}) {
    for (const size_t size : {size_t{0}, size_t{1}, size_t{4097}, kMiB, 3 * kMiB + 17}) {
      ASSERT_TRUE(WriteFile(file_, std::string(2 * kMiB, 'o'))); // longer or shorter
      const std::string content = RandomBytes(size, size + 1);
      Arguments arguments = Command("write", {"--sync", "entry", file_});
      if (replace) arguments.push_back("--replace");
      const Result result = RunWith(content, arguments);
      ASSERT_EQ(result.exit_code, 0) << size << ": " << result.err;
      EXPECT_TRUE(ReadFile(file_) == content) << size;
      EXPECT_EQ(Lines(result.out), 1u);
      EXPECT_NE(result.out.find("sha256 " + Sha256Of(file_)), std::string::npos) << result.out;
      EXPECT_EQ(directory_.Names(), Names{"file"});
    }
  }
}

TEST_P(TransferToolWays, VerifyTellsTheFirstDifferenceWhereverItIs) {
  const std::string content = RandomBytes(2 * kMiB + 5);
  ASSERT_TRUE(WriteFile(file_, content));
  ASSERT_TRUE(WriteFile(other_, content));
  EXPECT_EQ(RunTool(Command("verify", {file_, "--against", other_})).exit_code, 0);
  for (const size_t at : {content.size() - 1, kMiB, kMiB - 1, size_t{0}}) {
    ASSERT_TRUE(WriteFile(other_, std::string(1, static_cast<char>(content[at] ^ 1)),
                          static_cast<off_t>(at)));
    const Result result = RunTool(Command("verify", {file_, "--against", other_}));
    EXPECT_EQ(result.exit_code, 1) << result.err;
    EXPECT_NE(result.out.find("offset " + std::to_string(at) + "\n"), std::string::npos)
        << result.out;
  }
}

// ---- read --------------------------------------------------------------------------------------

TEST_F(TransferTool, ReadWithoutOutOnlyMeasures) {
  ASSERT_TRUE(WriteFile(file_, RandomBytes(100001)));
  const Result result = RunTool({"read", file_});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(Lines(result.out), 1u) << result.out;
  EXPECT_NE(result.out.find("100001 bytes"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find(Sha256Of(file_)), std::string::npos) << result.out;
  EXPECT_EQ(directory_.Names(), Names{"file"});
}

TEST_F(TransferTool, ReadIsTheSameForAnyBlockDepthAndNumberOfWorkers) {
  ASSERT_TRUE(WriteFile(file_, RandomBytes(3 * kMiB + 1)));
  const std::string sum = Sha256Of(file_);
  for (const Arguments &shape :
       {Arguments{"--block", "512", "--depth", "1", "--workers", "1"},
        Arguments{"--block", "12345", "--depth", "3", "--workers", "5", "--direct"},
        Arguments{"--block", "64M", "--depth", "256", "--workers", "16"}}) {
    Arguments arguments = {"read", "--json", file_, other_};
    arguments.insert(arguments.end(), shape.begin(), shape.end());
    const Result result = RunTool(arguments);
    ASSERT_EQ(result.exit_code, 0) << shape[1] << result.err;
    EXPECT_EQ(Text(ParseJson(result.out).get(), "sha256"), sum) << shape[1];
    EXPECT_TRUE(ReadFile(other_) == ReadFile(file_)) << shape[1];
  }
}

TEST_F(TransferTool, ReadGivesTypedJson) {
  ASSERT_TRUE(WriteFile(file_, "content"));
  const Json json =
      ParseJson(RunTool({"read", "--json", "--checksum", "none", "--offset", "2", file_}).out);
  EXPECT_EQ(json_integer_value(json_object_get(json.get(), "offset")), 2);
  EXPECT_EQ(json_integer_value(json_object_get(json.get(), "bytes")), 5);
  EXPECT_TRUE(json_is_real(json_object_get(json.get(), "mib_per_second")));
  EXPECT_TRUE(json_is_false(json_object_get(json.get(), "direct")));
  EXPECT_TRUE(json_is_null(json_object_get(json.get(), "sha256")));
}

TEST_F(TransferTool, ReadRefusesWhatCannotBeReadOrWrittenTo) {
  ASSERT_TRUE(WriteFile(file_, "content"));
  ASSERT_EQ(mkfifo(other_.c_str(), 0600), 0);
  EXPECT_FAILS(RunTool({"read", directory_ / "missing"}), 1);
  EXPECT_FAILS(RunTool({"read", directory_.path()}), 1);
  EXPECT_FAILS(RunTool({"read", "/dev/null"}), 1);
  EXPECT_FAILS(RunTool({"read", other_}), 1);
  EXPECT_FAILS(RunTool({"read", "--offset", "8", file_}), 1);
  EXPECT_FAILS(RunTool({"read", file_, file_}), 1);
  EXPECT_FAILS(RunTool({"read", file_, "/dev/full"}), 1);
  EXPECT_FAILS(RunTool({"read", file_, directory_ / "missing/out"}), 1);
  World world;
  world.output = "/dev/full";
  EXPECT_FAILS(RunTool({"read", file_, "-"}, world), 1);
  EXPECT_EQ(ReadFile(file_), "content");
}

TEST_F(TransferTool, CommandLinesThatMakeNoSenseAreRefused) {
  ASSERT_TRUE(WriteFile(file_, "content"));
  for (const Arguments &arguments :
       {Arguments{"read"}, Arguments{"read", file_, other_, "more"},
        Arguments{"read", "--offset", "-1", file_}, Arguments{"read", "--length", "0", file_},
        Arguments{"read", "--block", "511", file_}, Arguments{"read", "--block", "65M", file_},
        Arguments{"read", "--depth", "0", file_}, Arguments{"read", "--workers", "65", file_},
        Arguments{"read", "--checksum", "md5", file_}, Arguments{"read", "--backend", "x", file_},
        Arguments{"write"}, Arguments{"write", "--sync", "all", file_},
        Arguments{"write", "--replace", "--offset", "1", file_}, Arguments{"verify", file_},
        Arguments{"verify", "--sha256", "12", file_}, Arguments{"verify", "--against", file_},
        Arguments{"verify", "--against", file_, "--sha256", std::string(64, 'a'), file_}})
    EXPECT_FAILS(RunTool(arguments), 2) << arguments.back();
  EXPECT_EQ(ReadFile(file_), "content");
}

TEST_F(TransferTool, ReadIsStoppedByASignalWhileNobodyTakesItsOutput) {
  ASSERT_TRUE(WriteFile(file_, RandomBytes(8 * kMiB)));
  ASSERT_EQ(mkfifo(other_.c_str(), 0600), 0);
  const int reader = open(other_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  World world;
  world.output = other_;
  Process process({"read", file_, "-"}, world);
  pollfd there = {reader, POLLIN, 0};
  ASSERT_EQ(poll(&there, 1, 60000), 1);
  process.Signal(SIGTERM);
  const Result result = process.Wait();
  EXPECT_EQ(result.signal, SIGTERM);
  EXPECT_EQ(Lines(result.err), 1u) << result.err;
  close(reader);
}

// ---- write -------------------------------------------------------------------------------------

TEST_F(TransferTool, WriteWithAnOffsetKeepsTheRest) {
  std::string content = RandomBytes(3 * kMiB);
  ASSERT_TRUE(WriteFile(file_, content));
  for (const size_t offset : {size_t{777}, kMiB - 1, 3 * kMiB - 5, 4 * kMiB + 1}) {
    const std::string part = RandomBytes(5001, offset);
    const Result result = RunWith(part, {"write", "--offset", std::to_string(offset), file_});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    if (content.size() < offset + part.size()) content.resize(offset + part.size());
    content.replace(offset, part.size(), part);
    EXPECT_TRUE(ReadFile(file_) == content) << offset;
  }
}

TEST_F(TransferTool, WriteGoesIntoTheFileAndReplaceMakesAnother) {
  ASSERT_TRUE(WriteFile(file_, "old"));
  ASSERT_EQ(chmod(file_.c_str(), 0640), 0);
  ASSERT_EQ(symlink("file", other_.c_str()), 0);
  const ino_t before = InodeOf(file_);
  ASSERT_EQ(RunWith("new", {"write", other_}).exit_code, 0);
  EXPECT_EQ(InodeOf(file_), before);
  const int reader = open(file_.c_str(), O_RDONLY | O_CLOEXEC); // of the file as it is now
  ASSERT_EQ(RunWith("newer", {"write", "--replace", other_}).exit_code, 0);
  EXPECT_EQ(ReadFile(file_), "newer");
  EXPECT_NE(InodeOf(file_), before);
  char old[8] = "";
  EXPECT_EQ(read(reader, old, sizeof(old)), 3);
  EXPECT_STREQ(old, "new");
  close(reader);
  struct stat info;
  ASSERT_EQ(lstat(other_.c_str(), &info), 0);
  EXPECT_TRUE(S_ISLNK(info.st_mode));
  ASSERT_EQ(stat(file_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0640u);
}

TEST_F(TransferTool, AFailedWriteIsOneLineAndReplaceKeepsTheOldFile) {
  const std::string content = RandomBytes(3 * kMiB);
  World world;
  world.file_size = 2 * kMiB;
  for (const char *way : {"--buffered", "--direct"}) {
    unlink(file_.c_str()); // it has a part of the data of the time before
    ASSERT_TRUE(WriteFile(file_, "old"));
    ASSERT_TRUE(WriteFile(other_, content));
    const Result result = RunTool({"write", way, "--replace", file_, other_}, world);
    EXPECT_FAILS(result, 1);
    EXPECT_NE(result.err.find(strerror(EFBIG)), std::string::npos) << result.err;
    EXPECT_NE(result.err.find("offset 2097152"), std::string::npos) << result.err;
    EXPECT_EQ(ReadFile(file_), "old");
    EXPECT_EQ(directory_.Names(), (Names{"file", "other"}));
    EXPECT_FAILS(RunTool({"write", way, file_, other_}, world), 1);
  }
}

TEST_F(TransferTool, WriteRefusesWhatCannotBeWritten) {
  ASSERT_TRUE(WriteFile(file_, "content"));
  EXPECT_FAILS(RunTool({"write", directory_.path()}), 1);
  EXPECT_FAILS(RunTool({"write", "/dev/full"}), 1);
  EXPECT_FAILS(RunTool({"write", directory_ / "missing/file"}), 1);
  EXPECT_FAILS(RunTool({"write", file_, directory_ / "missing"}), 1);
  EXPECT_FAILS(RunTool({"write", file_, file_}), 1);
  EXPECT_FAILS(RunTool({"write", file_, directory_.path()}), 1);
  EXPECT_FAILS(RunTool({"write", "--replace", "/dev/null"}), 1);
  EXPECT_FAILS(RunWith("x", {"write", "--offset", "9223372036854775807", other_}), 1);
  EXPECT_EQ(ReadFile(file_), "content");
}

// A file that is opened must not take the place of a stream that is closed: what is printed would
// go into it, and what is read from the standard input come from it.
TEST_F(TransferTool, NothingIsPrintedIntoAFileWhereTheStandardStreamsAreClosed) {
  const std::string content = RandomBytes(kMiB);
  ASSERT_TRUE(WriteFile(other_, content));
  for (const std::vector<int> &closed :
       {std::vector<int>{0}, {1}, {2}, {0, 1}, {0, 2}, {1, 2}, {0, 1, 2}}) {
    World world;
    world.closed = closed;
    const bool printed = std::count(closed.begin(), closed.end(), 1) == 0;
    for (const Arguments &arguments :
         {Arguments{"write", file_, other_}, Arguments{"write", "--replace", file_, other_},
          Arguments{"copy", other_, file_}, Arguments{"read", other_, file_}}) {
      ASSERT_TRUE(WriteFile(file_, "old"));
      EXPECT_EQ(RunTool(arguments, world).exit_code, printed ? 0 : 1) << arguments[0];
      EXPECT_TRUE(ReadFile(file_) == content) << arguments[0] << " " << arguments[1];
    }
    EXPECT_TRUE(ReadFile(other_) == content);
  }
}

TEST_F(TransferTool, ClosedStandardStreamsAreNamed) {
  ASSERT_TRUE(WriteFile(file_, "old"));
  World world;
  world.closed = {0};
  Result result = RunTool({"write", file_}, world);
  EXPECT_FAILS(result, 1);
  EXPECT_NE(result.err.find(strerror(EBADF)), std::string::npos) << result.err;
  world.closed = {1};
  result = RunTool({"read", file_, "-"}, world);
  EXPECT_FAILS(result, 1);
  EXPECT_NE(result.err.find(strerror(EBADF)), std::string::npos) << result.err;
}

// Their size is 0: what goes by it would take them for empty, and for equal.
TEST_F(TransferTool, FilesOfProcAreRefusedRatherThanTakenForEmpty) {
  const std::string version = "/proc/version", status = "/proc/self/status";
  if (ReadFile(version).empty()) GTEST_SKIP() << "no /proc";
  EXPECT_FAILS(RunTool({"copy", version, file_}), 1);
  EXPECT_FAILS(RunTool({"read", version}), 1);
  EXPECT_FAILS(RunTool({"verify", version, "--against", status}), 2);
  EXPECT_EQ(directory_.Names(), Names());
  EXPECT_EQ(RunTool({"write", file_, version}).exit_code, 0); // reads up to the end
  EXPECT_EQ(ReadFile(file_), ReadFile(version));
  ASSERT_TRUE(WriteFile(other_, ""));
  EXPECT_EQ(RunTool({"copy", other_, file_}).exit_code, 0);
  EXPECT_EQ(ReadFile(file_), "");
}

TEST_F(TransferTool, ASignalEndsTheWaitForTheOtherSideOfAPipe) {
  const std::string pipe = directory_ / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  ASSERT_TRUE(WriteFile(file_, "content"));
  for (const Arguments &arguments :
       {Arguments{"read", file_, pipe}, Arguments{"write", other_, pipe}}) {
    Process process(arguments);
    usleep(300000); // it may wait by then; a signal that comes before must end it as well
    process.Signal(SIGTERM);
    for (int i = 0; i < 1000 && !process.Ended(); i++) usleep(10000);
    process.Signal(SIGKILL); // of no effect, unless it still waits
    EXPECT_EQ(process.Wait().signal, SIGTERM) << arguments[0];
  }
}

TEST_F(TransferTool, PassesThroughAPipeWhoeverComesFirst) {
  const std::string pipe = directory_ / "pipe", content = RandomBytes(3 * kMiB);
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  ASSERT_TRUE(WriteFile(file_, content));
  for (const bool reader_first : {false, true}) {
    const Arguments read = {"read", file_, pipe}, write = {"write", other_, pipe};
    Process first(reader_first ? write : read);
    usleep(100000);
    Process second(reader_first ? read : write);
    EXPECT_EQ(first.Wait().exit_code, 0);
    EXPECT_EQ(second.Wait().exit_code, 0);
    EXPECT_TRUE(ReadFile(other_) == content);
  }
}

// What is asked to be on the disk must have been synced: where that is forbidden, it shows.
TEST_F(TransferTool, WriteSyncsWhatItWasAskedTo) {
  struct Case {
    const char *sync;
    int denied, code;
  };
  for (const Case &one : {Case{"none", __NR_fsync, 0}, Case{"data", __NR_fsync, 0},
                          Case{"data", __NR_fdatasync, 1}, Case{"file", __NR_fsync, 1},
                          Case{"file", __NR_fdatasync, 0}, Case{"entry", __NR_fsync, 1}}) {
    World world;
    world.denied = {one.denied};
    const Result result =
        RunWith("content", {"write", "--backend", "threads", "--sync", one.sync, file_}, world);
    EXPECT_EQ(result.exit_code, one.code) << one.sync << result.err;
    EXPECT_EQ(ReadFile(file_), "content");
  }
  World world; // what replaces a file is synced before it has the name, in any case
  world.denied = {__NR_fdatasync};
  const Result result =
      RunWith("new", {"write", "--backend", "threads", "--replace", file_}, world);
  EXPECT_FAILS(result, 1);
  EXPECT_EQ(ReadFile(file_), "content");
}

TEST_F(TransferTool, AStoppedOrKilledWriteLeavesTheOldFile) {
  ASSERT_TRUE(WriteFile(file_, "old"));
  for (const int number : {SIGINT, SIGKILL}) {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    World world;
    world.input_fd = ends[0];
    Process process({"write", "--replace", file_}, world);
    const std::string data = RandomBytes(3 * kMiB);
    for (size_t at = 0; at < data.size();) // it takes all of it, and waits for more
      at += static_cast<size_t>(write(ends[1], data.data() + at, data.size() - at));
    process.Signal(number);
    const Result result = process.Wait();
    EXPECT_EQ(result.signal, number);
    EXPECT_EQ(Lines(result.err), number == SIGINT ? 1u : 0u) << result.err;
    EXPECT_EQ(ReadFile(file_), "old");
    EXPECT_EQ(directory_.Names(), Names{"file"});
    close(ends[0]);
    close(ends[1]);
  }
}

// ---- verify ------------------------------------------------------------------------------------

TEST_F(TransferTool, VerifyComparesChecksums) {
  ASSERT_TRUE(WriteFile(file_, RandomBytes(2 * kMiB + 3)));
  std::string sum = Sha256Of(file_);
  EXPECT_EQ(RunTool({"verify", file_, "--sha256", sum}).exit_code, 0);
  for (char &digit : sum) digit = static_cast<char>(toupper(digit));
  EXPECT_EQ(RunTool({"verify", "--direct", file_, "--sha256", sum}).exit_code, 0);
  sum[63] = sum[63] == '0' ? '1' : '0';
  const Result result = RunTool({"verify", file_, "--sha256", sum});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.out.find("not equal"), std::string::npos) << result.out;
}

TEST_F(TransferTool, VerifyTellsThatOneIsShorter) {
  const std::string content = RandomBytes(kMiB + 1);
  ASSERT_TRUE(WriteFile(file_, content));
  ASSERT_TRUE(WriteFile(other_, content.substr(0, kMiB)));
  for (const bool turned : {false, true}) {
    const Result result = turned ? RunTool({"verify", other_, "--against", file_})
                                 : RunTool({"verify", file_, "--against", other_});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_NE(result.out.find(other_ + " ends at offset 1048576"), std::string::npos) << result.out;
  }
}

TEST_F(TransferTool, VerifyGivesTypedJson) {
  ASSERT_TRUE(WriteFile(file_, "contents"));
  ASSERT_TRUE(WriteFile(other_, "contest!"));
  Result result = RunTool({"verify", "--json", file_, "--against", other_});
  EXPECT_EQ(result.exit_code, 1);
  Json json = ParseJson(result.out);
  EXPECT_TRUE(json_is_false(json_object_get(json.get(), "equal")));
  EXPECT_EQ(json_integer_value(json_object_get(json.get(), "differs_at")), 5);
  result = RunTool({"verify", "--json", file_, "--sha256", Sha256Of(file_)});
  EXPECT_EQ(result.exit_code, 0);
  json = ParseJson(result.out);
  EXPECT_TRUE(json_is_true(json_object_get(json.get(), "equal")));
  EXPECT_TRUE(json_is_null(json_object_get(json.get(), "differs_at")));
}

// Never to be mistaken for a difference, which is 1.
TEST_F(TransferTool, VerifyThatCannotFindOutEndsWithTwo) {
  ASSERT_TRUE(WriteFile(file_, "content"));
  EXPECT_FAILS(RunTool({"verify", directory_ / "missing", "--against", file_}), 2);
  EXPECT_FAILS(RunTool({"verify", file_, "--against", directory_ / "missing"}), 2);
  EXPECT_FAILS(RunTool({"verify", directory_.path(), "--against", file_}), 2);
  World world;
  world.output = "/dev/full";
  EXPECT_FAILS(RunTool({"verify", file_, "--against", file_}, world), 2);
}

TEST_F(TransferTool, ABackendThatDoesNotWorkIsSaidSo) {
  ASSERT_TRUE(WriteFile(file_, "content"));
  World world;
  world.denied = {__NR_io_uring_setup, __NR_io_setup};
  for (const Arguments &arguments :
       {Arguments{"read", "--backend", "libaio", file_},
        Arguments{"write", "--backend", "libaio", other_},
        Arguments{"verify", "--backend", "libaio", file_, "--against", file_}})
    EXPECT_FAILS(RunTool(arguments, world), 3) << arguments[0];
  EXPECT_EQ(directory_.Names(), Names{"file"});
  EXPECT_EQ(RunTool({"verify", file_, "--against", file_}, world).exit_code, 0);
}

} // namespace
