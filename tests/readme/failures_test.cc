// SPDX-License-Identifier: Apache-2.0
// docs/failures.md names a test for each row, and the tests that it names are there.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>

namespace {

std::string Contents(const std::string &path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.good()) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// "Suite.Name" of every test in the sources below tests/.
std::set<std::string> TestsInTheSources() {
  std::set<std::string> names;
  std::regex test(R"(\nTEST(_[FP])?\(\s*(\w+),\s*(\w+)\))");
  for (const auto &entry : std::filesystem::recursive_directory_iterator("tests")) {
    if (entry.path().extension() != ".cc") continue;
    std::string text = Contents(entry.path());
    for (std::sregex_iterator at(text.begin(), text.end(), test), end; at != end; ++at)
      names.insert((*at)[2].str() + "." + (*at)[3].str());
  }
  return names;
}

std::set<std::string> TestsNamedIn(const std::string &text) {
  std::set<std::string> names;
  std::regex name("`([A-Z]\\w+\\.[A-Z]\\w+)`");
  for (std::sregex_iterator at(text.begin(), text.end(), name), end; at != end; ++at)
    names.insert((*at)[1]);
  return names;
}

TEST(Failures, OfEachRowAreHeldByATest) {
  std::istringstream lines(Contents("docs/failures.md"));
  std::regex row("^\\| (\\d+) \\|.*");
  std::smatch match;
  int expected = 1;
  for (std::string line; std::getline(lines, line);) {
    if (!std::regex_match(line, match, row)) continue;
    EXPECT_EQ(std::stoi(match[1]), expected++);
    EXPECT_FALSE(TestsNamedIn(line).empty()) << line;
  }
  EXPECT_EQ(expected, 41) << "rows";
}

TEST(Failures, AreHeldByTestsThatExist) {
  std::set<std::string> there = TestsInTheSources();
  ASSERT_EQ(there.count("Failures.AreHeldByTestsThatExist"), 1u) << "the sources are not here";
  for (const std::string &name : TestsNamedIn(Contents("docs/failures.md")))
    EXPECT_EQ(there.count(name), 1u) << name << " is not among the tests";
}

} // namespace
