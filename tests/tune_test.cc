// SPDX-License-Identifier: Apache-2.0
// `ringfall tune`, seen from outside, and the commands that take its configuration.
#include <gtest/gtest.h>

#include <ringfall/config.h>
#include <sys/ioctl.h>

#include <sstream>

#include "tool_json.h"
#include "tool_process.h"

using tool_test::Directory;
using tool_test::Fails;
using tool_test::Json;
using tool_test::Lines;
using tool_test::ParseJson;
using tool_test::Process;
using tool_test::ReadFile;
using tool_test::Result;
using tool_test::RunTool;
using tool_test::Terminal;
using tool_test::World;
using tool_test::WorldWithThreadsOnly;
using tool_test::WriteFile;

namespace {

using Names = std::set<std::string>;
using Arguments = std::vector<std::string>;

Names KeysOf(const json_t *object) {
  Names keys;
  const char *key;
  json_t *value;
  json_object_foreach(const_cast<json_t *>(object), key, value) keys.insert(key);
  return keys;
}

// What takes under a second, and no more than 8 MiB.
Arguments Tune(const std::string &directory, const Arguments &more = {}) {
  Arguments arguments = {"tune", directory, "--time", "0.6", "--size", "8M"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

class TuneIn : public testing::TestWithParam<const char *> {
protected:
  TuneIn() : directory_(GetParam() != nullptr ? GetParam() : getenv("TEST_TMPDIR")) {}

  // A directory of its own, and one for what is written.
  const Directory directory_;
  const Directory output_;
};

INSTANTIATE_TEST_SUITE_P(Each, TuneIn, testing::Values(nullptr, "/dev/shm"),
                         [](const testing::TestParamInfo<const char *> &each) {
                           return each.param == nullptr ? "disk" : "tmpfs";
                         });

// What the configuration says is what the report calls chosen.
void ExpectChosen(const rf_config_direction &config, const json_t *chosen) {
  const auto number = [&](const char *key) {
    return static_cast<uint64_t>(json_integer_value(json_object_get(chosen, key)));
  };
  EXPECT_TRUE(config.given);
  EXPECT_EQ(config.engine.choice, RF_CHOICE_PREFER);
  EXPECT_STREQ(rf_backend_name(config.engine.backend),
               json_string_value(json_object_get(chosen, "backend")));
  EXPECT_EQ(config.pool.block_size, number("block_size"));
  EXPECT_EQ(config.pool.queue_depth, number("queue_depth"));
  EXPECT_EQ(config.pool.workers, number("workers"));
  EXPECT_EQ(config.pool.single_submit, json_is_true(json_object_get(chosen, "single_submit")));
  EXPECT_EQ(config.pool.overlap_events, json_is_true(json_object_get(chosen, "overlap_events")));
}

TEST_P(TuneIn, WritesAConfigurationOfWhatItChoseThatLoads) {
  const std::string path = output_ / "config";
  const Result result = RunTool(Tune(directory_.path(), {"--output", path, "--json"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  rf_config config;
  char why[RF_CONFIG_MESSAGE] = "";
  ASSERT_EQ(rf_config_load(path.c_str(), &config, why, sizeof(why)), 0) << why;
  const Json json = ParseJson(result.out);
  const json_t *directions = json_object_get(json.get(), "directions");
  ASSERT_EQ(json_array_size(directions), 2u);
  for (size_t i = 0; i < 2; i++) {
    const json_t *one = json_array_get(directions, i);
    EXPECT_STREQ(json_string_value(json_object_get(one, "direction")), i == 0 ? "read" : "write");
    EXPECT_GT(json_integer_value(json_object_get(one, "verified_bytes")), 0);
    const json_t *chosen = json_object_get(one, "chosen");
    EXPECT_GT(json_real_value(json_object_get(chosen, "mib_per_second")), 0);
    ExpectChosen(i == 0 ? config.read : config.write, chosen);
  }
  EXPECT_TRUE(json_equal(json_object_get(json.get(), "config"), ParseJson(ReadFile(path)).get()));
  EXPECT_EQ(directory_.Names(), Names());
  EXPECT_EQ(output_.Names(), Names{"config"});
}

class TuneOnce : public testing::Test {
protected:
  const Directory directory_;
  const Directory output_;
};

// ---- what is searched ----

TEST_F(TuneOnce, StaysWithinItsTimeAndUsesIt) {
  size_t trials[2];
  for (const int more : {0, 1}) {
    const double allowed = more == 0 ? 0.3 : 1.5;
    const Result result = RunTool({"tune", directory_.path(), "--size", "4M", "--direction", "read",
                                   "--time", std::to_string(allowed), "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const Json json = ParseJson(result.out);
    const json_t *one = json_array_get(json_object_get(json.get(), "directions"), 0);
    trials[more] = static_cast<size_t>(json_integer_value(json_object_get(one, "trials")));
    // On a machine that does other things, a trial and the probe may take long.
    EXPECT_LT(json_real_value(json_object_get(json.get(), "seconds")), allowed + 2);
  }
  EXPECT_GT(trials[1], trials[0]);
}

TEST_F(TuneOnce, TriesTheDefaultsAtLeastHoweverLittleTimeThereIs) {
  const Result result =
      RunTool({"tune", directory_.path(), "--size", "4M", "--time", "0.000001", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = ParseJson(result.out);
  const json_t *directions = json_object_get(json.get(), "directions");
  ASSERT_EQ(json_array_size(directions), 2u);
  for (size_t i = 0; i < 2; i++) {
    const json_t *one = json_array_get(directions, i);
    EXPECT_LE(json_integer_value(json_object_get(one, "trials")), 2);
    const json_t *chosen = json_object_get(one, "chosen");
    EXPECT_EQ(json_integer_value(json_object_get(chosen, "block_size")), 1048576);
    EXPECT_EQ(json_integer_value(json_object_get(chosen, "queue_depth")), 16);
  }
}

TEST_F(TuneOnce, ComparesTheBestInAlternatingRounds) {
  const Result result = RunTool(
      {"tune", directory_.path(), "--size", "4M", "--direction", "read", "--time", "2", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = ParseJson(result.out);
  const json_t *one = json_array_get(json_object_get(json.get(), "directions"), 0);
  const json_t *final = json_object_get(one, "final");
  ASSERT_GE(json_array_size(final), 2u);
  const size_t rounds =
      json_array_size(json_object_get(json_array_get(final, 0), "rounds_mib_per_second"));
  EXPECT_GE(rounds, 1u);
  unsigned chosen = 0;
  for (size_t i = 0; i < json_array_size(final); i++) {
    const json_t *finalist = json_array_get(final, i);
    chosen += std::string(json_string_value(json_object_get(finalist, "role"))) == "chosen";
    EXPECT_EQ(json_array_size(json_object_get(finalist, "rounds_mib_per_second")), rounds);
  }
  EXPECT_EQ(chosen, 1u);
}

TEST_F(TuneOnce, SearchesOneDirectionAndOneBackendIfThatIsAsked) {
  const Result result =
      RunTool(Tune(directory_.path(), {"--direction", "write", "--backend", "threads", "--json"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = ParseJson(result.out);
  EXPECT_EQ(KeysOf(json_object_get(json.get(), "config")), (Names{"version", "note", "write"}));
  const json_t *directions = json_object_get(json.get(), "directions");
  ASSERT_EQ(json_array_size(directions), 1u);
  const json_t *candidates = json_object_get(json_array_get(directions, 0), "candidates");
  EXPECT_GE(json_array_size(candidates), 1u); // on a busy machine there is time for no more
  for (size_t i = 0; i < json_array_size(candidates); i++)
    EXPECT_STREQ(json_string_value(json_object_get(json_array_get(candidates, i), "backend")),
                 "threads");
}

TEST_F(TuneOnce, SaysWhatDoesNotWorkWhereOnlyThreadsDo) {
  const Result result = RunTool(Tune(directory_.path()), WorldWithThreadsOnly());
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("io_uring     does not work here: "), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("\"backend\": \"threads\""), std::string::npos) << result.out;
}

TEST_F(TuneOnce, RefusesABackendThatDoesNotWork) {
  const Result result =
      RunTool(Tune(directory_.path(), {"--backend", "libaio"}), WorldWithThreadsOnly());
  EXPECT_FAILS(result, 3);
}

TEST_F(TuneOnce, PrintsATableAndTheConfigurationForPeople) {
  const Result result = RunTool(Tune(directory_.path()));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  for (const char *part : {"read: ", "write: ", "chosen ", "MiB/s", "\"version\": 1"})
    EXPECT_NE(result.out.find(part), std::string::npos) << part << " in\n" << result.out;
}

// ---- data ----

// The number of a descriptor of the process for a file of that size; -1: not yet.
int FindFile(const Process &process, off_t size) {
  const std::string fds = "/proc/" + std::to_string(process.pid()) + "/fd/";
  for (const std::string &fd : Directory::Names(fds)) {
    struct stat found;
    if (stat((fds + fd).c_str(), &found) == 0 && S_ISREG(found.st_mode) && found.st_size == size)
      return open((fds + fd).c_str(), O_WRONLY | O_CLOEXEC);
  }
  return -1;
}

TEST_F(TuneOnce, FindsDataThatIsNotWhatWasWritten) {
  for (const char *direction : {"read", "write"}) {
    Process process({"tune", directory_.path(), "--time", "60", "--size", "4M", "--direction",
                     direction, "--backend", "threads"});
    int file = -1;
    ASSERT_TRUE(process.Until([&] { return (file = FindFile(process, 4 << 20)) >= 0; }));
    // Somebody else writes there, again and again, for what tune writes is right.
    const std::string wrong(512, 'w');
    ASSERT_FALSE(process.Until([&] {
      for (off_t at = 0; at < 4 << 20; at += 1 << 17) (void)!pwrite(file, wrong.data(), 512, at);
      return false;
    }));
    close(file);
    const Result result = process.Wait();
    EXPECT_FAILS(result, 4) << direction;
    EXPECT_NE(result.err.find("sector at offset "), std::string::npos) << result.err;
  }
}

// ---- what is left behind ----

TEST_F(TuneOnce, LeavesNothingBehindWhenStopped) {
  for (const bool no_tmpfile : {false, true}) {
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
      World world;
      world.no_tmpfile = no_tmpfile;
      Process process({"tune", directory_.path(), "--size", "4M", "--time", "600", "--output",
                       directory_ / "config", "--report", directory_ / "report"},
                      world);
      int file = -1;
      ASSERT_TRUE(process.Until([&] { return (file = FindFile(process, 4 << 20)) >= 0; }));
      close(file);
      process.Signal(number);
      const Result result = process.Wait();
      EXPECT_EQ(result.signal, number) << result.exit_code;
      EXPECT_EQ(result.out, "");
      EXPECT_EQ(Lines(result.err), 1u) << result.err;
      EXPECT_EQ(directory_.Names(), Names());
    }
  }
}

TEST_F(TuneOnce, HasNothingInTheDirectoryThatAKillCouldLeave) {
  Process process({"tune", directory_.path(), "--size", "4M", "--time", "600"});
  int file = -1;
  ASSERT_TRUE(process.Until([&] { return (file = FindFile(process, 4 << 20)) >= 0; }));
  close(file);
  process.Signal(SIGKILL);
  EXPECT_EQ(process.Wait().signal, SIGKILL);
  EXPECT_EQ(directory_.Names(), Names());
}

TEST_F(TuneOnce, KeepsAnOldConfigurationWhenItIsStopped) {
  const std::string config = output_ / "config";
  ASSERT_TRUE(WriteFile(config, "old"));
  Process process({"tune", directory_.path(), "--size", "4M", "--time", "600", "--output", config});
  int file = -1;
  ASSERT_TRUE(process.Until([&] { return (file = FindFile(process, 4 << 20)) >= 0; }));
  close(file);
  process.Signal(SIGINT);
  EXPECT_EQ(process.Wait().signal, SIGINT);
  EXPECT_EQ(ReadFile(config), "old");
}

TEST_F(TuneOnce, ReplacesAnOldConfigurationAlsoThroughALink) {
  ASSERT_TRUE(WriteFile(output_ / "old", std::string(5000, 'o')));
  ASSERT_EQ(symlink("old", (output_ / "link").c_str()), 0);
  const Result result =
      RunTool(Tune(directory_.path(), {"--direction", "read", "--output", output_ / "link"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(ReadFile(output_ / "old").substr(0, 16), "{\n  \"version\": 1");
  EXPECT_EQ(output_.Names(), (Names{"old", "link"}));
}

// ---- DeepSpeed ----

void ExpectDeepSpeedSection(const std::string &text) {
  const Json json = ParseJson(text);
  EXPECT_EQ(KeysOf(json.get()), Names{"aio"});
  const json_t *aio = json_object_get(json.get(), "aio");
  EXPECT_EQ(KeysOf(aio), (Names{"block_size", "queue_depth", "single_submit", "overlap_events",
                                "intra_op_parallelism"}));
  for (const char *key : {"block_size", "queue_depth", "intra_op_parallelism"})
    EXPECT_GT(json_integer_value(json_object_get(aio, key)), 0) << key;
  for (const char *key : {"single_submit", "overlap_events"})
    EXPECT_TRUE(json_is_boolean(json_object_get(aio, key))) << key;
}

TEST_F(TuneOnce, WritesDeepSpeedsSectionWithTheKeysThatItReads) {
  const std::string path = output_ / "deepspeed";
  const Result result = RunTool(Tune(directory_.path(), {"--deepspeed", path}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  ExpectDeepSpeedSection(ReadFile(path));
}

TEST_F(TuneOnce, PrintsNothingButDeepSpeedsSectionWhenThatIsForStdout) {
  const Result result = RunTool(Tune(directory_.path(), {"--deepspeed", "-"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  ExpectDeepSpeedSection(result.out);
}

TEST_F(TuneOnce, SaysThatDeepSpeedsSectionWasNotMeasuredOnLibaio) {
  const Result result =
      RunTool(Tune(directory_.path(), {"--deepspeed", "-", "--backend", "threads"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  ExpectDeepSpeedSection(result.out);
  EXPECT_EQ(Lines(result.err), 1u) << result.err;
  EXPECT_NE(result.err.find("libaio"), std::string::npos) << result.err;
}

// ---- the page ----

// "" or where the tags of a page, but for its first line, do not form a tree.
std::string BrokenMarkup(const std::string &page) {
  std::vector<std::string> open;
  for (size_t at = page.find('\n'); (at = page.find('<', at)) != std::string::npos;) {
    const size_t end = page.find('>', at);
    if (end == std::string::npos) return "a tag that does not end: " + page.substr(at, 40);
    const std::string tag = page.substr(at + 1, end - at - 1);
    size_t quotes = 0;
    for (const char c : tag) quotes += c == '"';
    if (quotes % 2 != 0 || tag.find('<') != std::string::npos) return "bad tag <" + tag + ">";
    const std::string name =
        tag.substr(tag[0] == '/', tag.find_first_of(" /", 1) - (tag[0] == '/'));
    if (tag[0] == '/') {
      if (open.empty() || open.back() != name) return "</" + name + "> out of place";
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(name);
    }
    at = end;
  }
  for (size_t at = 0; (at = page.find('&', at)) != std::string::npos; at++)
    if (page.compare(at, 4, "&lt;") != 0 && page.compare(at, 4, "&gt;") != 0 &&
        page.compare(at, 5, "&amp;") != 0)
      return "a bare &";
  return open.empty() ? "" : "<" + open.back() + "> is not closed";
}

size_t Count(const std::string &text, const std::string &part) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) count++;
  return count;
}

TEST_F(TuneOnce, WritesAPageThatIsCompleteInItself) {
  const std::string path = output_ / "page.html";
  const Result result =
      RunTool({"tune", directory_.path(), "--time", "1.5", "--size", "8M", "--report", path});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::string page = ReadFile(path);
  EXPECT_EQ(BrokenMarkup(page), "");
  for (const char *outside : {"http", "src=", "<script", "<link", "@import", "url("})
    EXPECT_EQ(Count(page, outside), 0u) << outside;
  for (const char *title : {"Throughput by queue depth", "Throughput by block size",
                            "Latency by queue depth", "Latency by block size", "CPU time"})
    EXPECT_EQ(Count(page, std::string("class=\"title\" x=\"72.0\" y=\"24\">") + title), 2u)
        << title;
  EXPECT_EQ(Count(page, "<svg"), Count(page, "class=\"axis\""));
  EXPECT_GE(Count(page, "<polyline"), 10u);
  for (const char *not_a_number : {"nan", "inf"})
    EXPECT_EQ(Count(page, std::string("\"") + not_a_number), 0u) << not_a_number;
  EXPECT_NE(page.find("prefers-color-scheme:dark"), std::string::npos);
}

TEST_F(TuneOnce, WritesAPageThatTakesAnyNameOfADirectory) {
  const std::string odd = directory_ / "a<b>&\"\xff\n";
  ASSERT_EQ(mkdir(odd.c_str(), 0700), 0);
  const Result result = RunTool(Tune(odd, {"--report", output_ / "page"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::string page = ReadFile(output_ / "page");
  EXPECT_EQ(BrokenMarkup(page), "");
  EXPECT_NE(page.find("a&lt;b&gt;&amp;\"\xef\xbf\xbd"), std::string::npos);
}

// ---- refusals ----

TEST_F(TuneOnce, RefusesADirectoryWithoutRoom) {
  const Result result = RunTool({"tune", directory_.path(), "--size", "1000T"});
  EXPECT_FAILS(result, 1);
  EXPECT_NE(result.err.find("no room: 1000 TiB are needed and "), std::string::npos) << result.err;
}

TEST_F(TuneOnce, RefusesWhatALimitForbids) {
  World world;
  world.file_size = 1 << 20;
  const Result result = RunTool(Tune(directory_.path()), world);
  EXPECT_FAILS(result, 1);
  EXPECT_NE(result.err.find("File too large"), std::string::npos) << result.err;
}

TEST_F(TuneOnce, RefusesFilesThatCannotBeWrittenBeforeItMeasures) {
  const std::string pipe = output_ / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  ASSERT_EQ(symlink("nothing", (output_ / "link").c_str()), 0);
  for (const char *option : {"--output", "--deepspeed", "--report"})
    for (const std::string &path : {output_ / "no/where", pipe, output_.path(), output_ / "link"})
      EXPECT_FAILS(RunTool({"tune", directory_.path(), "--time", "600", option, path}), 1)
          << option << " " << path;
  struct stat found;
  EXPECT_TRUE(stat(pipe.c_str(), &found) == 0 && S_ISFIFO(found.st_mode));
  EXPECT_TRUE(lstat((output_ / "link").c_str(), &found) == 0 && S_ISLNK(found.st_mode));
}

TEST_F(TuneOnce, RefusesDirectoriesThatCannotBeUsed) {
  ASSERT_TRUE(WriteFile(output_ / "file", "content"));
  EXPECT_FAILS(RunTool({"tune", directory_ / "missing"}), 1);
  EXPECT_FAILS(RunTool({"tune", output_ / "file"}), 1);
  EXPECT_FAILS(RunTool({"tune", "/proc"}), 1);
}

TEST_F(TuneOnce, SaysWhyItFailsWithFewDescriptors) {
  for (const rlim_t descriptors : {4, 5, 6, 7, 8, 9, 10}) {
    World world;
    world.descriptors = descriptors;
    const Result result = RunTool(Tune(directory_.path()), world);
    if (result.exit_code == 0) continue; // enough
    EXPECT_FAILS(result, 1);
    // "Operation not supported": a ring that was there, and for which nothing else is left.
    EXPECT_TRUE(result.err.find(strerror(EMFILE)) != std::string::npos ||
                result.err.find(strerror(EOPNOTSUPP)) != std::string::npos)
        << result.err;
  }
}

class TuneCommandLine : public testing::TestWithParam<Arguments> {};

TEST_P(TuneCommandLine, IsRefusedWithOneLineAndCodeTwo) {
  EXPECT_FAILS(RunTool(GetParam()), 2);
}

INSTANTIATE_TEST_SUITE_P(
    Bad, TuneCommandLine,
    testing::Values(Arguments{"tune", "--frobnicate"}, Arguments{"tune", "/tmp", "/tmp"},
                    Arguments{"tune", "--size", "1M"}, Arguments{"tune", "--size", "x"},
                    Arguments{"tune", "--size"}, Arguments{"tune", "--time", "0"},
                    Arguments{"tune", "--time", "-1"}, Arguments{"tune", "--direction", "up"},
                    Arguments{"tune", "--direction", ""}, Arguments{"tune", "--backend", "floppy"},
                    Arguments{"tune", "--backend", "auto"}, Arguments{"tune", "--seed", "-1"},
                    Arguments{"tune", "--seed", "2147483648"}, Arguments{"tune", "--json=yes"},
                    Arguments{"tune", "--deepspeed", "-", "--json"},
                    Arguments{"tune", "--output", "-"}, Arguments{"tune", "--report", "-"},
                    Arguments{"tune", "--output", "x", "--report", "x"},
                    Arguments{"tune", "--output", "x", "--deepspeed", "x"},
                    Arguments{"tune", "--deepspeed", "x", "--report", "x"},
                    Arguments{"bench", "--config"}));

TEST(TuneHelp, IsListedAndDocumentsItsOptions) {
  EXPECT_NE(RunTool({"--help"}).out.find("\n  tune [DIR] "), std::string::npos);
  const Result result = RunTool({"help", "tune"});
  EXPECT_EQ(result.exit_code, 0);
  for (const char *option : {"--size", "--time", "--direction", "--backend", "--seed", "--output",
                             "--deepspeed", "--report", "--json", "Exit codes:"})
    EXPECT_NE(result.out.find(option), std::string::npos) << option;
}

// ---- progress ----

// All that tune shows while it works, until it is stopped near its end.
std::string ShownOn(const Terminal &terminal, const std::string &directory) {
  World world;
  world.error_fd = terminal.slave();
  Process process({"tune", directory, "--time", "100", "--size", "4M"}, world);
  std::string shown;
  EXPECT_TRUE(process.Until([&] {
    shown += terminal.Shown();
    return shown.find("tuning read, 9") != std::string::npos;
  }));
  process.Signal(SIGINT);
  EXPECT_EQ(process.Wait().signal, SIGINT);
  return shown;
}

TEST_F(TuneOnce, ShowsTheTimeThatIsLeftOnATerminal) {
  const Terminal terminal;
  if (!terminal.usable()) GTEST_SKIP() << "no pseudo terminals here";
  const std::string shown = ShownOn(terminal, directory_.path());
  EXPECT_NE(shown.find(" s left ["), std::string::npos) << shown;
}

TEST_F(TuneOnce, ShowsLinesThatDoNotWrapOnANarrowTerminal) {
  const Terminal terminal;
  if (!terminal.usable()) GTEST_SKIP() << "no pseudo terminals here";
  struct winsize size = {};
  size.ws_col = 40;
  ASSERT_EQ(ioctl(terminal.slave(), TIOCSWINSZ, &size), 0);
  std::istringstream lines(ShownOn(terminal, directory_.path()));
  for (std::string line; std::getline(lines, line, '\r');) EXPECT_LT(line.size(), 40u) << line;
}

// ---- bench --config ----

class BenchConfig : public testing::Test {
protected:
  // With this configuration, as JSON; a short run over a small file.
  Result Bench(const std::string &config, const Arguments &more = {}) {
    EXPECT_TRUE(WriteFile(path_, config));
    Arguments arguments = {"bench",  "--config", path_,       "--dir", directory_.path(),
                           "--size", "1M",       "--seconds", "0.02",  "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Result result = RunTool(arguments);
    unlink(path_.c_str());
    return result;
  }

  const Directory directory_;
  const std::string path_ = directory_ / "config";
};

const char kBoth[] = R"({"version": 1,
  "read": {"backend": "threads", "block_size": 8192, "queue_depth": 3},
  "write": {"block_size": 16384, "queue_depth": 5}})";

// "BLOCK x DEPTH on BACKENDS"
std::string Work(const Result &result) {
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const Json json = ParseJson(result.out);
  const json_t *work = json_object_get(json.get(), "work");
  const json_t *results = json_object_get(json.get(), "results");
  std::string text = std::to_string(json_integer_value(json_object_get(work, "block"))) + " x " +
                     std::to_string(json_integer_value(json_object_get(work, "depth"))) + " on";
  for (size_t i = 0; i < json_array_size(results); i++)
    text += std::string(" ") +
            json_string_value(json_object_get(json_array_get(results, i), "backend"));
  return text;
}

TEST_F(BenchConfig, GivesBackendBlockAndDepthOfItsDirection) {
  EXPECT_EQ(Work(Bench(kBoth)), "8192 x 3 on threads");
  EXPECT_EQ(Work(Bench(kBoth, {"--rw", "read"})), "8192 x 3 on threads");
  EXPECT_EQ(Work(Bench(kBoth, {"--rw", "mixed"})), "8192 x 3 on threads");
  EXPECT_EQ(Work(Bench(kBoth, {"--rw", "write"})), "16384 x 5 on io_uring libaio threads");
  EXPECT_EQ(Work(Bench(kBoth, {"--rw", "randwrite"})), "16384 x 5 on io_uring libaio threads");
}

TEST_F(BenchConfig, YieldsToTheCommandLine) {
  EXPECT_EQ(Work(Bench(kBoth, {"--block", "4K"})), "4096 x 3 on threads");
  EXPECT_EQ(Work(Bench(kBoth, {"--depth", "7"})), "8192 x 7 on threads");
  EXPECT_EQ(Work(Bench(kBoth, {"--backend", "all"})), "8192 x 3 on io_uring libaio threads");
}

TEST_F(BenchConfig, IsRefusedWithOneLineThatNamesTheKey) {
  const Result unknown = Bench("{\"version\": 1,\n\"read\": {\"depth\": 3}}");
  EXPECT_FAILS(unknown, 2);
  EXPECT_NE(unknown.err.find("line 2: read.depth: no such key"), std::string::npos) << unknown.err;
  const Result other = Bench("{\"version\": 1, \"write\": {}}");
  EXPECT_FAILS(other, 2);
  EXPECT_NE(other.err.find("has nothing for reads"), std::string::npos) << other.err;
  EXPECT_FAILS(RunTool({"bench", "--config", directory_ / "missing"}), 2);
  EXPECT_FAILS(RunTool({"bench", "--config", directory_.path()}), 2);
}

} // namespace
