// SPDX-License-Identifier: Apache-2.0
// The programs in examples/ as their users run them, and the commands that their README gives.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/test_files.h"
#include "tests/tool_process.h"

namespace {

using test_files::Stopwatch;
using tool_test::Directory;
using tool_test::Lines;
using tool_test::Process;
using tool_test::RandomBytes;
using tool_test::ReadFile;
using tool_test::Result;
using tool_test::World;
using tool_test::WriteFile;

// From the runfiles: examples/NAME.
std::string Path(const std::string &name) {
  const char *sources = getenv("TEST_SRCDIR"), *workspace = getenv("TEST_WORKSPACE");
  if (sources == nullptr || workspace == nullptr) return "examples/" + name;
  return std::string(sources) + "/" + workspace + "/examples/" + name;
}

Result RunExample(const std::string &name, const std::vector<std::string> &arguments,
                  const World &world = World()) {
  return Process(arguments, world, Path(name)).Wait();
}

World On(const std::string &backend) {
  World world;
  world.environment = {{"RINGFALL_BACKEND", backend}};
  return world;
}

bool Has(const std::string &text, const std::string &part) {
  return text.find(part) != std::string::npos;
}

const char *const kBackends[] = {"io_uring", "libaio", "threads"};
const char *const kPrograms[] = {"minimal",          "epoll_loop", "libuv_loop",
                                 "cpp_wrapper_main", "wal_main",   "page_cache_main"};

// ---- usage and errors
// ----------------------------------------------------------------------------

TEST(Usage, IsOneLineAndExitCodeTwo) {
  for (const char *name : kPrograms) {
    SCOPED_TRACE(name);
    for (const std::vector<std::string> &arguments :
         {std::vector<std::string>{}, {"a", "b", "c", "d", "e"}}) {
      const Result result = RunExample(name, arguments);
      EXPECT_FAILS(result, 2);
      EXPECT_EQ(result.err.find("usage: " + std::string(name) + " "), 0u) << result.err;
    }
  }
  for (const char *wrong : {"0", "-1", "x", "1x", ""}) {
    EXPECT_FAILS(RunExample("wal_main", {"log", wrong, "1"}), 2);
    EXPECT_FAILS(RunExample("wal_main", {"log", "1", wrong}), 2);
  }
  EXPECT_FAILS(RunExample("epoll_loop", {"file", "0"}), 2);
  EXPECT_FAILS(RunExample("libuv_loop", {"file", "x"}), 2);
  EXPECT_FAILS(RunExample("page_cache_main", {"file", "0"}), 2);
}

TEST(Errors, AreOneLineThatNamesTheFileAndExitCodeOne) {
  for (const char *name : kPrograms) {
    SCOPED_TRACE(name);
    std::vector<std::string> arguments = {"/no/such/file"};
    if (std::string(name) == "cpp_wrapper_main") arguments.emplace_back("/no/such/copy");
    const Result result = RunExample(name, arguments);
    EXPECT_FAILS(result, 1);
    EXPECT_EQ(result.err.find(std::string(name) + ": /no/such/file: "), 0u) << result.err;
  }
}

// ---- one by one --------------------------------------------------------------------------------

TEST(Minimal, PrintsTheBeginningOfAFile) {
  Directory directory;
  for (const size_t size : {0, 1, 4096, 10000}) {
    const std::string content = RandomBytes(size);
    ASSERT_TRUE(WriteFile(directory / std::to_string(size), content));
    const Result result = RunExample("minimal", {directory / std::to_string(size)});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(result.out == content.substr(0, 4096));
  }
}

class Loops : public testing::TestWithParam<const char *> {
protected:
  struct Summary {
    uint64_t bytes = 0, sum = 0, reads = 0, ticks = 0, lines = 0, pieces = 0, wakeups = 0;
  };
  static Summary Parse(const std::string &out) {
    Summary s;
    const size_t at = out.rfind("read ");
    const int fields =
        at == std::string::npos
            ? 0
            : sscanf(out.c_str() + at,
                     "read %" SCNu64 " bytes, sum %" SCNu64 ", by %" SCNu64 " reads; %" SCNu64
                     " ticks, %" SCNu64 " lines in %" SCNu64 " pieces; woken %" SCNu64 " times\n",
                     &s.bytes, &s.sum, &s.reads, &s.ticks, &s.lines, &s.pieces, &s.wakeups);
    EXPECT_EQ(fields, 7) << out;
    return s;
  }
  static uint64_t Sum(const std::string &content) {
    uint64_t sum = 0;
    for (const char byte : content) sum += static_cast<unsigned char>(byte);
    return sum;
  }
};

// What spins wakes up without end. Every wake-up needs a cause: a completion, a tick, some input; a
// descriptor may be readable without anything to reap, rarely: for that there is the same again.
TEST_P(Loops, ReadAndTickAndSleepInBetween) {
  Directory directory;
  const std::string content = RandomBytes(5000000);
  ASSERT_TRUE(WriteFile(directory / "file", content));
  for (const char *backend : kBackends) {
    SCOPED_TRACE(backend);
    int input[2];
    ASSERT_EQ(pipe2(input, O_CLOEXEC), 0);
    World world = On(backend);
    world.input_fd = input[0];
    const Stopwatch watch;
    Process process({directory / "file", "5"}, world, Path(GetParam()));
    close(input[0]);
    ASSERT_EQ(write(input[1], "one\ntwo\n", 8), 8);
    // All has been read, and the loop lives on the timer alone.
    EXPECT_TRUE(process.Until([&] {
      const std::string out = process.Output();
      const size_t all = out.find(": 5000000 bytes");
      return all != std::string::npos && Lines(out.substr(all)) >= 20;
    }));
    close(input[1]); // the input ends, and with it the program
    const Result result = process.Wait();
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const Summary summary = Parse(result.out);
    EXPECT_EQ(summary.bytes, content.size());
    EXPECT_EQ(summary.sum, Sum(content));
    EXPECT_GE(summary.reads, 5000000u / 65536);
    EXPECT_EQ(summary.lines, 2u);
    EXPECT_GE(summary.ticks, 20u);
    EXPECT_LE(summary.ticks, static_cast<uint64_t>(watch.ns() / 5000000));
    EXPECT_LE(summary.pieces, 3u);
    EXPECT_GE(summary.wakeups, 20u);
    EXPECT_LE(summary.wakeups, 2 * summary.reads + summary.ticks + summary.pieces);
  }
}

// Reads that cannot end do not keep the loop from anything.
TEST_P(Loops, TickWhileNothingComes) {
  Directory directory;
  ASSERT_EQ(mkfifo((directory / "fifo").c_str(), 0600), 0);
  for (const char *backend : kBackends) {
    SCOPED_TRACE(backend);
    const int fifo = open((directory / "fifo").c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(fifo, 0);
    int input[2]; // at its end from the start, which must not be told again and again
    ASSERT_EQ(pipe2(input, O_CLOEXEC), 0);
    close(input[1]);
    World world = On(backend);
    world.input_fd = input[0];
    Process process({directory / "fifo", "5"}, world, Path(GetParam()));
    close(input[0]);
    EXPECT_TRUE(process.Until([&] { return Has(process.Output(), "tick 10: 0 bytes"); }));
    ASSERT_EQ(write(fifo, "here it is", 10), 10);
    // One read has it, and with the last writer gone all of them end.
    close(fifo);
    const Result result = process.Wait();
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const Summary summary = Parse(result.out);
    EXPECT_EQ(summary.bytes, 10u);
    EXPECT_EQ(summary.sum, Sum("here it is"));
    EXPECT_EQ(summary.pieces, 1u);
    EXPECT_LE(summary.wakeups, 2 * summary.reads + summary.ticks + summary.pieces);
  }
}

INSTANTIATE_TEST_SUITE_P(Examples, Loops, testing::Values("epoll_loop", "libuv_loop"),
                         [](const auto &name) { return std::string(name.param); });

TEST(CppWrapper, CopiesAndOverwritesNothing) {
  Directory directory;
  for (const char *backend : kBackends)
    for (const size_t size : {0, 1, 65535, 65536, 65537, 1000003}) {
      SCOPED_TRACE(std::string(backend) + ", " + std::to_string(size) + " bytes");
      const std::string content = RandomBytes(size), name = backend + std::to_string(size);
      ASSERT_TRUE(WriteFile(directory / name, content));
      const Result result = RunExample(
          "cpp_wrapper_main", {directory / name, directory / (name + ".copy")}, On(backend));
      EXPECT_EQ(result.exit_code, 0) << result.err;
      EXPECT_EQ(result.out, "copied " + std::to_string(size) + " bytes\n");
      EXPECT_TRUE(ReadFile(directory / (name + ".copy")) == content);
    }
  ASSERT_TRUE(WriteFile(directory / "precious", "p"));
  EXPECT_FAILS(RunExample("cpp_wrapper_main", {directory / "threads1", directory / "precious"}), 1);
  EXPECT_EQ(ReadFile(directory / "precious"), "p");
}

TEST(CppWrapper, LeavesNoHalfCopyBehind) {
  Directory directory;
  ASSERT_TRUE(WriteFile(directory / "file", RandomBytes(500000)));
  World world;
  world.file_size = 200000;
  const Result result =
      RunExample("cpp_wrapper_main", {directory / "file", directory / "copy"}, world);
  EXPECT_FAILS(result, 1);
  EXPECT_TRUE(Has(result.err, "EFBIG")) << result.err;
  EXPECT_EQ(directory.Names(), std::set<std::string>{"file"});
}

TEST(Wal, ListsWhatItHasAcknowledged) {
  Directory directory;
  for (const char *backend : kBackends) {
    SCOPED_TRACE(backend);
    const std::string log = directory / backend;
    const Result appended = RunExample("wal_main", {log, "4", "50"}, On(backend));
    EXPECT_EQ(appended.exit_code, 0) << appended.err;
    EXPECT_TRUE(Has(appended.out, "appended 200 records with ")) << appended.out;
    const Result listed = RunExample("wal_main", {log}, On(backend));
    EXPECT_EQ(listed.exit_code, 0) << listed.err;
    EXPECT_TRUE(Has(listed.out, "recovered 200 records, ")) << listed.out;
    std::istringstream lines(appended.out);
    unsigned acknowledged = 0;
    for (std::string line; std::getline(lines, line);) {
      const std::string mark = "acknowledged ";
      if (line.compare(0, mark.size(), mark) != 0) continue;
      EXPECT_TRUE(Has("\n" + listed.out, "\n" + line.substr(mark.size()) + "\n")) << line;
      acknowledged++;
    }
    EXPECT_EQ(acknowledged, 200u);
  }
}

TEST(Wal, SaysWhatStandsInTheWay) {
  Directory directory;
  ASSERT_TRUE(WriteFile(directory / "letter", "dear aunt"));
  const Result other = RunExample("wal_main", {directory / "letter"});
  EXPECT_FAILS(other, 1);
  EXPECT_TRUE(Has(other.err, "no log")) << other.err;
  EXPECT_EQ(ReadFile(directory / "letter"), "dear aunt");

  Process first({directory / "log", "1", "1000000000"}, World(), Path("wal_main"));
  ASSERT_TRUE(first.Until([&] { return Has(first.Output(), "recovered"); }));
  const Result second = RunExample("wal_main", {directory / "log"});
  EXPECT_FAILS(second, 1);
  EXPECT_TRUE(Has(second.err, "another program")) << second.err;
}

TEST(PageCache, FindsAllDataRight) {
  Directory directory;
  for (const char *backend : kBackends)
    for (const char *frames : {"64", "1000", "4000"}) {
      SCOPED_TRACE(std::string(backend) + ", frames: " + frames);
      const Result result =
          RunExample("page_cache_main", {directory / "pages", "2000", frames}, On(backend));
      EXPECT_EQ(result.exit_code, 0) << result.err;
      EXPECT_TRUE(Has(result.out, "; all data right\n")) << result.out;
      EXPECT_TRUE(directory.Names().empty()) << "it cleans up";
    }
  ASSERT_TRUE(WriteFile(directory / "precious", "p"));
  EXPECT_FAILS(RunExample("page_cache_main", {directory / "precious"}), 1);
  EXPECT_EQ(ReadFile(directory / "precious"), "p");
}

// ---- the README
// ----------------------------------------------------------------------------------

// Every command that it gives, with the programs that Bazel would build and run, in a folder of its
// own; and no program without a command.
TEST(Readme, GivesCommandsThatWork) {
  Directory directory;
  ASSERT_TRUE(WriteFile(directory / "LICENSE", RandomBytes(20000)));
  std::istringstream readme(ReadFile(Path("README.md")));
  std::set<std::string> run;
  const std::string command = "    bazel run //examples:", dashes = " -- ";
  for (std::string line; std::getline(readme, line);) {
    if (line.compare(0, command.size(), command) != 0) continue;
    SCOPED_TRACE(line);
    const size_t end = line.find(dashes);
    ASSERT_NE(end, std::string::npos);
    const std::string name = line.substr(command.size(), end - command.size());
    const std::string arguments = line.substr(end + dashes.size());
    run.insert(name);
    const Result result =
        Process({"-c", "cd '" + directory.path() + "' && exec '" + Path(name) + "' " + arguments},
                World(), "sh")
            .Wait();
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_FALSE(result.out.empty());
  }
  EXPECT_EQ(run, std::set<std::string>(std::begin(kPrograms), std::end(kPrograms)));
}

TEST(Readme, NamesEverySource) {
  const std::string readme = ReadFile(Path("README.md"));
  unsigned sources = 0;
  for (const std::string &name : Directory::Names(Path(""))) {
    const size_t dot = name.rfind('.');
    const std::string ending = dot == std::string::npos ? "" : name.substr(dot);
    if (ending != ".c" && ending != ".h" && ending != ".cc" && ending != ".hpp") continue;
    EXPECT_TRUE(Has(readme, "[" + name + "](" + name + ")")) << name;
    sources++;
  }
  EXPECT_GE(sources, 12u);
}

} // namespace
