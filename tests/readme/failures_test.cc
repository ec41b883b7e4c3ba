// SPDX-License-Identifier: Apache-2.0
// docs/failures.md names a test for each row, and the tests that it names are there.
#include <gtest/gtest.h>

#include <cctype>
#include <filesystem>
#include <fstream>
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

// "Suite.Name" of every test in the sources below tests/: TEST(Suite, Name) at the start of a line.
std::set<std::string> TestsInTheSources() {
  std::set<std::string> names;
  for (const auto &entry : std::filesystem::recursive_directory_iterator("tests")) {
    if (entry.path().extension() != ".cc") continue;
    std::string text = Contents(entry.path());
    for (size_t at = text.find("\nTEST"); at != std::string::npos;
         at = text.find("\nTEST", at + 1)) {
      size_t open = text.find('(', at), comma = text.find(',', open), close = text.find(')', open);
      if (close == std::string::npos || comma > close) continue;
      size_t name = text.find_first_not_of(" \n", comma + 1);
      names.insert(text.substr(open + 1, comma - open - 1) + "." + text.substr(name, close - name));
    }
  }
  return names;
}

// What is `Suite.Name` there: two words that begin with capitals.
std::set<std::string> TestsNamedIn(const std::string &text) {
  std::set<std::string> names;
  for (size_t at = text.find('`'); at != std::string::npos;) {
    size_t end = text.find('`', at + 1);
    if (end == std::string::npos) break;
    std::string word = text.substr(at + 1, end - at - 1);
    size_t dot = word.find('.');
    bool two = dot != std::string::npos && dot + 1 < word.size();
    if (two && isupper(word[0]) && isupper(word[dot + 1])) names.insert(word);
    at = text.find('`', end + 1);
  }
  return names;
}

TEST(Failures, OfEachRowAreHeldByATest) {
  std::istringstream lines(Contents("docs/failures.md"));
  int expected = 1;
  for (std::string line; std::getline(lines, line);) {
    if (line.size() < 3 || line[0] != '|' || !isdigit(line[2])) continue;
    EXPECT_EQ(std::stoi(line.substr(2)), expected++);
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
