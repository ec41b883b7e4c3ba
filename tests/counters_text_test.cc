// SPDX-License-Identifier: Apache-2.0
// Counters as text and for Prometheus.
#include <gtest/gtest.h>
#include <ringfall/ringfall.h>

#include <cctype>
#include <cstring>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/queue_rig.h"

namespace {

using queue_rig::Rig;

std::string Text(const rf_counters &counters) {
  std::vector<char> room(RF_COUNTERS_TEXT_SIZE);
  int length = rf_counters_text(&counters, room.data(), room.size());
  EXPECT_EQ(static_cast<size_t>(length), strlen(room.data()));
  return room.data();
}

std::string Page(const rf_counters &counters, const rf_latency *latency = nullptr,
                 const char *labels = nullptr) {
  std::vector<char> room(RF_COUNTERS_TEXT_SIZE);
  int length = rf_counters_prometheus(&counters, latency, labels, room.data(), room.size());
  EXPECT_EQ(static_cast<size_t>(length), strlen(room.data()));
  return room.data();
}

// Every value different from all others.
rf_counters Distinct() {
  rf_counters counters;
  auto *values = reinterpret_cast<uint64_t *>(&counters);
  for (size_t i = 0; i < sizeof(counters) / sizeof(uint64_t); i++) values[i] = 1000 + i;
  return counters;
}

// A sample a line: its name with labels, and its value.
std::map<std::string, std::string> Samples(const std::string &page) {
  std::map<std::string, std::string> samples;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("# ", 0) == 0) continue;
    size_t blank = line.rfind(' ');
    EXPECT_NE(blank, std::string::npos) << line;
    EXPECT_TRUE(samples.emplace(line.substr(0, blank), line.substr(blank + 1)).second)
        << "twice: " << line;
  }
  return samples;
}

TEST(CountersText, HasEveryCounterOnce) {
  rf_counters counters = Distinct();
  std::string text = Text(counters);
  size_t plain = offsetof(rf_counters, fell_back) / sizeof(uint64_t);
  for (size_t i = 0; i < sizeof(counters) / sizeof(uint64_t); i++) {
    std::string value = i * sizeof(uint64_t) == offsetof(rf_counters, submit_ns)
                            ? " 0.000001011\n"
                            : " " + std::to_string(1000 + i) + "\n";
    size_t at = text.find(value);
    ASSERT_NE(at, std::string::npos) << i;
    EXPECT_EQ(text.find(value, at + 1), std::string::npos) << i;
    EXPECT_EQ(text.rfind("fell back", at) != std::string::npos, i >= plain) << i;
  }
}

TEST(CountersText, LeavesOutFallbacksThatNeverWere) {
  rf_counters none = {};
  EXPECT_EQ(Text(none).find("fell back"), std::string::npos);
  none.fell_back[RF_OP_WRITE][RF_FALLBACK_FSIZE] = 3;
  EXPECT_NE(Text(none).find("\nfell back: write, file size limit 3\n"), std::string::npos);
}

TEST(CountersText, IsCutLikeSnprintf) {
  rf_counters counters = Distinct();
  std::string whole = Text(counters);
  for (size_t size : {size_t{0}, size_t{1}, size_t{7}, whole.size(), whole.size() + 1}) {
    std::vector<char> room(whole.size() + 2, '~');
    EXPECT_EQ(rf_counters_text(&counters, room.data(), size), static_cast<int>(whole.size()));
    EXPECT_EQ(room[size], '~') << "beyond " << size;
    EXPECT_EQ(size > 0 ? std::string(room.data()) : "", whole.substr(0, size > 0 ? size - 1 : 0));
  }
}

TEST(Prometheus, NamesAreValidDescribedAndCountersEndInTotal) {
  std::string page = Page(Distinct(), nullptr, "queue=\"wal\"");
  std::map<std::string, std::string> types;
  std::set<std::string> helped;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string hash, what, name, type;
    words >> hash >> what >> name >> type;
    if (what == "HELP") helped.insert(name);
    EXPECT_TRUE(what != "TYPE" || types.emplace(name, type).second) << "twice: " << name;
  }
  for (const auto &[name, type] : types) {
    EXPECT_EQ(helped.count(name), 1u) << name;
    EXPECT_EQ(name.rfind("ringfall_", 0), 0u) << name;
    for (char c : name) EXPECT_TRUE(islower(c) || c == '_') << name;
    bool total = name.size() > 6 && name.compare(name.size() - 6, 6, "_total") == 0;
    EXPECT_EQ(type == "counter", total) << name;
  }
  for (const auto &[sample, value] : Samples(page)) {
    std::string name = sample.substr(0, sample.find('{'));
    EXPECT_EQ(types.count(name), 1u) << sample;
    EXPECT_NE(sample.find("{queue=\"wal\""), std::string::npos) << sample;
  }
}

TEST(Prometheus, ShowsWhatAQueueDid) {
  Rig rig;
  rig.queue_options.latency = true;
  ASSERT_EQ(rig.Open(), 0);
  std::vector<rf_op> ops;
  for (uint64_t i = 0; i < 20; i++) ops.push_back(rf_op_nop(i));
  ASSERT_EQ(rig.Do(ops).size(), 20u);
  rf_latency latency;
  ASSERT_EQ(rf_queue_latency(rig.queue, &latency), 0);
  rf_counters counters = rig.Counters();
  auto samples = Samples(Page(counters, &latency));
  EXPECT_EQ(samples["ringfall_ops_completed_total"], "20");
  EXPECT_EQ(samples["ringfall_backend_generation"], "1");
  EXPECT_EQ(samples["ringfall_latency_seconds_count"], "20");
  EXPECT_EQ(samples["ringfall_latency_seconds_bucket{le=\"+Inf\"}"], "20");
}

TEST(Prometheus, BucketsAreCumulativeAndExact) {
  rf_counters counters = {};
  rf_latency latency = {};
  for (size_t i = 0; i < RF_LATENCY_BUCKETS; i++) latency.bucket[i] = 1;
  latency.count = RF_LATENCY_BUCKETS;
  latency.total_ns = 2500000000;
  auto samples = Samples(Page(counters, &latency, "a=\"b\""));
  // Up to 2^10 - 1 ns: 16 single ones, then 16 for each of the powers 4 to 9.
  EXPECT_EQ(samples["ringfall_latency_seconds_bucket{a=\"b\",le=\"0.000001023\"}"], "112");
  EXPECT_EQ(samples["ringfall_latency_seconds_bucket{a=\"b\",le=\"0.000002047\"}"], "128");
  EXPECT_EQ(samples["ringfall_latency_seconds_bucket{a=\"b\",le=\"68.719476735\"}"], "528");
  EXPECT_EQ(samples["ringfall_latency_seconds_bucket{a=\"b\",le=\"+Inf\"}"], "608");
  EXPECT_EQ(samples["ringfall_latency_seconds_sum{a=\"b\"}"], "2.500000000");
}

TEST(Prometheus, FitsInTheRoomThatTheHeaderNames) {
  rf_counters counters;
  rf_latency latency;
  memset(&counters, 0xff, sizeof(counters));
  memset(&latency, 0xff, sizeof(latency));
  std::string labels = "l=\"" + std::string(252, 'x') + "\"";
  EXPECT_LT(Page(counters, &latency, labels.c_str()).size(), size_t{RF_COUNTERS_TEXT_SIZE} - 1);
}

} // namespace
