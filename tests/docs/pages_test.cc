// SPDX-License-Identifier: Apache-2.0
// What the pages list is all that there is, in the library's own words: statuses, causes, metrics,
// reasons, fault plans.
#include <errno.h>
#include <gtest/gtest.h>
#include <ringfall/fault_injection.h>
#include <ringfall/ringfall.h>

#include <cctype>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "probe/cause.h"

namespace {

std::string Contents(const std::string &path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_FALSE(text.str().empty()) << path;
  return text.str();
}

// Blanks and line ends are alike: the pages break lines where they like.
std::string Joined(const std::string &text) {
  std::istringstream words(text);
  std::string joined;
  for (std::string word; words >> word;) joined += (joined.empty() ? "" : " ") + word;
  return joined;
}

bool Has(const std::string &text, const std::string &part) {
  return text.find(part) != std::string::npos;
}

// ---- docs/errors.md ----------------------------------------------------------------------------

const struct {
  rf_status_source source;
  const char *heading;
} kSources[] = {
    {RF_FROM_OP, "From an op"},
    {RF_FROM_TRANSFER, "From a transfer"},
    {RF_FROM_ENGINE, "From an engine"},
    {RF_FROM_FILE, "From a file"},
    {RF_FROM_ARENA, "From an arena"},
    {RF_FROM_QUEUE, "From a queue"},
    {RF_FROM_POOL, "From a pool and its tokens"},
    {RF_FROM_PROBE, "From the probe"},
};
const char kSystemCalls[] = "From the system calls behind all these";

// What any source says of a status that it does not explain by itself.
const rf_status_source kNobody = RF_STATUS_SOURCES;

bool SameFrom(rf_status_source one, rf_status_source other, int status) {
  return strcmp(rf_status_meaning(one, status), rf_status_meaning(other, status)) == 0 &&
         strcmp(rf_status_remedy(one, status), rf_status_remedy(other, status)) == 0;
}

bool ExplainedBy(rf_status_source source, int status) {
  if (rf_status_meaning(source, status)[0] == '\0') return false;
  if (source == kNobody) return true;
  if (SameFrom(source, kNobody, status)) return false;
  return source != RF_FROM_TRANSFER || !SameFrom(source, RF_FROM_OP, status);
}

std::string Row(rf_status_source source, int status) {
  const char *remedy = rf_status_remedy(source, status);
  return std::string("| `-") + rf_status_name(status) + "` | " + rf_status_meaning(source, status) +
         " | " + remedy + (remedy[0] != '\0' ? " |" : "|");
}

// All rows that a source should have, by name.
std::set<std::string> RowsOf(rf_status_source source) {
  std::set<std::string> rows;
  for (int error = 1; error < 4096; error++)
    if (ExplainedBy(source, -error)) rows.insert(Row(source, -error));
  return rows;
}

// The rows that stand below a heading.
std::set<std::string> RowsBelow(const std::string &page, const std::string &heading) {
  std::set<std::string> rows;
  std::istringstream lines(page);
  bool below = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("## ", 0) == 0) below = line == "## " + heading;
    if (!below || line.rfind("| `-", 0) != 0) continue;
    EXPECT_TRUE(rows.insert(line).second) << line;
  }
  return rows;
}

std::string Lines(const std::set<std::string> &rows) {
  std::string text;
  for (const std::string &row : rows) text += row + "\n";
  return text;
}

TEST(Errors, AreListedForEachSourceInTheLibrarysWords) {
  std::string page = Contents("docs/errors.md");
  for (const auto &[source, heading] : kSources)
    EXPECT_EQ(Lines(RowsBelow(page, heading)), Lines(RowsOf(source))) << "below: " << heading;
  EXPECT_EQ(Lines(RowsBelow(page, kSystemCalls)), Lines(RowsOf(kNobody)));
}

TEST(Errors, OfTheHeaderAreAllNamed) {
  std::string page = Contents("docs/errors.md"),
              header = Contents("engine/include/ringfall/status.h");
  int count = 0;
  for (size_t at = header.find("-E"); at != std::string::npos; at = header.find("-E", at + 1)) {
    size_t end = at + 2;
    while (end < header.size() && (isupper(header[end]) || isdigit(header[end]))) end++;
    std::string name = header.substr(at, end - at);
    if (name.size() < 4 || name == "-ENAME") continue;
    EXPECT_TRUE(Has(page, "`" + name + "`") || name == "-ENOTSUP") << name;
    count++;
  }
  EXPECT_GT(count, 50) << "the header's list was not found";
}

// ---- docs/operating.md -------------------------------------------------------------------------

TEST(Operating, HasAHeadingAndARowForEveryCause) {
  std::string page = Contents("docs/operating.md");
  int count = 0;
  for (int cause = RF_CAUSE_NONE + 1; cause <= RF_CAUSE_OTHER; cause++, count++) {
    std::string name = rf_cause_name(static_cast<rf_cause>(cause));
    EXPECT_TRUE(Has(page, "\n### " + name + "\n")) << name;
    EXPECT_TRUE(Has(page, "\n| [`" + name + "`](#")) << name;
  }
  EXPECT_EQ(count, 12);
}

rf_surroundings Plain() {
  rf_surroundings around = {};
  strcpy(around.limits.kernel, "6.12.1");
  around.limits.memlock = INT64_MAX;
  around.limits.nofile = 1024;
  around.limits.aio_max_nr = 65536;
  around.rights.ring_group = -1;
  around.rights.max_processes = INT64_MAX;
  return around;
}

struct Case {
  rf_cause cause;
  const char *call;
  int error;
  bool usable;
  rf_surroundings around;
  rf_stage stage;
  const char *deed;
};

std::vector<Case> Cases() {
  rf_surroundings plain = Plain(), filtered = Plain(), forbidden = Plain(), locked = Plain();
  rf_surroundings taken = Plain(), old = Plain(), directory = Plain(), crowded = Plain();
  filtered.limits.seccomp = 2;
  forbidden.limits.io_uring_disabled = 2;
  locked.limits.memlock = 65536;
  taken.limits.aio_nr = 65500;
  old.limits.io_uring_disabled = -1;
  strcpy(old.limits.kernel, "4.14.9");
  directory.in_directory = true;
  strcpy(crowded.limits.kernel, "5.10.0");
  crowded.rights.max_processes = 4096;
  return {
      {RF_CAUSE_SECCOMP, "io_uring_setup", EPERM, false, filtered, RF_STAGE_NONE, nullptr},
      {RF_CAUSE_SECCOMP, "io_uring_setup", ENOSYS, false, filtered, RF_STAGE_NONE, nullptr},
      {RF_CAUSE_SECCOMP, "io_uring_register", EPERM, true, filtered, RF_STAGE_NONE, nullptr},
      {RF_CAUSE_SYSCTL, "io_uring_setup", EPERM, false, forbidden, RF_STAGE_NONE, nullptr},
      {RF_CAUSE_MEMLOCK, "io_uring_setup", ENOMEM, false, locked, RF_STAGE_NONE, nullptr},
      {RF_CAUSE_NOFILE, "io_uring_setup", EMFILE, false, plain, RF_STAGE_NONE, nullptr},
      {RF_CAUSE_AIO_MAX_NR, "io_setup", EAGAIN, false, taken, RF_STAGE_NONE, nullptr},
      {RF_CAUSE_NO_SYSCALL, "io_uring_setup", ENOSYS, false, old, RF_STAGE_NONE, nullptr},
      {RF_CAUSE_FLAG, "io_uring_setup", EINVAL, true, plain, RF_STAGE_NONE, nullptr},
      {RF_CAUSE_PERMISSION, "io_uring_setup", EPERM, false, plain, RF_STAGE_NONE, nullptr},
      {RF_CAUSE_NOMEM, "io_uring_setup", ENOMEM, false, plain, RF_STAGE_NONE, nullptr},
      {RF_CAUSE_OTHER, "clone", EAGAIN, false, crowded, RF_STAGE_NONE, nullptr},
      {RF_CAUSE_STORAGE, "io_uring_enter", ENOSPC, false, directory, RF_STAGE_IO, "a write"},
  };
}

rf_verdict Explain(const Case &c) {
  rf_refusal refusal = {};
  refusal.stage = c.stage != RF_STAGE_NONE ? c.stage : rf_stage_of(c.call);
  refusal.call = c.call;
  refusal.error = c.error;
  refusal.deed = c.deed;
  rf_verdict verdict = {};
  verdict.backend = RF_BACKEND_IO_URING;
  verdict.usable = c.usable;
  verdict.depth = verdict.depth_asked = 128;
  rf_explain(&c.around, &refusal, &verdict);
  EXPECT_EQ(verdict.cause, c.cause) << verdict.why;
  return verdict;
}

TEST(Operating, QuotesVerdictsWordByWord) {
  std::string page = Joined(Contents("docs/operating.md"));
  for (const Case &c : Cases()) {
    rf_verdict verdict = Explain(c);
    EXPECT_TRUE(Has(page, "```text " + std::string(verdict.why) + " ```")) << verdict.why;
    if (verdict.remedy[0] == '\0') continue;
    EXPECT_TRUE(Has(page, "```text " + std::string(verdict.remedy) + " ```")) << verdict.remedy;
  }
}

// The remedy names the calls of an interface.
TEST(Container, AllowsEveryCallThatTheRemedyNames) {
  std::string page = Contents("docs/tasks/container.md");
  int count = 0;
  for (const char *call : {"io_uring_setup", "io_setup"}) {
    Case denied = {RF_CAUSE_SECCOMP, call, EPERM, false, Plain(), RF_STAGE_NONE, nullptr};
    denied.around.limits.seccomp = 2;
    std::istringstream words(Explain(denied).remedy);
    for (std::string word; words >> word;) {
      if (word.rfind("io_", 0) != 0) continue;
      word = word.substr(0, word.find_first_of(",:"));
      EXPECT_TRUE(Has(page, "\"" + word + "\"")) << word;
      count++;
    }
  }
  EXPECT_EQ(count, 9);
}

// "ringfall_..." wherever it stands for a metric.
std::set<std::string> MetricsIn(const std::string &text) {
  std::set<std::string> names;
  const std::string prefix = "ringfall_";
  for (size_t at = text.find(prefix); at != std::string::npos; at = text.find(prefix, at + 1)) {
    size_t end = at;
    while (end < text.size() && (islower(text[end]) || text[end] == '_')) end++;
    std::string name = text.substr(at, end - at);
    for (const char *suffix : {"_bucket", "_sum", "_count"}) {
      size_t length = strlen(suffix);
      if (name.size() > length && name.compare(name.size() - length, length, suffix) == 0)
        name.erase(name.size() - length);
    }
    names.insert(name);
  }
  return names;
}

TEST(Operating, NamesEveryMetricAndNoOther) {
  static char metrics[RF_COUNTERS_TEXT_SIZE];
  static rf_latency latency;
  rf_counters counters = {};
  ASSERT_GT(rf_counters_prometheus(&counters, &latency, nullptr, metrics, sizeof(metrics)), 0);
  EXPECT_EQ(MetricsIn(Contents("docs/operating.md")), MetricsIn(metrics));
}

TEST(Operating, NamesEveryReasonToFallBack) {
  std::string page = Contents("docs/operating.md");
  for (int reason = 0; reason < RF_FALLBACK_REASONS; reason++) {
    std::string name = rf_fallback_reason_name(static_cast<rf_fallback_reason>(reason));
    EXPECT_TRUE(Has(page, "\n| `" + name + "` | ")) << name;
  }
}

// ---- docs/tasks/test-errors.md -----------------------------------------------------------------

TEST(TestErrors, NamesEveryFaultAndShowsPlansThatAreUnderstood) {
  std::string page = Contents("docs/tasks/test-errors.md");
  std::istringstream lines(page);
  std::set<std::string> faults;
  int plans = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("| ", 0) != 0) continue;
    for (size_t at = line.find('`'); at != std::string::npos;) {
      size_t end = line.find('`', at + 1);
      ASSERT_NE(end, std::string::npos) << line;
      std::string text = line.substr(at + 1, end - at - 1);
      at = line.find('`', end + 1);
      faults.insert(text.substr(0, text.find_first_of("=:")));
      for (size_t n = text.find("=N"); n != std::string::npos; n = text.find("=N", n))
        text.replace(n, 2, "=7");
      rf_fault_plan plan;
      EXPECT_EQ(rf_fault_plan_parse(text.c_str(), &plan, nullptr), 0) << text;
      plans++;
    }
  }
  EXPECT_GT(plans, 20);
  for (int kind = 0; kind < RF_FAULT_KINDS; kind++)
    EXPECT_EQ(faults.count(rf_fault_name(static_cast<rf_fault_kind>(kind))), 1u)
        << rf_fault_name(static_cast<rf_fault_kind>(kind));
}

} // namespace
